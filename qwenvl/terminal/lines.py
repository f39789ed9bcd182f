"""Lines that a person types, or that are piped in."""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import Output

from qwenvl.terminal.commands import COMMANDS

CHUNK_BYTES = 2**16
TAKES_PATHS = ("/image", "/save")


async def piped_lines(source: int) -> AsyncGenerator[str]:
    """Each line of a file descriptor, as it comes: what is piped in is read as if it were typed."""
    begun = b""
    while new := await _read(source):
        *lines, begun = (begun + new).split(b"\n")
        for line in lines:
            yield _decode(line)
    if begun:
        yield _decode(begun)


async def _read(source: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(source, readable.set)
    except PermissionError:
        # Files and /dev/null cannot be waited for, and need not be.
        return os.read(source, CHUNK_BYTES)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(source)
    return os.read(source, CHUNK_BYTES)


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r").removeprefix("\ufeff")


async def typed_lines(keyboard: Input, display: Output) -> AsyncGenerator[str]:
    """Each line that a person enters, until they leave by Ctrl-D, or by Ctrl-C where nothing is typed."""
    session: PromptSession[str] = PromptSession(
        "> ", completer=_Completer(), complete_while_typing=False, key_bindings=_keys(), input=keyboard, output=display
    )
    while True:
        try:
            yield await session.prompt_async()
        except EOFError:
            return


def _keys() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("c-c")
    @bindings.add(Keys.SIGINT)
    def _clear_or_leave(event: KeyPressEvent) -> None:
        if not event.current_buffer.text:
            event.app.exit(exception=EOFError)
            return
        # As arrow up brings it back.
        event.current_buffer.append_to_history()
        event.current_buffer.reset()

    @bindings.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


class _Completer(Completer):
    """Names of commands, and paths after those that take some."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        command, blank, rest = document.text_before_cursor.partition(" ")
        if command in TAKES_PATHS and blank:
            yield from self._paths.get_completions(Document(rest.rpartition(" ")[2]), complete_event)
        elif command.startswith("/"):
            names = [f"/{name}" for name in COMMANDS]
            yield from (Completion(name, -len(command)) for name in names if name.startswith(command))
