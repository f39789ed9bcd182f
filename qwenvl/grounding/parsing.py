"""What a model wrote, as findings and as a text that people read."""

from dataclasses import dataclass, field, replace

from qwenvl.grounding.reading import Found, GroundingReader, Said
from qwenvl.grounding.shapes import Finding


@dataclass(frozen=True)
class Parsed:
    """A text and what is found in it.

    Attributes:
        text: as the model wrote it.
        findings: phrases with their boxes, boxes without a phrase, and phrases without a box, in order; spans are
            those of ``text``.
    """

    text: str
    findings: tuple[Finding, ...]
    _clean: "Parsed | None" = field(default=None, compare=False, repr=False)

    @property
    def clean(self) -> "Parsed":
        """The text without tags and coordinates, each phrase in its place; spans are those of its phrases."""
        return self._clean or self


def parse(text: str) -> Parsed:
    """Read the phrases, boxes and quadrilaterals of a whole answer, as :class:`GroundingReader` does. Never raises."""
    reader = GroundingReader()
    events = [*reader.feed(text), *reader.finish()]
    found = [event for event in events if isinstance(event, Found)]
    said = "".join(event.text for event in events if isinstance(event, Said))
    clean = Parsed(said, tuple(replace(event.finding, span=event.clean_span) for event in found))
    return Parsed(text, tuple(event.finding for event in found), clean)
