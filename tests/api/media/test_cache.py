import asyncio

import pytest

from qwenvl.api.media.cache import Key, PictureCache, SharedWork


def key(name: str) -> Key:
    return name.encode(), 448, True


def test_what_was_used_last_stays() -> None:
    cache = PictureCache(100)
    for name in "abc":
        cache.put(key(name), name.encode() * 33)
    assert cache.get(key("a")) == b"a" * 33
    cache.put(key("d"), b"d" * 33)
    assert [cache.get(key(name)) is not None for name in "abcd"] == [True, False, True, True]
    assert cache.size == 99


def test_the_key_is_more_than_the_content() -> None:
    cache = PictureCache(100)
    cache.put((b"a", 448, True), b"upright")
    assert cache.get((b"a", 448, False)) is None
    assert cache.get((b"a", 224, True)) is None


def test_twice_the_same_counts_once() -> None:
    cache = PictureCache(100)
    cache.put(key("a"), b"x" * 60)
    cache.put(key("a"), b"x" * 60)
    assert cache.size == 60


@pytest.mark.parametrize("size", [0, 9])
def test_what_does_not_fit_is_not_kept(size: int) -> None:
    cache = PictureCache(size)
    cache.put(key("a"), b"x" * 10)
    assert cache.get(key("a")) is None
    assert cache.size == 0


class Work:
    """Counts how often it runs, and waits until it may finish."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.may_finish = asyncio.Event()

    async def __call__(self) -> bytes:
        self.started += 1
        self.begun.set()
        try:
            await self.may_finish.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.started > 1:
            raise ValueError("once is enough")
        return b"done"


async def test_work_is_shared() -> None:
    shared, work = SharedWork(), Work()
    tasks = [asyncio.create_task(shared.run(key("a"), work)) for _ in range(3)]
    await work.begun.wait()
    tasks[0].cancel()
    work.may_finish.set()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert [await task for task in tasks[1:]] == [b"done"] * 2
    assert (work.started, work.cancelled) == (1, 0)
    with pytest.raises(ValueError, match="once"):
        await shared.run(key("a"), work)


async def test_work_that_nobody_waits_for_ends() -> None:
    shared, work = SharedWork(), Work()
    task = asyncio.create_task(shared.run(key("a"), work))
    await work.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (work.started, work.cancelled) == (1, 1)


async def test_failures_reach_everyone() -> None:
    async def fail() -> bytes:
        raise ValueError("no")

    shared = SharedWork()
    failures = await asyncio.gather(*(shared.run(key("a"), fail) for _ in range(3)), return_exceptions=True)
    assert [str(failure) for failure in failures] == ["no"] * 3
