"""Structures that would hold up an engine are refused by a process that can be lost."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import psutil
import pytest
from vllm.sampling_params import StructuredOutputsParams

from qwenvl.engine import Structure
from qwenvl.engine.structure import AT_ONCE, StructureChecker
from qwenvl.errors import EngineError, UserError
from tests.processes import command_of
from tests.vocabularies import PUBLISHED

# The process takes seconds to start.
pytestmark = pytest.mark.slow

VOCAB_SIZE = 151_936
ENDLESS_REGEX = "(.*)*(.*)*(.*)*x"
ENDLESS = Structure("regex", ENDLESS_REGEX)
FINE = Structure("regex", "[a-z]{2}")


Processes: TypeAlias = Callable[[], list[psutil.Process]]


@pytest.fixture
def processes() -> Processes:
    """Those of this test: an engine that other tests keep for the whole run has one too."""

    def children() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "qwenvl.engine.grammar_process" in command_of(child)]

    of_others = children()
    return lambda: [child for child in children() if child not in of_others]


@pytest.fixture
async def checker(processes: Processes) -> AsyncIterator[StructureChecker]:
    """On the vocabulary of the released models: what a grammar costs grows with it."""
    checker = StructureChecker(PUBLISHED, VOCAB_SIZE, seconds=1)
    yield checker
    await checker.stop()
    assert not processes()


async def test_what_costs_too_much_is_refused_and_keeps_nobody_waiting(checker: StructureChecker) -> None:
    await checker.check(FINE)
    costly = [ENDLESS, Structure("json_schema", '{"type": "string", "maxLength": 1000000000}')]
    for error in await asyncio.gather(*map(checker.check, costly), return_exceptions=True):
        assert isinstance(error, UserError)
        assert error.param == "structured_outputs"
        assert "it takes more than" in error.message

    slow = asyncio.create_task(checker.check(Structure("regex", "(.*)*(.*)*(.*)*y")))
    await checker.check(Structure("choice", ("first", "second")))
    assert not slow.done()
    with pytest.raises(UserError):
        await slow


async def test_what_looks_costly_and_is_not_passes(checker: StructureChecker) -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    for structure in (
        Structure("regex", "a{1000000}"),
        Structure("regex", "(a+)+b"),
        Structure("json_schema", json.dumps(tree)),
        Structure("json_schema", '{"type": "array", "items": {"type": "integer"}, "minItems": 1000000}'),
        Structure("json_schema", json.dumps({"enum": [f"value {i}" for i in range(1000)]})),
        Structure("choice", tuple(f"choice {i}" for i in range(1000))),
        Structure("grammar", 'root ::= root "a" | "a"'),
    ):
        await checker.check(structure)


async def test_one_trial_serves_all_who_ask_and_outlives_who_leaves(
    checker: StructureChecker, processes: Processes
) -> None:
    asking = [asyncio.create_task(checker.check(FINE)) for _ in range(20)]
    while not processes():  # noqa: ASYNC110 (it is being started)
        await asyncio.sleep(0)
    asking[0].cancel()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert {outcome.regex for outcome in outcomes[1:] if isinstance(outcome, StructuredOutputsParams)} == {FINE.value}
    assert not any(isinstance(outcome, Exception) for outcome in outcomes[1:])


async def test_a_lost_process_is_started_again(checker: StructureChecker, processes: Processes) -> None:
    await checker.check(FINE)
    (process,) = processes()
    waiting = asyncio.create_task(checker.check(ENDLESS))
    while not process.children():  # noqa: ASYNC110 (another process's children are nothing to wait on)
        await asyncio.sleep(0)
    process.kill()
    with pytest.raises(EngineError):
        await waiting
    await checker.check(Structure("regex", "[0-9]"))


@pytest.mark.parametrize("structure", [Structure("json_object"), Structure("json_schema", '{"type": "array"}')])
async def test_white_space_in_json_is_bounded(checker: StructureChecker, structure: Structure) -> None:
    grammar = (await checker.check(structure)).grammar
    assert grammar is not None
    counts = re.findall(r"whitespace\w*(\{[^}]*\}|[*+])", grammar)
    assert counts
    assert set(counts) == {"{0, 5}"}


async def test_it_starts_ahead_of_the_first_structure(checker: StructureChecker, processes: Processes) -> None:
    await checker.start()
    while not (started := processes()):  # noqa: ASYNC110 (its command line takes a moment to be there)
        await asyncio.sleep(0)
    await checker.check(FINE)
    assert processes() == started


async def test_it_may_stop_as_soon_as_it_has_started(checker: StructureChecker, processes: Processes) -> None:
    await checker.start()
    await checker.stop()
    assert not processes()


async def test_who_leaves_the_queue_leaves_no_work(checker: StructureChecker, processes: Processes) -> None:
    await checker.check(FINE)
    running = [asyncio.create_task(checker.check(Structure("regex", ENDLESS_REGEX + str(i)))) for i in range(AT_ONCE)]
    (process,) = processes()
    while len(process.children()) < AT_ONCE:  # noqa: ASYNC110 (another process's children are nothing to wait on)
        await asyncio.sleep(0)
    left = [asyncio.create_task(checker.check(Structure("regex", f"{ENDLESS_REGEX} {i}"))) for i in range(100)]
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    # Would wait for 25 rounds of those before it.
    async with asyncio.timeout(20):
        await checker.check(Structure("regex", "[0-9]"))
        again = asyncio.create_task(checker.check(Structure("regex", f"{ENDLESS_REGEX} 0")))
        with pytest.raises(UserError):
            await again
    await asyncio.gather(*running, return_exceptions=True)


async def test_nothing_is_left_of_what_was_being_tried(processes: Processes) -> None:
    checker = StructureChecker(PUBLISHED, VOCAB_SIZE, seconds=600)
    await checker.check(FINE)
    (process,) = processes()
    waiting = asyncio.create_task(checker.check(ENDLESS))
    while not (forks := process.children()):  # noqa: ASYNC110 (another process's children are nothing to wait on)
        await asyncio.sleep(0)
    await checker.stop()
    await asyncio.gather(waiting, return_exceptions=True)
    _, alive = psutil.wait_procs([process, *forks], timeout=10)
    assert not alive


SERVER = """
import asyncio, sys
from qwenvl.engine import Structure
from qwenvl.engine.structure import StructureChecker

async def main():
    checker = StructureChecker(sys.argv[1], int(sys.argv[2]), seconds=600)
    await checker.check(Structure("regex", "a"))
    print("ready", flush=True)
    await checker.check(Structure("regex", sys.argv[3]))

asyncio.run(main())
"""


def test_nothing_outlives_a_server_that_is_killed() -> None:
    arguments = [sys.executable, "-c", SERVER, str(PUBLISHED), str(VOCAB_SIZE), ENDLESS_REGEX]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        while len(children := psutil.Process(server.pid).children(recursive=True)) < 2:
            pass
        server.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
