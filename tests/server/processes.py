"""Servers as processes of their own, started and stopped the way people do it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

PATIENCE = 180
PROJECT = Path(__file__).parents[2]


@dataclass
class ServerProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in what the server printed; fails where it ends or takes too long first."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output):
                return found
            assert self.process.poll() is None, self.output
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
        raise AssertionError(f"no {pattern!r} within {PATIENCE} s:\n{self.output}")

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, signum: int = signal.SIGINT) -> int:
        """Signal the server, as Ctrl-C or a supervisor does, and wait for its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(60)


@contextlib.contextmanager
def server_process(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """``python -m`` with these arguments; nothing of it outlives the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    server = ServerProcess(process, log)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(url: str, server: ServerProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health").status_code == 200:
                return
        assert server.process.poll() is None, server.output
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.2)
    raise AssertionError(server.output)
