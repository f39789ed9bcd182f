"""The serving process: its log, its signals, its exit code."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

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
