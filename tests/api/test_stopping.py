"""What clients see of a server that stops: told to, told twice, or because its engine died."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from subprocess import Popen
from typing import Any

import httpx
import pytest

from tests.api.chatting import CHAT, body
from tests.api.live import PATIENCE
from tests.api.test_server import SERVING, process, read_until, rest_of_log

CLIENTS = 24
RUNNING = 8


@contextmanager
def steered(**settings: Any) -> Iterator[tuple[Popen[str], str]]:
    """A server whose engine stands still until told, with places for few."""
    with process("steered", settings={"max_running": RUNNING, **settings}) as running:
        yield running, read_until(running, SERVING)[1]


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits, trust_env=False) as http:
        yield http


def load(http: httpx.AsyncClient, group: asyncio.TaskGroup) -> list[asyncio.Task[httpx.Response]]:
    return [group.create_task(http.post(CHAT, json=body(stream=bool(i % 2)))) for i in range(CLIENTS)]


async def until_in_work(http: httpx.AsyncClient, requests: int) -> None:
    """Wait until so many requests are running or waiting."""
    async with asyncio.timeout(PATIENCE):
        while True:
            lines = (await http.get("/metrics")).text.splitlines()
            counts = [
                line for line in lines if line.startswith(("qwenvl_requests_running ", "qwenvl_requests_waiting "))
            ]
            if sum(float(line.split()[1]) for line in counts) >= requests:
                return


async def until_not_ready(http: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(PATIENCE):
        while (response := await http.get("/ready")).status_code == 200:
            pass
    return response


def ended_with(response: httpx.Response) -> str | None:
    """The code of the error that an answer is, or that ends its stream; None for a whole answer."""
    if response.headers["content-type"].startswith("text/event-stream"):
        last = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event.startswith("data: ")][-1]
        return None if last == "[DONE]" else str(json.loads(last)["error"]["code"])
    answer = response.json()
    assert ("error" in answer) == (response.status_code != 200)
    return None if response.status_code == 200 else str(answer["error"]["code"])


async def test_told_to_stop_under_load() -> None:
    """Nothing that was accepted is lost, in work or in the queue; readiness goes first, and connections are closed."""
    with steered(drain_delay=60, drain_timeout=60) as (server, url):
        async with clients(url) as http, asyncio.TaskGroup() as group:
            answers = load(http, group)
            await until_in_work(http, CLIENTS)
            server.send_signal(signal.SIGTERM)
            ready = await until_not_ready(http)
            assert ready.json()["error"]["code"] == "server_stopping"
            assert ready.headers["retry-after"]
            assert ready.headers["connection"] == "close"
            assert (await http.get("/health")).status_code == 200
            # Some proxies have not noticed yet.
            answers.append(group.create_task(http.post(CHAT, json=body())))
            await until_in_work(http, CLIENTS + 1)
            server.send_signal(signal.SIGUSR1)
        assert [ended_with(answer.result()) for answer in answers] == [None] * (CLIENTS + 1)


async def test_the_process_ends_when_the_last_answer_is_out() -> None:
    with steered(drain_delay=0, drain_timeout=60) as (server, url):
        async with clients(url) as http, asyncio.TaskGroup() as group:
            answers = load(http, group)
            await until_in_work(http, CLIENTS)
            server.send_signal(signal.SIGTERM)
            read_until(server, "stopping: ")
            server.send_signal(signal.SIGUSR1)
        assert [ended_with(answer.result()) for answer in answers] == [None] * CLIENTS
        assert await asyncio.to_thread(server.wait, PATIENCE) == 0
        assert "Traceback" not in rest_of_log(server)


async def test_clients_in_a_loop_lose_nothing() -> None:
    """Each asks on one connection, again and again, until it is told to go elsewhere."""

    async def ask_until_told() -> int:
        asked = 0
        async with clients(url) as http:
            while True:
                response = await http.post(CHAT, json=body(stream=bool(asked % 2)))
                assert ended_with(response) is None
                asked += 1
                if asked == 3:
                    warm.release()
                if response.headers.get("connection") == "close":
                    return asked

    warm = asyncio.Semaphore(0)
    with process(settings={"drain_delay": 5, "drain_timeout": 60}) as server:
        url = read_until(server, SERVING)[1]
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(ask_until_told()) for _ in range(RUNNING)]
            for _ in loops:
                await warm.acquire()
            server.send_signal(signal.SIGTERM)
        assert all(asking.result() >= 3 for asking in loops)
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, PATIENCE) == 0


async def test_told_twice() -> None:
    with steered(drain_delay=60, drain_timeout=60) as (server, url):
        async with clients(url) as http, asyncio.TaskGroup() as group:
            answers = load(http, group)
            await until_in_work(http, CLIENTS)
            server.send_signal(signal.SIGTERM)
            await until_not_ready(http)
            server.send_signal(signal.SIGINT)
        assert {ended_with(answer.result()) for answer in answers} == {"server_stopping"}
        assert await asyncio.to_thread(server.wait, PATIENCE) == 0
        assert "Traceback" not in rest_of_log(server)


async def test_what_takes_too_long_is_cut_off_with_an_error() -> None:
    with steered(drain_delay=0, drain_timeout=1) as (server, url):
        async with clients(url) as http, asyncio.TaskGroup() as group:
            answers = load(http, group)
            await until_in_work(http, CLIENTS)
            server.send_signal(signal.SIGTERM)
        assert {ended_with(answer.result()) for answer in answers} == {"server_stopping"}
        assert await asyncio.to_thread(server.wait, PATIENCE) == 0
        assert "Traceback" not in rest_of_log(server)


async def test_the_engine_dies_under_load() -> None:
    """Those in work and those in the queue are told, and the process ends for its supervisor."""
    with steered() as (server, url):
        async with clients(url) as http, asyncio.TaskGroup() as group:
            answers = load(http, group)
            await until_in_work(http, CLIENTS)
            server.send_signal(signal.SIGUSR2)
        assert {ended_with(answer.result()) for answer in answers} == {"engine_dead"}
        assert await asyncio.to_thread(server.wait, PATIENCE) == 1
        log = rest_of_log(server)
        assert "the engine died" in log
        assert "Traceback" not in log


HEAD = (
    f"POST {CHAT} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: "
    f"{len(json.dumps(body()))}\r\n\r\n"
)


@pytest.fixture
def half_sent() -> Iterator[Any]:
    """Connects to a server and sends the first half of a request."""
    opened: list[socket.socket] = []

    def send_half(url: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE)
        opened.append(connection)
        connection.sendall((HEAD + json.dumps(body())[:10]).encode())
        return connection

    yield send_half
    for connection in opened:
        connection.close()


def read_all(connection: socket.socket) -> str:
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_a_request_on_its_way_is_answered(half_sent: Any) -> None:
    with process(settings={"drain_delay": 0, "drain_timeout": 60}) as server:
        url = read_until(server, SERVING)[1]
        connection = half_sent(url)
        httpx.get(f"{url}/health")
        server.send_signal(signal.SIGTERM)
        read_until(server, "stopping: 1 requests")
        connection.sendall(json.dumps(body())[10:].encode())
        answer = read_all(connection)
        assert answer.startswith("HTTP/1.1 200 ")
        assert "connection: close" in answer
        assert server.wait(PATIENCE) == 0


def test_who_lingers_does_not_keep_a_dead_server(half_sent: Any) -> None:
    with steered(drain_timeout=60) as (server, url):
        connection = half_sent(url)
        httpx.get(f"{url}/health")
        server.send_signal(signal.SIGUSR2)
        answer = read_all(connection)
        assert answer.startswith("HTTP/1.1 503 ")
        assert "engine_dead" in answer
        assert server.wait(PATIENCE) == 1


def test_headers_that_do_not_come() -> None:
    with process(settings={"body_timeout": 1}) as server:
        port = int(read_until(server, SERVING)[1].rpartition(":")[2])
        for sent in (b"", HEAD[:20].encode()):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(sent)
                with suppress(ConnectionResetError):
                    assert read_all(connection) == ""


def test_a_body_that_does_not_come(half_sent: Any) -> None:
    with process(settings={"body_timeout": 0.1}) as server:
        answer = read_all(half_sent(read_until(server, SERVING)[1]))
        assert answer.startswith("HTTP/1.1 408 ")
        assert "request_timeout" in answer
