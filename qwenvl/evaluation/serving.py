"""A server of our own for the length of a run: ``qwenvl serve`` as a child process."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from qwenvl.errors import UserError

START_SECONDS = 1800.0
"""Longest that loading a checkpoint may take: large ones come over a network."""
STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_LOG_LINES = 20
_PR_SET_PDEATHSIG = 1


@contextmanager
def serving(checkpoint: str | None, log: Path) -> Iterator[str]:
    """Serve a checkpoint, or the built-in one, on a free port of this machine: the base URL.

    Args:
        checkpoint: directory or hub name; None is the built-in one.
        log: where the server's own output goes.

    Raises:
        UserError: it does not start; the message holds the end of its log.
    """
    port = _free_port()
    command = [sys.executable, "-m", "qwenvl.cli", "serve", *([checkpoint] if checkpoint else []), "--port", str(port)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C is for the run, which then stops the server.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=end_with_parent
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/ready", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _stop(process)


def end_with_parent() -> None:
    """Have Linux tell this process to stop once its parent is gone: one that is killed stops nobody itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(url).is_success:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
            raise UserError(f"qwenvl serve ended with code {process.returncode}; {log} ends:\n{_end_of(log)}")
    raise UserError(f"qwenvl serve was not ready within {START_SECONDS:g} s; {log} ends:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
