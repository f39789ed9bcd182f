import httpx
from openai.types import Model

from tests.api.chatting import error_of


async def test_list(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["tiny", "alias/tiny"]
    for model in listed["data"]:
        Model.model_validate(model, strict=True)
        assert model["max_model_len"] == 2048
        assert model["root"] == "tiny"


async def test_retrieve(client: httpx.AsyncClient) -> None:
    for name in ("tiny", "alias/tiny", "alias%2Ftiny"):
        assert (await client.get(f"/v1/models/{name}")).status_code == 200
    response = await client.get("/v1/models/gpt-4")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"
