"""Request bodies as OpenAI writes them: types and ranges. What they mean is for ``conversation`` and ``sampling``."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from qwenvl.api.chat.tool_schemas import FunctionCall, ToolCalls, ToolFields
from qwenvl.api.grounding.schemas import BoxFields, GroundingFields
from qwenvl.api.structure import StructureFields
from qwenvl.api.wire import (
    MAX_LOGPROBS,
    ChatTemplateOptions,
    IgnoredFields,
    ImageSource,
    Label,
    SamplingFields,
    ServingFields,
    StreamFields,
    WireModel,
    by_shape,
)

MAX_MESSAGES = 4096
MAX_PARTS = 1024


class ContentPart(BoxFields):
    """One part of a message. ``type`` says which of the other fields count."""

    type: str
    text: str | None = None
    image_url: ImageSource = None


class ChatMessage(WireModel):
    """``name`` tells whose result a message with the role function is; elsewhere it has no effect."""

    role: str
    content: Annotated[
        Annotated[str, Tag("@a string")]
        # Only the first complaint is told, and there may be millions.
        | Annotated[list[ContentPart], Tag("@a list of parts"), Field(max_length=MAX_PARTS, fail_fast=True)]
        | Annotated[None, Tag("@null")],
        by_shape({str: "a string", list: "a list of parts"}),
    ] = None
    name: str | None = None
    tool_calls: ToolCalls | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None


Messages = Annotated[list[ChatMessage], Field(max_length=MAX_MESSAGES, fail_fast=True)]


class TextPart(WireModel):
    type: Literal["text"]
    text: str


class Prediction(WireModel):
    """What OpenAI may take an answer from, to be faster; the answer is the same."""

    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag("@a string")] | Annotated[list[TextPart], Tag("@a list of parts"), Field(fail_fast=True)],
        by_shape({str: "a string", list: "a list of parts"}),
    ]


class PromptCacheOptions(WireModel):
    mode: Literal["implicit", "explicit"] | None = None
    ttl: str | None = None


class IgnoredChatFields(IgnoredFields):
    """Accepted and without effect: for OpenAI's own bookkeeping, or for models that think."""

    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16
    )
    safety_identifier: Label | None = None
    prediction: Prediction | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    include_reasoning: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class PromptFields(WireModel):
    """How a conversation becomes a prompt."""

    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None


class ChatCompletionRequest(
    PromptFields,
    ToolFields,
    SamplingFields,
    StructureFields,
    StreamFields,
    ServingFields,
    GroundingFields,
    IgnoredChatFields,
):
    """``POST /v1/chat/completions``."""

    model: str
    messages: Messages

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    echo: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
