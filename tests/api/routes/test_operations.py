import httpx

from tests.api.chatting import error_of
from tests.fake_engine import FakeEngine


async def test_health_follows_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    await engine.die()
    response = await client.get("/health")
    assert response.status_code == 503
    assert error_of(response)["code"] == "engine_dead"


async def test_version(client: httpx.AsyncClient) -> None:
    assert (await client.get("/version")).json() == {"qwenvl": "0", "fake": "1"}


async def test_ready_follows_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await client.get("/ready")).json() == {"status": "ok"}
    await engine.die()
    response = await client.get("/ready")
    assert response.status_code == 503
    assert error_of(response)["code"] == "engine_dead"
