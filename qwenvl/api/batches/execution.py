"""One request of a batch: from its line of input to its line of output."""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio.to_thread
from pydantic import BaseModel

from qwenvl.api.batches.input_file import read_body
from qwenvl.api.batches.job_table import Job, Line, Result
from qwenvl.api.batches.objects import OutputLine, OutputResponse, new_id
from qwenvl.api.batches.output_files import output_line
from qwenvl.api.context import BATCH, Caller, RequestContext
from qwenvl.api.errors import DeadlineError, OverloadedError, RateLimitError, describe, headers_of, status_of
from qwenvl.api.operation import Operation
from qwenvl.api.telemetry.record import RequestRecord, working_on
from qwenvl.api.validation import parse_json
from qwenvl.errors import EngineBusyError, EngineDeadError, QwenVLError

logger = logging.getLogger(__name__)

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True)
class Execution:
    """Runs requests one by one, as if each had come over HTTP, but behind those that did."""

    operations: Mapping[str, Operation]

    async def run(self, job: Job, line: Line, input_path: Path) -> Result:
        """The request's result; errors are results too. A server that is full is asked again until it has room.

        Raises:
            EngineDeadError: the engine has died, or stops; the request is as if never begun.
            OSError: the input cannot be read.
        """
        body = await anyio.to_thread.run_sync(read_body, input_path, line)
        record = RequestRecord(request_id=uuid4().hex)
        context = RequestContext(
            # Without limits: what they bound is what people wait for, and a batch waits anyway.
            record.request_id,
            Caller(job.owner),
            priority=BATCH,
            route=job.endpoint,
            record=record,
        )
        with working_on(record):
            status, answer = await self._answer(self.operations[job.endpoint], body, context)
        return _result(line, OutputResponse(status_code=status, request_id=record.request_id, body=answer))

    async def _answer(self, operation: Operation, body: bytes, context: RequestContext) -> tuple[int, dict[str, Any]]:
        try:
            wire = await anyio.to_thread.run_sync(parse_json, body, operation.wire)
            operation.check(wire)
            answer = await _with_patience(operation, wire, context)
            return 200, answer.model_dump(mode="json", exclude_unset=True)
        except EngineDeadError:
            raise
        except Exception as error:
            if not isinstance(error, QwenVLError):
                logger.exception("request %s of a batch failed unexpectedly", context.request_id)
            return status_of(error), describe(error).model_dump(mode="json")


async def _with_patience(operation: Operation, wire: BaseModel, context: RequestContext) -> BaseModel:
    wait = _FIRST_WAIT
    while True:
        try:
            return await operation.answer(wire, context)
        except (EngineBusyError, OverloadedError, RateLimitError) as error:
            told = headers_of(error).get("Retry-After")
            # Asked again, what took too long would take as long.
            if told is None or isinstance(error, DeadlineError):
                raise
            wait = min(max(2 * wait, float(told)), _LONGEST_WAIT)
        # Spread, so that requests refused together do not come back together.
        await asyncio.sleep(random.uniform(wait / 2, wait))


def _result(line: Line, response: OutputResponse) -> Result:
    text = output_line(OutputLine(id=new_id("batch_req_"), custom_id=line.custom_id, response=response, error=None))
    if response.status_code != 200:
        return Result(succeeded=False, text=text)
    usage = response.body.get("usage") or {}
    # Responses have other names for the same counts.
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    return Result(
        succeeded=True,
        text=text,
        input_tokens=usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or usage.get("output_tokens") or 0,
    )
