import asyncio

import pytest

from qwenvl.evaluation import client as module
from qwenvl.evaluation.client import Client, FailedError, RefusedError, Server, UnreachableError, first_model
from tests.benchmarks.small_server import SmallServer, serving
from tests.evaluation.running import live, scripted
from tests.fake_engine import FakeEngine, model_info


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)


def asked(server: Server, *requests):
    async def ask():
        async with Client(server) as client:
            return await asyncio.gather(*(request(client) for request in requests))

    return asyncio.run(ask())


def chat(client):
    return client.chat("say", (), max_tokens=3)


def test_a_busy_server_is_asked_again():
    small = SmallServer(fails=frozenset({1, 2}))
    with serving(small) as url:
        assert asked(Server(f"{url}/v1", "small", "mine", retries=2), chat) == ["word"]
    assert len(small.bodies) == 3
    assert small.authorization == {"Bearer mine"}


def test_and_not_for_ever():
    small = SmallServer(fails=frozenset(range(10)))
    with serving(small) as url, pytest.raises(FailedError, match="429: overloaded"):
        asked(Server(f"{url}/v1", "small", retries=1), chat)
    assert len(small.bodies) == 2


def test_what_is_refused_is_not_asked_again():
    engine = FakeEngine(model_info())
    with live(engine) as base_url, pytest.raises(RefusedError, match="refuses this"):
        asked(Server(base_url, "tiny"), lambda client: client.chat("refuse me", ()))
    with live(engine) as base_url, pytest.raises(RefusedError, match=r"404.*other"):
        asked(Server(base_url, "other"), chat)


def test_a_server_that_is_not_there():
    with pytest.raises(UnreachableError, match="cannot reach"):
        asked(Server("http://127.0.0.1:9/v1", "m", retries=1), chat)
    with pytest.raises(UnreachableError, match="cannot reach"):
        asyncio.run(first_model("http://127.0.0.1:9/v1"))


def test_a_server_that_says_something_else():
    with live(FakeEngine(model_info())) as base_url, pytest.raises(RefusedError, match="404"):
        asyncio.run(first_model(f"{base_url}/elsewhere"))
    with live(FakeEngine(model_info())) as base_url:
        assert asyncio.run(first_model(base_url)) == "tiny"


def test_pauses_double_unless_the_server_says_how_long(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.5)
    failure = FailedError("busy")
    assert [module._pause(failure, attempt) for attempt in (0, 1, 2, 9)] == [0.5, 1, 2, 30]
    failure.add_note("7")
    assert module._pause(failure, 0) == 7


def test_likelihoods_are_of_the_options_alone():
    engine = scripted("x")
    options = (" A", " BC", " 文")
    with live(engine) as base_url:
        server = Server(base_url, "tiny")
        (together,) = asked(server, lambda client: client.likelihoods("Answer:", options, ()))
        (alone,) = asked(server, lambda client: client.likelihoods("Answer:", options[1:2], ()))
    assert len(together) == 3
    assert all(value < 0 for value in together)
    assert together[1] == pytest.approx(alone[0])
    assert engine.requests[0].sampling.prompt_logprobs is not None


def test_a_chat_has_its_pictures_where_the_prompt_has_them():
    parts = module._parts("<img></img>\nOne? <img></img>Two?", ("data:a", "data:b"))
    assert [part["type"] for part in parts] == ["image_url", "text", "image_url", "text"]
    assert [part.get("text") for part in parts] == [None, "One?", None, "Two?"]
