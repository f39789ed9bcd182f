"""``qwenvl chat`` in a terminal of its own, typed into and read the way a person does."""

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.server.processes import PROJECT

PATIENCE = 60.0
CTRL_C, CTRL_D, ENTER, ALT_ENTER = "\x03", "\x04", "\r", "\x1b\r"

# What moves the cursor and colors, and what is the beginning of that.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])|\r")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07]*|[()])?$")


def chat_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qwenvl.cli", "chat", *arguments]


def chat_environment(**more: str) -> dict[str, str]:
    """Without keys of whoever runs the tests, importing what is tested from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    # It would ask the terminal where its cursor is, and wait for the answer.
    return {**kept, "PYTHONPATH": str(PROJECT), "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **more}


class Terminal:
    """A process, and the master side of the terminal that it runs in.

    ``text`` is all that was shown, without what moves the cursor and colors.
    """

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._position = 0

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The next match after the last one; fails where it does not come."""
        deadline = time.monotonic() + patience
        while True:
            if found := re.compile(pattern).search(self.text, self._position):
                self._position = found.end()
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.text}"
            assert self._read(left), f"it ended without {pattern!r}:\n{self.text}"

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code; what is left to show is read first."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and self._read(left):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, patience: float) -> bool:
        if not select.select([self._master], [], [], patience)[0]:
            return True
        try:
            new = os.read(self._master, 65536)
        except OSError:
            # How Linux says that nobody has the other side any more.
            return False
        shown = self._begun + self._decoder.decode(new)
        begun = _BEGUN.search(shown)
        end = begun.start() if begun else len(shown)
        self._begun = shown[end:]
        self.text += _ESCAPES.sub("", shown[:end])
        return bool(new)


@contextmanager
def terminal(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, size: tuple[int, int] = (40, 120)
) -> Iterator[Terminal]:
    """``qwenvl chat`` with these arguments; nothing of it outlives the block."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        chat_command(*arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env=chat_environment(**(environment or {})),
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(master)


def run_chat(
    arguments: Sequence[str], cwd: Path, lines: str | None = None, patience: float = PATIENCE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``qwenvl chat`` without a terminal; ``lines`` are piped in."""
    return subprocess.run(
        chat_command(*arguments),
        input=lines,
        stdin=subprocess.DEVNULL if lines is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=chat_environment(**environment),
        timeout=patience,
        check=False,
    )
