"""Against the API on a real socket, and against servers that answer otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from qwenvl.api import Settings
from qwenvl.chat import Image, Message
from qwenvl.errors import ContextLengthError, QwenVLError
from qwenvl.terminal.backend import Sampling
from qwenvl.terminal.pictures import read_picture
from qwenvl.terminal.server import Server, complete_url
from tests.api.live import LiveServer
from tests.fake_engine import FakeEngine, model_info
from tests.scripted_engine import ScriptedEngine
from tests.terminal.talking import save_picture

QUESTION = [Message.of("user", "What is this?")]


async def ask(server: Server, messages: list[Message] = QUESTION, **sampling: float) -> tuple[str, bool]:
    """The whole answer, and whether it was cut."""
    text, is_cut = "", False
    async for chunk in server.answer(messages, Sampling(**sampling)):
        text += chunk.text
        is_cut = chunk.is_cut
    return text, is_cut


@asynccontextmanager
async def server_at(url: str, api_key: str | None = None, model: str | None = None) -> AsyncIterator[Server]:
    server = Server(url, api_key, model)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8000", "http://localhost:8000/v1"),
        ("https://a.example/", "https://a.example/v1"),
        ("http://a.example/openai/v1/", "http://a.example/openai/v1"),
    ],
)
def test_base_urls(given: str, meant: str) -> None:
    assert complete_url(given) == meant


@pytest.mark.parametrize("given", ["ftp://a", "http://", "http://a:port", ""])
def test_no_base_urls(given: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        complete_url(given)


async def test_answers_with_pictures_and_options(tmp_path: Path) -> None:
    engine = ScriptedEngine("<ref>a dog</ref> 狗\u2028\n", "Yes.")
    picture = await read_picture(str(save_picture(tmp_path / "a.png")))
    first = Message.of("user", Image(picture), "Where?")
    with LiveServer(engine, Settings()) as live:
        async with server_at(live.url) as server:
            assert server.name == f"tiny on {live.url}/v1"
            assert await ask(server, [first]) == ("<ref>a dog</ref> 狗\u2028\n", False)
            later = [Message.of("system", "Be brief."), first, Message.of("assistant", "There."), *QUESTION]
            assert await ask(server, later, max_tokens=1, temperature=0.5, top_p=0.25, seed=7) == ("Y", True)
    assert [len(request.images) for request in engine.requests] == [1, 1]
    options = engine.requests[1].sampling
    assert (options.temperature, options.top_p, options.max_tokens, options.seed) == (0.5, 0.25, 1, 7)
    prompt = engine.info.vocabulary.decode(engine.requests[1].token_ids)
    assert [said in prompt for said in ("Be brief.", "Where?", "There.", "What is this?")] == [True] * 4


async def test_refusals_say_what_the_server_said() -> None:
    settings = Settings(api_keys=("secret",), requests_per_minute=2)
    with LiveServer(FakeEngine(info=model_info(max_model_len=64)), settings) as live:
        for key in (None, "wrong"):
            with pytest.raises(QwenVLError, match="API key"):
                async with server_at(live.url, key):
                    pass
        async with server_at(live.url, "secret", "nobody") as server:
            with pytest.raises(QwenVLError, match="'nobody' does not exist here"):
                await ask(server)
        async with server_at(live.url, "secret", "tiny") as server:
            with pytest.raises(ContextLengthError, match="maximum context length is 64"):
                await ask(server, [Message.of("user", "word " * 100)])
            with pytest.raises(QwenVLError, match="requests"):
                await ask(server)
        with pytest.raises(QwenVLError, match="no route GET /nowhere/models"):
            async with server_at(f"{live.url}/nowhere", "secret"):
                pass


async def test_nobody_there() -> None:
    async with server_at("http://127.0.0.1:9", model="any") as server:
        with pytest.raises(QwenVLError, match=r"cannot reach http://127\.0\.0\.1:9/v1: "):
            await ask(server)


async def test_leaving_ends_the_request() -> None:
    engine = FakeEngine()
    with LiveServer(engine, Settings()) as live:
        live.call(_call(engine.hold, 3))
        async with server_at(live.url) as server, aclosing(server.answer(QUESTION, Sampling())) as chunks:
            assert await anext(chunks)
        await asyncio.to_thread(live.call, engine.until(lambda: len(engine.aborted) == 1))


async def test_engine_that_dies_in_the_middle() -> None:
    engine = FakeEngine()
    with LiveServer(engine, Settings()) as live:
        live.call(_call(engine.hold, 3))
        async with server_at(live.url) as server, aclosing(server.answer(QUESTION, Sampling())) as chunks:
            assert await anext(chunks)
            live.call(engine.die())
            with pytest.raises(QwenVLError, match="The engine has stopped"):
                async for _ in chunks:
                    pass


async def _call(function: object, *arguments: object) -> None:
    function(*arguments)  # type: ignore[operator]


STREAM = "200 OK\r\nContent-Type: text/event-stream"
JSON = "200 OK\r\nContent-Type: application/json"


@pytest.mark.parametrize(
    ("head", "body", "message"),
    [
        (STREAM, 'data: {"choices":[{"delta":{"content":"Yes"}}]}\n\n', "ended the answer before it was whole"),
        (STREAM, 'data: {"error":{"message":"out of memory"}}\n\n', "^out of memory$"),
        (STREAM, 'data: {"error":"out of memory"}\n\n', "^out of memory$"),
        (STREAM, "data: hello\n\n", "something else than JSON: 'hello'"),
        (STREAM, "data: [1]\n\n", "ended the answer with an error"),
        (STREAM, 'data: {"choices":7}\n\n', "no chunk of an answer"),
        (JSON, "{}", "something else than a stream"),
        ("500 Oops", "<html>", "chat/completions answered 500 Oops"),
        ("404 Not Found", '{"detail":"Not Found"}', "^Not Found$"),
        ("400 Bad", '{"message":"This model\'s maximum context length is 5"}', "maximum context"),
        ("400 Bad", "[]", "answered 400 Bad"),
        ("nonsense", "", "http://127"),
    ],
)
async def test_servers_of_all_kinds(head: str, body: str, message: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as site:
        url = f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}"
        async with server_at(url, model="any") as server:
            with pytest.raises(QwenVLError, match=message):
                await ask(server)


async def test_chunks_without_words() -> None:
    events = ['{"choices":[]}', '{"choices":[{"delta":{"role":"assistant","content":null}}]}', "[DONE]", "ignored"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = "".join(f"data: {event}\n\n" for event in events)
        writer.write(f"HTTP/1.1 {STREAM}\r\nConnection: close\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as site:
        url = f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}"
        async with server_at(url, model="any") as server:
            assert await ask(server) == ("", False)
