"""Response bodies as OpenAI writes them, with vLLM's token-id fields.

They are written out with ``exclude_unset``: a field that a request did not ask for is left out, not null.
"""

from typing import Literal

from pydantic import BaseModel

from qwenvl.api.grounding.objects import FindingObject
from qwenvl.api.prompt_logprobs import PromptLogprobs
from qwenvl.engine import FinishReason

ChatFinishReason = FinishReason | Literal["tool_calls", "function_call"]


class PromptTokensDetails(BaseModel):
    cached_tokens: int


class CompletionUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class PositionLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    content: list[PositionLogprob]


class FunctionCall(BaseModel):
    """``arguments`` is what the model wrote, JSON or not."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] = []
    function_call: FunctionCall | None = None
    grounding: list[FindingObject] = []


class Choice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: ChatFinishReason
    stop_reason: str | int | None
    token_ids: list[int] = []


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: CompletionUsage
    service_tier: Literal["default"] = "default"
    prompt_token_ids: list[int] = []
    prompt_logprobs: PromptLogprobs = []


class FunctionCallDelta(BaseModel):
    name: str = ""
    arguments: str


class ToolCallDelta(BaseModel):
    index: int
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCallDelta


class ChoiceDelta(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None = ""
    tool_calls: list[ToolCallDelta] = []
    function_call: FunctionCallDelta | None = None
    grounding: list[FindingObject] = []


class ChunkChoice(BaseModel):
    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: ChatFinishReason | None
    stop_reason: str | int | None = None
    token_ids: list[int] = []


class ChatCompletionChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    service_tier: Literal["default"] = "default"
    prompt_token_ids: list[int] = []


class ModelCard(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


class Health(BaseModel):
    status: Literal["ok"]
