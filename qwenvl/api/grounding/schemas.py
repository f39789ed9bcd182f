"""What a request says of boxes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from qwenvl.api.wire import (
    INT32_MAX,
    MAX_SEED,
    MIN_SEED,
    ChatTemplateOptions,
    ImageSource,
    Label,
    WireModel,
    by_shape,
)

Unit = Literal["pixel", "permille"]


class GroundingOptions(BaseModel):
    """How the findings of an answer are told; an empty object asks for them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    unit: Unit | None = None
    clean_text: bool | None = None
    confidence: bool | None = None


class GroundingFields(WireModel):
    """An extension: neither OpenAI nor vLLM has it."""

    grounding: GroundingOptions | None = None


class Corners(BaseModel):
    """A box as answers have it; what else a finding says of it is let through, so that it can be sent back as it is."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    x1: float
    y1: float
    x2: float
    y2: float


BoxValue = Annotated[
    Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Tag("@a list of 4 numbers"), Field(max_length=64)]
    | Annotated[Corners, Tag("@an object with x1, y1, x2, y2")]
    | Annotated[None, Tag("@null")],
    by_shape({list: "a list of 4 numbers", dict: "an object with x1, y1, x2, y2"}),
]


class BoxFields(WireModel):
    """The fields of a part ``{"type": "box", ..}`` of a message."""

    ref: str | None = None
    box: BoxValue = None
    image_index: int | None = Field(None, ge=0)
    unit: Unit | None = None


MAX_PHRASES = 64
MAX_PHRASE_CHARS = 512
MAX_BOXES = 32
MAX_SEARCHES = 256
"""Pictures times phrases of one request."""
MAX_ANNOTATED = 8
"""Pictures that one request has drawn on."""

PHRASE = "{phrase}"
"""Where the phrase goes in a prompt."""


class GroundingRequest(WireModel):
    """``POST /v1/grounding``: where in each of the pictures is what each of the phrases names."""

    model: str
    image: ImageSource = None
    images: list[ImageSource] | None = Field(None, max_length=MAX_SEARCHES, fail_fast=True)
    phrases: list[Annotated[str, Field(min_length=1, max_length=MAX_PHRASE_CHARS)]] = Field(
        min_length=1, max_length=MAX_PHRASES, fail_fast=True
    )
    prompt: str | None = Field(None, max_length=4 * MAX_PHRASE_CHARS)
    unit: Unit | None = None
    confidence: bool | None = None
    constrained: bool | None = None
    max_boxes: int | None = Field(None, ge=1, le=MAX_BOXES)
    annotated: bool | None = None
    chat_template_kwargs: ChatTemplateOptions | None = None

    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=INT32_MAX)
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)

    cache_salt: str | None = Field(None, min_length=1, max_length=1024)
    priority: int | None = Field(None, ge=0, le=INT32_MAX)
    user: Label | None = None
