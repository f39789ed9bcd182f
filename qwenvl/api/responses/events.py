"""Events of a streamed response, as OpenAI writes them. Each is numbered in its stream."""

from typing import Literal

from pydantic import BaseModel

from qwenvl.api.chat.objects import PositionLogprob
from qwenvl.api.errors import ErrorBody
from qwenvl.api.grounding.objects import FindingObject
from qwenvl.api.responses.objects import OutputItem, OutputRefusal, OutputText, Response


class Event(BaseModel):
    """``type`` is the event's name too, in its ``event:`` line."""

    type: str
    sequence_number: int


class ResponseEvent(Event):
    """The beginning or the end of the stream, with the response as it is then."""

    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]
    response: Response


class OutputItemEvent(Event):
    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class ContentPartEvent(Event):
    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int
    content_index: int
    part: OutputText | OutputRefusal


class TextDeltaEvent(Event):
    """``grounding``, an extension, has the findings that are whole now."""

    type: Literal["response.output_text.delta"]
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: list[PositionLogprob]
    grounding: list[FindingObject] = []


class TextDoneEvent(Event):
    type: Literal["response.output_text.done"]
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: list[PositionLogprob]


class ArgumentsDeltaEvent(Event):
    type: Literal["response.function_call_arguments.delta"]
    item_id: str
    output_index: int
    delta: str


class ArgumentsDoneEvent(Event):
    type: Literal["response.function_call_arguments.done"]
    item_id: str
    output_index: int
    name: str
    arguments: str


class ErrorEvent(Event):
    """What went wrong, flat as OpenAI's types have it and once more as an error object, which makes clients raise."""

    type: Literal["error"]
    code: str | None
    message: str
    param: str | None
    error: ErrorBody
