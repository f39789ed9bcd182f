"""Findings as answers have them. Fields that were not asked for are left out."""

from typing import Literal

from pydantic import BaseModel

from qwenvl.api.grounding.schemas import Unit
from qwenvl.engine import FinishReason


class BoxObject(BaseModel):
    """Corners at the top left and at the bottom right; ``confidence`` from 0 to 1."""

    x1: int
    y1: int
    x2: int
    y2: int
    confidence: float | None = None


class QuadObject(BaseModel):
    """Four corners in order around it."""

    points: list[tuple[int, int]]
    confidence: float | None = None


class SizeObject(BaseModel):
    """A picture as people see it, in pixels. ``orientation`` is EXIF's number by which it was turned, 1 for none."""

    width: int
    height: int
    orientation: int


class FindingObject(BaseModel):
    """A phrase and where it is.

    Attributes:
        index: of the answer's findings, from 0; the openai SDK puts the parts of a stream together by it.
        ref: None where the model named none.
        boxes: in ``unit``.
        quads: likewise.
        image_index: which picture of the request, from 0; None where it has none.
        image: that picture's size.
        unit: pixels of the picture as people see it, or thousandths, which are all there is without a picture.
        span: characters of the message's text, from the first up to and without the last.
    """

    index: int
    ref: str | None
    boxes: list[BoxObject]
    quads: list[QuadObject]
    image_index: int | None
    image: SizeObject | None
    unit: Unit
    span: tuple[int, int]


class SearchResult(BaseModel):
    """What was found of one phrase in one picture.

    Attributes:
        image_index: which picture of the request, from 0.
        phrase: as the request has it.
        text: what the model wrote, after what it was made to begin with.
        found: whether there is any box or quadrilateral.
        boxes: in ``unit``.
        quads: likewise.
        unit: pixels of the picture as people see it, or thousandths.
        finish_reason: ``length`` where the answer was cut.
    """

    image_index: int
    phrase: str
    text: str
    found: bool
    boxes: list[BoxObject]
    quads: list[QuadObject]
    unit: Unit
    finish_reason: FinishReason


class SearchedPicture(SizeObject):
    """A picture of the request, and, where asked for, a PNG of it with all findings as a data URL."""

    annotated: str = ""


class SearchUsage(BaseModel):
    """Of all phrases and pictures together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class GroundingResponse(BaseModel):
    id: str
    object: Literal["grounding"]
    created: int
    model: str
    results: list[SearchResult]
    images: list[SearchedPicture]
    usage: SearchUsage
