import asyncio
from contextlib import AsyncExitStack

import pytest

from qwenvl.api.media.slots import FetchSlots


class Taker:
    """Takes places, and says how many it has."""

    def __init__(self, slots: FetchSlots, group: asyncio.TaskGroup) -> None:
        self._slots = slots
        self._group = group
        self.held: list[object] = []
        self.tasks: dict[object, list[asyncio.Task[None]]] = {}

    def take(self, owner: object, host: str) -> None:
        async def hold() -> None:
            async with self._slots.slot(owner, host):
                self.held.append(owner)
                try:
                    await asyncio.Event().wait()
                finally:
                    self.held.remove(owner)

        self.tasks.setdefault(owner, []).append(self._group.create_task(hold()))

    async def let_go(self, owner: object) -> None:
        tasks = self.tasks.pop(owner)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await settled()


async def settled() -> None:
    """Every task has run up to where it waits: nothing here waits for anything outside."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_one_host_leaves_room_for_others() -> None:
    async with asyncio.TaskGroup() as group:
        taker = Taker(FetchSlots(8), group)
        for owner in range(8):
            taker.take(owner, "slow")
        taker.take("other", "quick")
        await settled()
        assert taker.held == [0, 1, "other"]
        await taker.let_go(0)
        assert taker.held == [1, "other", 2]
        for owner in list(taker.tasks):
            await taker.let_go(owner)
        assert taker.held == []


async def test_greedy_requests_leave_the_second_half_to_others() -> None:
    async with asyncio.TaskGroup() as group:
        taker = Taker(FetchSlots(8), group)
        for host in range(8):
            taker.take("greedy", f"host{host}")
        await settled()
        assert taker.held == ["greedy"] * 4
        for owner in ("a", "b", "c", "d", "e", "f"):
            taker.take(owner, owner)
        await settled()
        assert taker.held == ["greedy"] * 4 + ["a", "b", "c", "d"]
        await taker.let_go("greedy")
        assert sorted(map(str, taker.held)) == ["a", "b", "c", "d", "e", "f"]
        for owner in list(taker.tasks):
            await taker.let_go(owner)


async def test_whoever_holds_the_fewest_is_next() -> None:
    async with asyncio.TaskGroup() as group:
        taker = Taker(FetchSlots(4), group)
        for owner, host in (("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("a", "5"), ("d", "6")):
            taker.take(owner, host)
        await settled()
        assert taker.held == ["a", "a", "b", "c"]
        await taker.let_go("b")
        assert taker.held == ["a", "a", "c", "d"]
        for owner in list(taker.tasks):
            await taker.let_go(owner)


async def test_one_place_is_enough_for_every_request() -> None:
    slots = FetchSlots(1)
    done: list[int] = []

    async def work(owner: int) -> None:
        async with slots.slot(owner % 2, "host"):
            await asyncio.sleep(0)
            done.append(owner)

    await asyncio.gather(*map(work, range(10)))
    assert sorted(done) == list(range(10))


async def test_a_place_given_to_someone_who_has_just_left_goes_on() -> None:
    slots = FetchSlots(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots.slot("first", "host"))
        leaving = asyncio.create_task(slots.slot("leaving", "host").__aenter__())
        await settled()
        await stack.aclose()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    async with asyncio.timeout(5), slots.slot("next", "host"):
        pass
