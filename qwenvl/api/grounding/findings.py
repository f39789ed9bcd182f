"""One answer's text to findings, as it grows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qwenvl.api.grounding.confidence import TokenPlaces
from qwenvl.api.grounding.objects import BoxObject, FindingObject, QuadObject, SizeObject
from qwenvl.api.grounding.schemas import GroundingOptions, Unit
from qwenvl.api.media.loader import Picture
from qwenvl.chat import Vocabulary
from qwenvl.engine import Delta, SamplingOptions
from qwenvl.errors import UserError
from qwenvl.grounding import Box, Found, GroundingReader, Quad, Said, box_to_pixels, quad_to_pixels
from qwenvl.grounding.reading import Event


@dataclass(frozen=True, slots=True)
class Grounding:
    """How the findings of an answer are told.

    Attributes:
        unit: of coordinates.
        cleans_text: the text has each phrase in place of its tags and coordinates.
        image_index: the picture that boxes refer to, which is the latest; None where there is none.
        image: its size.
        vocabulary: spells the tokens of confidences.
        skip_control: control tokens are left out of the text.
    """

    unit: Unit
    cleans_text: bool
    with_confidence: bool
    image_index: int | None
    image: SizeObject | None
    vocabulary: Vocabulary
    skip_control: bool = True


def refuse_tools(options: GroundingOptions | None, *, offers_tools: bool) -> None:
    """Raise where the answer may be a call of a tool, whose text is no answer.

    Raises:
        UserError: findings are asked for all the same.
    """
    if options is not None and offers_tools:
        raise UserError(
            "grounding cannot be combined with tools, nor with messages that hold calls of tools or their results. "
            "Leave one of them out.",
            param="grounding",
            code="invalid_value",
        )


def read_grounding(
    options: GroundingOptions | None,
    pictures: Sequence[Picture],
    sampling: SamplingOptions,
    vocabulary: Vocabulary,
    *,
    left_out: int = 0,
) -> Grounding | None:
    """What of findings a request asks for; None where it asks for nothing. Boxes refer to the latest picture.

    Args:
        options: as the request has them.
        pictures: that the model sees.
        sampling: of the answer.
        vocabulary: of the model.
        left_out: pictures of the request before those.
    """
    if options is None:
        return None
    if not pictures:
        return grounding_in(options, None, None, sampling, vocabulary)
    return grounding_in(options, pictures[-1], left_out + len(pictures) - 1, sampling, vocabulary)


def grounding_in(
    options: GroundingOptions,
    picture: Picture | None,
    image_index: int | None,
    sampling: SamplingOptions,
    vocabulary: Vocabulary,
) -> Grounding:
    """The same for boxes that refer to a certain picture, or to none, which are thousandths."""
    return Grounding(
        unit=(options.unit or "pixel") if picture is not None else "permille",
        cleans_text=bool(options.clean_text),
        with_confidence=options.confidence is not False,
        image_index=image_index,
        image=size_of(picture) if picture is not None else None,
        vocabulary=vocabulary,
        skip_control=sampling.skip_control,
    )


def with_confidences(sampling: SamplingOptions, grounding: Grounding | None) -> SamplingOptions:
    """The same, with the log probabilities that confidences are made of."""
    if grounding is None or not grounding.with_confidence or sampling.logprobs is not None:
        return sampling
    return replace(sampling, logprobs=0)


def size_of(picture: Picture) -> SizeObject:
    return SizeObject(width=picture.width, height=picture.height, orientation=picture.orientation)


@dataclass(frozen=True, slots=True)
class Read:
    """What is new of an answer: text to show, text as the model wrote it, and findings that are whole now."""

    text: str
    written: str
    findings: list[FindingObject]


class FindingsReader:
    """Reads one answer while it grows.

    Args:
        grounding: how its findings are told.
        before: text that stands before the answer and belongs to it.
        shows_before: it is part of the message. As it is, others show it; where text is cleaned, it comes out of here.
    """

    def __init__(self, grounding: Grounding, before: str = "", *, shows_before: bool = False) -> None:
        self._grounding = grounding
        self._reader = GroundingReader()
        self._places: TokenPlaces | None = None
        if grounding.with_confidence:
            self._places = TokenPlaces(grounding.vocabulary, skip_control=grounding.skip_control)
            self._places.start_at(len(before))
        self._before = self._reader.feed(before)
        # Of the text that spans are told of, so much is not part of the message.
        self._hidden = 0
        if not shows_before:
            said = sum(len(event.text) for event in self._before if isinstance(event, Said))
            self._hidden = said if grounding.cleans_text else len(before)
            self._before = [event for event in self._before if isinstance(event, Found)]
        self._n_told = 0

    def read(self, delta: Delta) -> Read:
        """What this delta adds."""
        if self._places is not None:
            self._places.add(delta)
        events, self._before = [*self._before, *self._reader.feed(delta.text)], []
        if delta.finish_reason is not None:
            events += self._reader.finish()
        return self._told(events, delta.text)

    def _told(self, events: Sequence[Event], text: str) -> Read:
        said = "".join(event.text for event in events if isinstance(event, Said))
        findings = [self._write(event) for event in events if isinstance(event, Found) and _is_somewhere(event)]
        return Read(said if self._grounding.cleans_text else text, text, findings)

    def _write(self, found: Found) -> FindingObject:
        finding, grounding = found.finding, self._grounding
        start, end = found.clean_span if grounding.cleans_text else finding.span
        self._n_told += 1
        return FindingObject(
            index=self._n_told - 1,
            ref=finding.ref,
            boxes=[self._box(*box) for box in zip(finding.boxes, found.box_numbers, strict=True)],
            quads=[self._quad(*quad) for quad in zip(finding.quads, found.quad_numbers, strict=True)],
            image_index=grounding.image_index,
            image=grounding.image,
            unit=grounding.unit,
            span=(max(0, start - self._hidden), max(0, end - self._hidden)),
        )

    def _box(self, box: Box, numbers: Sequence[tuple[int, int]]) -> BoxObject:
        x1, y1, x2, y2 = box.x1, box.y1, box.x2, box.y2
        if (size := self._size) is not None:
            x1, y1, x2, y2 = box_to_pixels(box, *size)
        written = BoxObject(x1=x1, y1=y1, x2=x2, y2=y2)
        if (confidence := self._confidence(numbers)) is not None:
            written.confidence = confidence
        return written

    def _quad(self, quad: Quad, numbers: Sequence[tuple[int, int]]) -> QuadObject:
        points: Sequence[tuple[int, int]] = [(point.x, point.y) for point in quad.corners]
        if (size := self._size) is not None:
            points = quad_to_pixels(quad, *size)
        written = QuadObject(points=list(points))
        if (confidence := self._confidence(numbers)) is not None:
            written.confidence = confidence
        return written

    def _confidence(self, numbers: Sequence[tuple[int, int]]) -> float | None:
        return self._places.confidence(numbers) if self._places is not None else None

    @property
    def _size(self) -> tuple[int, int] | None:
        """Of the picture, where coordinates are pixels."""
        image = self._grounding.image
        return (image.width, image.height) if image is not None and self._grounding.unit == "pixel" else None


def _is_somewhere(found: Found) -> bool:
    return bool(found.finding.boxes or found.finding.quads)
