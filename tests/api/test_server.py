"""The serving process: its log, its signals, its exit code."""

import asyncio
import gc
import json
import re
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api.connections import MAX_PIPELINED
from qwenvl.api.server import NEVER, _collecting_rarely
from tests.api.chatting import CHAT, body
from tests.api.live import PATIENCE

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def process(
    kind: str = "", port: int = 0, settings: Mapping[str, Any] | None = None
) -> Iterator[subprocess.Popen[str]]:
    chosen = json.dumps(dict(settings or {"drain_delay": 0}))
    command = [sys.executable, "-m", "tests.api.serve_fake", kind, str(port), chosen]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def read_until(running: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    assert running.stderr is not None
    for line in running.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"the process ended without logging {pattern!r}")


def rest_of_log(running: subprocess.Popen[str]) -> str:
    assert running.stderr is not None
    return running.stderr.read()


SERVING = r"serving tiny on (http://127\.0\.0\.1:\d+)/v1$"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(signum: signal.Signals) -> None:
    with process() as running:
        url = read_until(running, SERVING)[1]
        assert httpx.post(url + CHAT, json=body()).status_code == 200
        running.send_signal(signum)
        assert running.wait(PATIENCE) == 0
        assert "Traceback" not in rest_of_log(running)


def test_a_dead_engine_ends_it() -> None:
    with process("dies") as running:
        url = read_until(running, SERVING)[1]
        assert httpx.post(url + CHAT, json=body()).status_code == 503
        assert running.wait(PATIENCE) == 1
        log = rest_of_log(running)
        assert "the engine died" in log
        assert "Traceback" not in log


def test_a_signal_after_a_death_leaves_the_exit_code() -> None:
    with process("lingers") as running:
        url = read_until(running, SERVING)[1]
        httpx.post(url + CHAT, json=body())
        read_until(running, "lingering")
        running.terminate()
        assert running.wait(PATIENCE) == 1


def test_a_broken_checkpoint_is_one_line() -> None:
    with process("broken") as running:
        assert running.wait(PATIENCE) == 1
        assert rest_of_log(running) == "qwenvl.api.server: config.json: hidden_size is missing\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_starting(signum: signal.Signals) -> None:
    with process("slow") as running:
        read_until(running, "starting")
        running.send_signal(signum)
        assert running.wait(PATIENCE) == 0
        assert "Traceback" not in rest_of_log(running)


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(port=port) as running:
            assert running.wait(PATIENCE) == 1
            assert rest_of_log(running) == (
                f"qwenvl.api.server: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
            )


def test_a_port_that_is_taken_while_the_engine_starts_is_one_line() -> None:
    """Ports that are bound and not listened on can be bound again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with process("late", port) as late:
        read_until(late, "starting")
        with process(port=port) as quick:
            read_until(quick, SERVING)
            late.send_signal(signal.SIGUSR1)
            assert late.wait(PATIENCE) == 1
            assert rest_of_log(late).splitlines()[-1].endswith(f"port {port}: Address already in use")


@pytest.mark.parametrize("host", ["a..b", "nothing.invalid", "300.1.1.1"])
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with process(settings={"host": host}) as running:
        assert running.wait(PATIENCE) == 1
        assert rest_of_log(running).count("\n") == 1


UPGRADE = (
    b"GET /health?key=sk-secret HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_websockets_are_requests_like_others() -> None:
    """They once ended the server, whose timer took them for HTTP's connections."""
    with process() as running:
        url = read_until(running, SERVING)[1]
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(UPGRADE)
            assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        running.terminate()
        assert running.wait(PATIENCE) == 0
        log = rest_of_log(running)
        assert "sk-secret" not in log
        assert "Traceback" not in log


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
def test_heads_are_bounded(begun: bytes) -> None:
    rest = b"a: b\r\n" if begun.endswith(b"\n") else b"aaaaaa"
    with process() as running:
        port = int(read_until(running, SERVING)[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(begun + rest * 20_000)
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert b"headers_too_large" in answer


def test_what_follows_a_body_is_bounded() -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with process() as running:
        port = int(read_until(running, SERVING)[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(head)
            with pytest.raises(ConnectionError):
                send_for_ever(connection, b"a: b\r\n" * 10_000)


def send_for_ever(connection: socket.socket, content: bytes) -> None:
    while True:
        connection.sendall(content)


def test_pipelined_requests_end_with_their_connection() -> None:
    content = json.dumps(body()).encode()
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    with process("steered") as running:
        port = int(read_until(running, SERVING)[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(request % (CHAT.encode(), len(content), content) * 3)
        running.send_signal(signal.SIGUSR1)
        running.terminate()
        assert running.wait(PATIENCE) == 0
        assert "Traceback" not in rest_of_log(running)


def test_few_requests_are_pipelined() -> None:
    with process() as running:
        port = int(read_until(running, SERVING)[1].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection, suppress(ConnectionError):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
            answers = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answers.count(b"HTTP/1.1 200 ") <= MAX_PIPELINED


async def test_the_collector_leaves_what_is_there_alone() -> None:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    async with _collecting_rarely():
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold()[2] == NEVER
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0


async def test_what_young_collections_miss_is_found_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Knot:
        pass

    monkeypatch.setattr("qwenvl.api.server.COLLECT_SECONDS", 0.0)
    knot = Knot()
    knot.itself = knot  # type: ignore[attr-defined]
    gone = asyncio.Event()
    weakref.finalize(knot, gone.set)
    async with _collecting_rarely():
        gc.unfreeze()
        del knot
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
