"""Structures that answers keep to: their limits, their trial in a process apart, and how vLLM takes them."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import StructuredOutputsParams, check_json_nesting
from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features
from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

from qwenvl.engine.protocol import Structure
from qwenvl.errors import EngineBusyError, EngineError, UserError

LARGEST = 64 * 1024
"""Characters of a schema, expression or grammar, or of all choices together."""
COMPILE_SECONDS = 10.0
"""Of computing, to try a structure: one bounded string takes some 5 with the released models' vocabulary."""
AT_ONCE = 4
"""Structures tried at the same time."""
PATIENCE_SECONDS = 60.0
"""Of waiting for a trial: its own limit counts computing, and a busy machine takes longer."""
REMEMBERED = 128

_LONGEST_LINE = 1 << 26
_ANY_OBJECT = '{"type": "object"}'
_FIELDS = {"regex": "regex", "ebnf": "grammar", "lark": "grammar"}

UNSUPPORTED = (
    "it uses a JSON schema keyword that is not supported: multipleOf, uniqueItems, contains, minContains, maxContains, "
    "several schemas in allOf, pattern or format beside a length, an unknown format, propertyNames or "
    "patternProperties beside properties"
)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Why a structure is refused, or the grammar to use in its place, if any."""

    error: str | None
    grammar: str | None


_Waiting = dict[int, asyncio.Future[_Outcome]]


@dataclass(slots=True)
class _Trial:
    """One that runs or waits to; it is called off when nobody wants it any more, unless it has begun."""

    task: asyncio.Task[_Outcome]
    askers: int = 0
    has_begun: bool = False


class StructureChecker:
    """Refuses structures that are broken, or that would hold up the requests beside them.

    vLLM parses a grammar on the event loop and compiles it beside the model; some take minutes or all memory, and
    nothing stops them there. So each is first tried in another process, which is started with the first structure if it
    has not been before.

    Args:
        vocabulary_file: the checkpoint's ``qwen.tiktoken``.
        vocab_size: rows of the model's embedding.
        seconds: of computing, to try one structure.
    """

    def __init__(self, vocabulary_file: str | Path, vocab_size: int, *, seconds: float = COMPILE_SECONDS) -> None:
        arguments = (vocabulary_file, vocab_size, seconds)
        self._command = [sys.executable, "-m", "qwenvl.engine.grammar_process", *map(str, arguments)]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._ids = itertools.count()
        self._waiting: _Waiting = {}
        self._trials: dict[tuple[str, str], _Trial] = {}
        self._known: OrderedDict[tuple[str, str], _Outcome] = OrderedDict()

    async def start(self) -> None:
        """Start the process, which takes seconds to be ready; nobody waits for that here."""
        await self._started()

    async def check(self, structure: Structure) -> StructuredOutputsParams:
        """``structure`` as vLLM takes it.

        Raises:
            UserError: it cannot; the message says why.
            EngineBusyError: the trial did not come to an end, since the machine is too busy.
        """
        task = _task(structure)
        outcome = self._known.get(task) or await self._tried(task)
        self._known[task] = outcome
        self._known.move_to_end(task)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if outcome.error is not None:
            raise _refusal(structure, outcome.error)
        if outcome.grammar is not None:
            return StructuredOutputsParams(grammar=outcome.grammar)
        kind, text = task
        return StructuredOutputsParams(**{_FIELDS[kind]: text})

    async def stop(self) -> None:
        """End the process, and every trial."""
        trials = [trial.task for trial in self._trials.values()]
        for trial in trials:
            trial.cancel()
        await asyncio.gather(*trials, return_exceptions=True)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._process is not None:
            # Its reader had not begun yet.
            await _end(self._process)

    async def _tried(self, task: tuple[str, str]) -> _Outcome:
        """One trial for all who ask at the same time; it goes on when one of them leaves."""
        trial = self._trials.get(task)
        if trial is None:
            trial = self._trials[task] = _Trial(asyncio.create_task(self._try(*task), name="structure-trial"))
            trial.task.add_done_callback(lambda _: self._forget(task, trial))
        trial.askers += 1
        try:
            return await asyncio.shield(trial.task)
        finally:
            trial.askers -= 1
            if not trial.askers and not trial.has_begun:
                # Who leaves must not leave a queue behind for others.
                trial.task.cancel()
                self._forget(task, trial)

    def _forget(self, task: tuple[str, str], trial: _Trial) -> None:
        if self._trials.get(task) is trial:
            del self._trials[task]
        if trial.task.done() and not trial.task.cancelled():
            # Nobody may be left to hear of it.
            trial.task.exception()

    async def _try(self, kind: str, text: str) -> _Outcome:
        async with self._turn:
            self._trials[kind, text].has_begun = True
            process, waiting = await self._started()
            assert process.stdin is not None
            task_id = next(self._ids)
            outcome = waiting[task_id] = asyncio.get_running_loop().create_future()
            try:
                process.stdin.write(json.dumps({"id": task_id, "kind": kind, "text": text}).encode() + b"\n")
                await process.stdin.drain()
                return await asyncio.wait_for(outcome, PATIENCE_SECONDS)
            except TimeoutError as error:
                raise EngineBusyError("structured output took too long to prepare") from error
            except ConnectionError as error:
                raise EngineError("structured output cannot be prepared") from error
            finally:
                del waiting[task_id]

    async def _started(self) -> tuple[asyncio.subprocess.Process, _Waiting]:
        """The process, and who waits for it: what comes of one that has ended is not to touch those of the next."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=_LONGEST_LINE,
                    # It ends with all that it has forked.
                    start_new_session=True,
                )
                self._waiting = {}
                self._reader = asyncio.create_task(self._read(self._process, self._waiting), name="structure-checker")
            return self._process, self._waiting

    async def _read(self, process: asyncio.subprocess.Process, waiting: _Waiting) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                answer = json.loads(line)
                if (outcome := waiting.get(answer["id"])) and not outcome.done():
                    outcome.set_result(_Outcome(answer["error"], answer.get("grammar")))
        finally:
            if self._process is process:
                self._process = None
            for outcome in waiting.values():
                if not outcome.done():
                    outcome.set_exception(EngineError("structured output cannot be prepared"))
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process and all that it has forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _task(structure: Structure) -> tuple[str, str]:
    """What xgrammar is asked for, as vLLM will ask it."""
    value = structure.value
    if structure.kind == "choice":
        if not value or isinstance(value, str) or not all(value):
            raise _refusal(structure, "it needs at least one choice, and no empty one")
        _check_size(structure, sum(map(len, value)) + 8 * len(value))
        return "ebnf", choice_as_grammar(list(value))
    assert isinstance(value, str)
    if structure.kind == "json_object":
        return "json", _ANY_OBJECT
    _check_size(structure, len(value))
    if "\0" in value or not value.strip():
        raise _refusal(structure, "it is empty" if not value.strip() else "it holds a NUL character")
    if structure.kind == "json_schema":
        _check_schema(structure, value)
        return "json", value
    if structure.kind == "regex":
        return "regex", value
    return "lark" if grammar_is_likely_lark(value) else "ebnf", value


def _check_size(structure: Structure, size: int) -> None:
    if size > LARGEST:
        raise _refusal(structure, f"it has {size} characters, and {LARGEST} are the limit")


def _check_schema(structure: Structure, text: str) -> None:
    try:
        check_json_nesting(text)
        schema: Any = json.loads(text)
    except VLLMValidationError as error:
        raise _refusal(structure, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _refusal(structure, "it is not JSON") from error
    if not isinstance(schema, dict | bool):
        raise _refusal(structure, "a JSON schema is an object")
    if has_xgrammar_unsupported_json_features(schema):
        raise _refusal(structure, UNSUPPORTED)


def _refusal(structure: Structure, reason: str) -> UserError:
    names = {"json_schema": "JSON schema", "regex": "regular expression", "choice": "list of choices"}
    name = names.get(structure.kind, structure.kind)
    return UserError(f"The {name} cannot be used: {reason}.", param=structure.param, code="invalid_value")
