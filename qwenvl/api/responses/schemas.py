"""Request bodies of the Responses API: types and ranges. What the items mean is for ``items``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from qwenvl.api.chat.schemas import MAX_MESSAGES, MAX_PARTS, PromptCacheOptions
from qwenvl.api.chat.tool_schemas import MAX_TOOLS, FunctionName
from qwenvl.api.grounding.schemas import BoxFields, GroundingFields
from qwenvl.api.structure import MAX_STRUCTURE_CHARS, StructuredOutputs
from qwenvl.api.wire import (
    INT32_MAX,
    MAX_LOGPROBS,
    ChatTemplateOptions,
    IgnoredFields,
    Label,
    SamplingFields,
    WireModel,
    by_shape,
)

LOGPROBS = "message.output_text.logprobs"
"""The one value of ``include`` that changes an answer."""

MAX_ITEMS = MAX_MESSAGES
MAX_INCLUDED = 16
MAX_LISTED = 100


class InputPart(BoxFields):
    """One part of a message. ``type`` says which of the other fields count; ``detail`` is accepted and ignored."""

    type: str
    text: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    refusal: str | None = None


PartList = Annotated[list[InputPart], Tag("@a list of parts"), Field(max_length=MAX_PARTS, fail_fast=True)]

Content = Annotated[
    Annotated[str, Tag("@a string")] | PartList | Annotated[None, Tag("@null")],
    by_shape({str: "a string", list: "a list of parts"}),
]


class InputItem(WireModel):
    """One item of the input. ``type`` says which of the other fields count; without one it is a message."""

    type: str | None = None
    id: str | None = Field(None, min_length=1)
    role: str | None = None
    content: Content = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Content = None


class RepeatedModel(WireModel):
    """A part of a request that the response repeats, without what nobody knows."""

    model_config = ConfigDict(extra="ignore")


class TextFormat(RepeatedModel):
    """``type`` says whether the other fields count."""

    type: str
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = Field(None, max_length=MAX_STRUCTURE_CHARS)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(WireModel):
    """``verbosity`` is accepted and ignored."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseTool(RepeatedModel):
    """A function that the model may call. Other types are refused by name."""

    type: str
    name: FunctionName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class AllowedTool(RepeatedModel):
    type: str
    name: FunctionName | None = None


class ResponseToolChoice(RepeatedModel):
    """``type`` says which of the other fields count."""

    type: str
    name: FunctionName | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[AllowedTool] | None = Field(None, min_length=1, max_length=MAX_TOOLS, fail_fast=True)


class ResponseStreamOptions(WireModel):
    """Accepted and ignored: it asks for padding, which no answer here has."""

    include_obfuscation: bool | None = None


class Reasoning(WireModel):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class IgnoredResponseFields(IgnoredFields):
    """Accepted and without effect on the answer; some are repeated in the response."""

    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning: Reasoning | None = None
    include_reasoning: bool | None = None
    max_tool_calls: int | None = Field(None, ge=1)
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    stream_options: ResponseStreamOptions | None = None


class CreateResponseRequest(SamplingFields, GroundingFields, IgnoredResponseFields):
    """``POST /v1/responses``."""

    model: str
    input: Annotated[
        Annotated[str, Tag("@a string")]
        # Only the first complaint is told, and there may be millions.
        | Annotated[list[InputItem], Tag("@a list of items"), Field(max_length=MAX_ITEMS, fail_fast=True)],
        by_shape({str: "a string", list: "a list of items"}),
    ]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16
    )
    truncation: Literal["auto", "disabled"] | None = None

    max_output_tokens: int | None = Field(None, ge=1)
    text: TextOptions | None = None
    structured_outputs: StructuredOutputs | None = None
    include: list[str] | None = Field(None, max_length=MAX_INCLUDED)
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    tools: list[ResponseTool] | None = Field(None, max_length=MAX_TOOLS, fail_fast=True)
    tool_choice: Annotated[
        Annotated[Literal["none", "auto", "required"], Tag("@a string")]
        | Annotated[ResponseToolChoice, Tag("@an object")]
        | Annotated[None, Tag("@null")],
        by_shape({str: "a string", dict: "an object"}),
    ] = None
    parallel_tool_calls: bool | None = None

    stream: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None
    cache_salt: str | None = Field(None, min_length=1, max_length=1024)
    priority: int | None = Field(None, ge=0, le=INT32_MAX)


class RetrieveQuery(BaseModel):
    """``include``, ``include_obfuscation`` and ``starting_after`` are accepted and ignored."""

    stream: bool = False


class ItemsQuery(BaseModel):
    """``include`` is accepted and ignored."""

    after: str | None = None
    limit: int = Field(20, ge=1, le=MAX_LISTED)
    order: Literal["asc", "desc"] = "desc"
