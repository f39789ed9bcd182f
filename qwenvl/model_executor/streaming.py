"""Tokens out of ``generate`` while it runs, and text of them."""

import codecs
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from queue import SimpleQueue

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from qwenvl.chat import Vocabulary


class _Abandoned(Exception):
    """Nobody reads the tokens any more: ends a generation, and is seen by nobody."""


class _TokenQueue(BaseStreamer):
    """What ``generate`` puts in in its thread, another reads."""

    def __init__(self) -> None:
        self.items: SimpleQueue[list[int] | BaseException | None] = SimpleQueue()
        self.abandoned = threading.Event()
        self._in_prompt = True

    def put(self, value: Tensor) -> None:
        """Take more tokens; the first are the prompt."""
        if self.abandoned.is_set():
            raise _Abandoned
        if not self._in_prompt:
            self.items.put(value.flatten().tolist())
        self._in_prompt = False

    def end(self) -> None:
        """Nothing: the thread says how it ended."""


def stream_tokens(generate: Callable[[BaseStreamer], object]) -> Iterator[int]:
    """Token ids of one answer, as they are generated in a thread.

    The thread has the context variables, the autocast and the CUDA device of whoever takes the first step. What
    ``generate`` raises is raised here. Closing the iterator, or forgetting it, ends the generation at its next
    token.

    Args:
        generate: runs the generation with a streamer.
    """
    queue = _TokenQueue()
    settings = _torch_settings()

    def run() -> None:
        try:
            with ExitStack() as stack:
                for setting in settings:
                    stack.enter_context(setting)
                generate(queue)
        except BaseException as error:
            queue.items.put(error)
        else:
            queue.items.put(None)

    # A daemon: a program that ends with a stream half read does not wait for an answer that nobody wants.
    thread = threading.Thread(target=copy_context().run, args=(run,), name="qwenvl-generate", daemon=True)
    thread.start()
    try:
        while (item := queue.items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from item
    finally:
        queue.abandoned.set()
        thread.join()


def _torch_settings() -> list[AbstractContextManager[object]]:
    """What torch keeps for each thread, as it is in this one."""
    settings: list[AbstractContextManager[object]] = [
        torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            cache_enabled=torch.is_autocast_cache_enabled(),
        )
        for device in ("cpu", "cuda")
        if torch.is_autocast_enabled(device)
    ]
    if torch.cuda.is_initialized():
        settings.append(torch.cuda.device(torch.cuda.current_device()))
    return settings


def growing_text(tokens: Iterator[int], vocabulary: Vocabulary) -> Iterator[str]:
    """The text so far, each time longer: whole characters, no control tokens, no white space around it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = shown = ""
    for token in tokens:
        if token not in vocabulary.control_ids:
            text += decoder.decode(vocabulary.token_bytes(token))
        if len(grown := text.strip()) > len(shown):
            shown = grown
            yield shown
    text += decoder.decode(b"", final=True)
    if len(text.strip()) > len(shown):
        yield text.strip()
