"""A response before it has an output: what was asked for, with the defaults filled in."""

import time
from typing import Any

from qwenvl.api.responses.items import new_id
from qwenvl.api.responses.objects import Response
from qwenvl.api.responses.schemas import CreateResponseRequest
from qwenvl.engine import SamplingOptions


def begin_response(wire: CreateResponseRequest, sampling: SamplingOptions, *, is_stored: bool) -> Response:
    """The response in progress."""
    return Response(
        id=new_id("resp"),
        object="response",
        created_at=int(time.time()),
        completed_at=None,
        status="in_progress",
        background=False,
        error=None,
        incomplete_details=None,
        instructions=wire.instructions,
        max_output_tokens=wire.max_output_tokens,
        max_tool_calls=wire.max_tool_calls,
        model=wire.model,
        output=[],
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        previous_response_id=wire.previous_response_id,
        prompt_cache_key=wire.prompt_cache_key,
        reasoning={"effort": None, "summary": None},
        safety_identifier=wire.safety_identifier,
        service_tier="default",
        store=is_stored,
        temperature=sampling.temperature,
        text=_show_text(wire),
        tool_choice=_show_choice(wire),
        tools=[tool.model_dump(exclude_none=True) for tool in wire.tools or ()],
        top_logprobs=wire.top_logprobs or 0,
        top_p=sampling.top_p,
        truncation=wire.truncation or "disabled",
        usage=None,
        user=wire.user,
        metadata=wire.metadata or {},
    )


def _show_text(wire: CreateResponseRequest) -> dict[str, Any]:
    form = wire.text and wire.text.format
    shown: dict[str, Any] = {"format": {"type": form.type if form else "text"}}
    if form and form.type == "json_schema":
        shown["format"] = form.model_dump(by_alias=True, exclude_none=True)
    if wire.text and wire.text.verbosity:
        shown["verbosity"] = wire.text.verbosity
    return shown


def _show_choice(wire: CreateResponseRequest) -> str | dict[str, Any]:
    if wire.tool_choice is None or isinstance(wire.tool_choice, str):
        return wire.tool_choice or "auto"
    return wire.tool_choice.model_dump(exclude_none=True)
