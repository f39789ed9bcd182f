"""Request bodies as OpenAI writes them: types and ranges. What they mean is for ``conversation`` and ``sampling``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from qwenvl.api.wire import SamplingFields, StreamOptions, WireModel, by_shape

MAX_MESSAGES = 4096
MAX_PARTS = 1024


class ImageUrl(WireModel):
    """``detail`` is accepted and ignored: the model reads every image at one size."""

    url: str
    detail: str | None = None


class ContentPart(WireModel):
    """One part of a message. ``type`` says which of the other fields counts."""

    type: str
    text: str | None = None
    image_url: Annotated[
        Annotated[str, Tag("@a URL")]
        | Annotated[ImageUrl, Tag("@an object with a url")]
        | Annotated[None, Tag("@null")],
        by_shape({str: "a URL", dict: "an object with a url"}),
    ] = None


class ChatMessage(WireModel):
    role: str
    content: Annotated[
        Annotated[str, Tag("@a string")]
        # Only the first complaint is told, and there may be millions.
        | Annotated[list[ContentPart], Tag("@a list of parts"), Field(max_length=MAX_PARTS, fail_fast=True)]
        | Annotated[None, Tag("@null")],
        by_shape({str: "a string", list: "a list of parts"}),
    ] = None


class ChatTemplateOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    chat_format: Literal["chatml", "raw"] | None = None


class ChatCompletionRequest(SamplingFields):
    """``POST /v1/chat/completions``."""

    model: str
    messages: list[ChatMessage] = Field(max_length=MAX_MESSAGES, fail_fast=True)

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None
