"""Pictures that were decoded a moment ago, and those that are being decoded for someone else."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

PictureT = TypeVar("PictureT", bound=Sized)

Key = tuple[bytes, int, bool]
"""Digest of the encoded file, which holds its mode and palette; side of the square; whether it is turned upright."""


class PictureCache(Generic[PictureT]):
    """The fitted pictures that were used last. Threads may share it.

    It holds what nobody can change: every request makes a picture of its own of it.

    Args:
        max_bytes: of all pictures together, by their lengths; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pictures: OrderedDict[Key, PictureT] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of the pictures it holds."""
        return self._bytes

    def get(self, key: Key) -> PictureT | None:
        with self._lock:
            if key not in self._pictures:
                return None
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def put(self, key: Key, picture: PictureT) -> None:
        with self._lock:
            if key in self._pictures or len(picture) > self._max_bytes:
                return
            self._pictures[key] = picture
            self._bytes += len(picture)
            while self._bytes > self._max_bytes:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= len(oldest)


@dataclass(slots=True)
class _Work(Generic[PictureT]):
    task: asyncio.Task[PictureT]
    waiters: int = 0


class SharedWork(Generic[PictureT]):
    """Does the same work once for all who want it at the same time. It ends when nobody wants it any more."""

    def __init__(self) -> None:
        self._running: dict[Key, _Work[PictureT]] = {}

    async def run(self, key: Key, start: Callable[[], Awaitable[PictureT]]) -> PictureT:
        """The result of ``start()``, or of one that runs already; its exceptions reach everyone."""
        work = self._running.get(key)
        if work is None:
            work = self._running[key] = _Work(asyncio.create_task(_awaited(start)))
        work.waiters += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiters -= 1
            if not work.waiters:
                del self._running[key]
                if not work.task.done():
                    work.task.cancel()
                    await asyncio.wait((work.task,))
            # An exception in its task holds this frame.
            del work


async def _awaited(start: Callable[[], Awaitable[PictureT]]) -> PictureT:
    return await start()
