"""Bodies of the Responses API as OpenAI writes them: items, responses, lists. Written with ``exclude_unset``."""

from typing import Any, Literal

from pydantic import BaseModel, PrivateAttr

from qwenvl.api.chat.objects import PositionLogprob
from qwenvl.api.grounding.objects import FindingObject
from qwenvl.api.grounding.schemas import BoxValue, Unit

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class InputText(BaseModel):
    type: Literal["input_text"]
    text: str


class InputImage(BaseModel):
    type: Literal["input_image"]
    image_url: str
    detail: str


class InputBox(BaseModel):
    """An extension: part of a picture, as the request has it."""

    type: Literal["box"]
    ref: str | None = None
    box: BoxValue = None
    image_index: int | None = None
    unit: Unit | None = None


class OutputText(BaseModel):
    """``grounding`` is an extension, and left out where it was not asked for.

    Attributes:
        _written: what the model wrote, where ``text`` was cleaned of its tags.
    """

    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[PositionLogprob]
    grounding: list[FindingObject] = []

    _written: str | None = PrivateAttr(None)

    def for_history(self) -> "OutputText":
        """What the model reads later: its own words, so that it finds its boxes, and no log probabilities."""
        text = self.text if self._written is None else self._written
        return OutputText(type="output_text", text=text, annotations=self.annotations, logprobs=[])


class OutputRefusal(BaseModel):
    """What other models answer with where they would rather not; taken as part of past turns."""

    type: Literal["refusal"]
    refusal: str


class InputMessage(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    status: ItemStatus
    content: list[InputText | InputImage | InputBox]


class OutputMessage(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: ItemStatus
    content: list[OutputText | OutputRefusal]

    def for_history(self) -> "OutputMessage":
        """The same without log probabilities, which nothing that comes later needs."""
        parts = [part.for_history() if isinstance(part, OutputText) else part for part in self.content]
        return self.model_copy(update={"content": parts})


class FunctionCall(BaseModel):
    id: str
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    status: ItemStatus

    def for_history(self) -> "FunctionCall":
        return self


class FunctionCallOutput(BaseModel):
    id: str
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText | InputImage]
    status: ItemStatus


OutputItem = OutputMessage | FunctionCall
Item = InputMessage | OutputMessage | FunctionCall | FunctionCallOutput


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class Response(BaseModel):
    """A response: what was asked, with the defaults filled in, and what came of it."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, None]
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None
    metadata: dict[str, str]


class DeletedResponse(BaseModel):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(BaseModel):
    """OpenAI's type wants strings for both ids, of an empty list too."""

    object: Literal["list"]
    data: list[Item]
    first_id: str
    last_id: str
    has_more: bool
