"""Request bodies as OpenAI writes them: types and ranges. What they mean is for ``conversation`` and ``sampling``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_MESSAGES = 4096
MAX_PARTS = 1024
MAX_STOP_STRINGS = 16
MAX_N = 128
INT32_MAX = 2**31 - 1
MIN_SEED = -(2**63)
# vLLM adds the answer's index to the seed, and writes 64 bits.
MAX_SEED = 2**63 - 1 - MAX_N


class WireModel(BaseModel):
    # Strict: "0.5" is not a number and true is not 1. Unknown fields are kept for the table of refused ones, and
    # otherwise ignored, as clients of other servers expect.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def _shape(names: dict[type, str]) -> Any:
    """Choose a union's branch by the JSON type, so that an error is about that branch alone. Null is let through."""

    def choose(value: Any) -> str | None:
        if value is None:
            return "@null"
        return next((f"@{name}" for kind, name in names.items() if isinstance(value, kind)), None)

    wanted = " or ".join(names.values())
    return Discriminator(choose, custom_error_type="shape_type", custom_error_message=f"must be {wanted}")


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
        _shape({str: "a URL", dict: "an object with a url"}),
    ] = None


class ChatMessage(WireModel):
    role: str
    content: Annotated[
        Annotated[str, Tag("@a string")]
        # Only the first complaint is told, and there may be millions.
        | Annotated[list[ContentPart], Tag("@a list of parts"), Field(max_length=MAX_PARTS, fail_fast=True)]
        | Annotated[None, Tag("@null")],
        _shape({str: "a string", list: "a list of parts"}),
    ] = None


class StreamOptions(WireModel):
    include_usage: bool | None = None


class ChatTemplateOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    chat_format: Literal["chatml", "raw"] | None = None


StopString = Annotated[str, Field(min_length=1)]


class ChatCompletionRequest(WireModel):
    """``POST /v1/chat/completions``. A field that is null counts as one that is not there."""

    model: str
    messages: list[ChatMessage] = Field(max_length=MAX_MESSAGES, fail_fast=True)

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=INT32_MAX)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Annotated[
        Annotated[StopString, Tag("@a string")]
        | Annotated[list[StopString], Tag("@a list of strings"), Field(max_length=MAX_STOP_STRINGS)]
        | Annotated[None, Tag("@null")],
        _shape({str: "a string", list: "a list of strings"}),
    ] = None
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    n: int | None = Field(None, ge=1, le=MAX_N)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    ignore_eos: bool | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None
