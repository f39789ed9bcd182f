import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from qwenvl.api.access.admission import Admission
from qwenvl.api.context import BATCH, INTERACTIVE, Caller, RequestContext
from qwenvl.api.errors import OverloadedError


def context(caller: str = "a", priority: int = INTERACTIVE) -> RequestContext:
    return RequestContext("id", Caller(caller), priority)


class Requests:
    """Requests that hold their place until told, in the order in which they got it."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.order: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, caller: str = "a", priority: int = INTERACTIVE) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._work(name, context(caller, priority)))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await settled()

    async def end_all(self) -> None:
        for end in self._ends.values():
            end.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _work(self, name: str, context: RequestContext) -> None:
        async with self._admission.place(context):
            self.order.append(name)
            await self._ends[name].wait()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(OverloadedError) as error:
        yield
    assert error.value.code == code
    assert error.value.retry_after > 0


async def test_places_go_in_order_of_arrival() -> None:
    requests = Requests(admission := Admission(max_running=1))
    for name in "123":
        await requests.ask(name)
    assert (requests.order, admission.running, admission.waiting) == (["1"], 1, 2)
    await requests.end("1")
    await requests.end("2")
    assert requests.order == ["1", "2", "3"]
    await requests.end("3")
    assert (admission.running, admission.waiting) == (0, 0)


async def test_batches_come_last_and_wait_as_long_as_it_takes() -> None:
    requests = Requests(Admission(max_running=1, max_queued=1, queue_timeout=60))
    await requests.ask("first")
    await requests.ask("batch 1", priority=BATCH)
    await requests.ask("batch 2", priority=BATCH)
    await requests.ask("interactive")
    for name in ("first", "interactive", "batch 1", "batch 2"):
        await requests.end(name)
    assert requests.order == ["first", "interactive", "batch 1", "batch 2"]


async def test_callers_take_turns() -> None:
    requests = Requests(Admission(max_running=1))
    for name, caller in (("a0", "a"), ("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")):
        await requests.ask(name, caller)
    for name in ("a0", "a1", "b1", "c1", "a2", "b2", "a3"):
        await requests.end(name)
    assert requests.order == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]


async def test_full_queue() -> None:
    requests = Requests(admission := Admission(max_running=1, max_queued=2))
    for name in "123":
        await requests.ask(name)
    with refused("queue_full"):
        async with admission.place(context()):
            pytest.fail("there is no place")
    await requests.end_all()
    assert requests.order == ["1", "2", "3"]


async def test_one_caller_does_not_fill_the_queue_for_others() -> None:
    requests = Requests(Admission(max_running=1, max_queued=3))
    for name in "1234":
        await requests.ask(name, "greedy")
    await requests.ask("modest", "b")
    with refused("queue_full"):
        await requests.tasks["4"]
    with refused("queue_full"):
        await requests.ask("5", "greedy")
        await requests.tasks["5"]
    await requests.end_all()
    assert requests.order == ["1", "2", "modest", "3"]


async def test_no_queue_at_all() -> None:
    requests = Requests(admission := Admission(max_running=1, max_queued=0))
    await requests.ask("1")
    with refused("queue_full"):
        async with admission.place(context("b")):
            pytest.fail("there is no place")
    await requests.end("1")
    async with admission.place(context()):
        assert admission.running == 1


async def test_waiting_too_long() -> None:
    requests = Requests(admission := Admission(max_running=1, queue_timeout=0.01))
    await requests.ask("1")
    with refused("queue_timeout"):
        async with admission.place(context()):
            pytest.fail("there is no place")
    assert (admission.running, admission.waiting) == (1, 0)
    await requests.end("1")


async def test_who_leaves_makes_room() -> None:
    requests = Requests(admission := Admission(max_running=1, max_queued=1))
    await requests.ask("1")
    await requests.ask("2")
    requests.tasks["2"].cancel()
    await settled()
    assert admission.waiting == 0
    await requests.ask("3")
    await requests.end("1")
    assert requests.order == ["1", "3"]
    await requests.end("3")


@pytest.mark.parametrize("leave_first", [True, False])
async def test_a_place_given_to_one_who_leaves_goes_on(leave_first: bool) -> None:
    requests = Requests(admission := Admission(max_running=1))
    for name in "123":
        await requests.ask(name)
    steps = [requests.tasks["2"].cancel, requests._ends["1"].set]
    for step in steps if leave_first else reversed(steps):
        step()
        if not leave_first:
            # As far as the end of 1, which hands its place to 2.
            await asyncio.sleep(0)
    await settled()
    assert requests.order in (["1", "3"], ["1", "2", "3"])
    await requests.end_all()
    assert (admission.running, admission.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_lost(seed: int) -> None:
    """Many come, leave, wait too long and are turned away, at every point where they can."""
    dice = random.Random(seed)
    admission = Admission(max_running=3, max_queued=5, queue_timeout=0.002)
    most = 0

    async def work() -> None:
        nonlocal most
        chosen = context(dice.choice("abc"), dice.choice((INTERACTIVE, INTERACTIVE, BATCH)))
        with suppress(OverloadedError):
            async with admission.place(chosen):
                most = max(most, admission.running)
                for _ in range(dice.randrange(5)):
                    await asyncio.sleep(0)

    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(work()))
        if dice.random() < 0.3:
            dice.choice(tasks).cancel()
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (admission.running, admission.waiting) == (0, 0)
    assert most <= 3
