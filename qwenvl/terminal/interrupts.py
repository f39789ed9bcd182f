"""Ctrl-C stops what is under way, and nothing else."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.keys import Keys

T = TypeVar("T")


class InterruptedByUser(Exception):
    """Ctrl-C ended what was under way."""


async def interruptible(work: Coroutine[Any, Any, T], keyboard: Input | None) -> T:
    """Do something that Ctrl-C ends, by cancelling it.

    Args:
        work: what to do.
        keyboard: a terminal in raw mode that keys are read from meanwhile, and kept for the next prompt but for Ctrl-C.
            One that is not would show them in the middle of the answer, and send the signal to the engine too.

    Raises:
        InterruptedByUser: it was ended.
    """
    task = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    with _on_signal(interrupt), _on_key(keyboard, interrupt):
        try:
            return await task
        except asyncio.CancelledError:
            if interrupted:
                raise InterruptedByUser from None
            raise


@contextmanager
def _on_signal(interrupt: Callable[[], None]) -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


@contextmanager
def _on_key(keyboard: Input | None, interrupt: Callable[[], None]) -> Iterator[None]:
    if keyboard is None:
        yield
        return

    def read() -> None:
        keys = keyboard.read_keys()
        if any(key.key == Keys.ControlC for key in keys):
            interrupt()
        store_typeahead(keyboard, [key for key in keys if key.key != Keys.ControlC])

    with keyboard.attach(read):
        yield
