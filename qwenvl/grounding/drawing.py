"""Findings drawn on their picture: outlines, and phrases in English and Chinese."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from qwenvl.grounding.conversion import box_to_pixels, quad_to_pixels
from qwenvl.grounding.shapes import Box, Finding, Point

COLORS = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 160, 60),
    (245, 130, 48),
    (145, 30, 180),
    (0, 150, 150),
    (240, 50, 230),
    (128, 90, 0),
    (255, 205, 0),
    (0, 0, 128),
)
"""Told apart on most grounds; the eleventh phrase has the first one's color again."""

_SMALLEST_FONT = 8
_ELLIPSIS = "…"

Corners = Sequence[tuple[int, int]]


def draw_findings(image: PIL.Image.Image, findings: Iterable[Finding]) -> PIL.Image.Image:
    """A copy of a picture with findings drawn on it.

    Equal phrases have equal colors; each finding without a phrase has its own. A finding's phrase stands at its first
    outline, inside of the picture, and is shortened where the picture is too small for it.

    Args:
        image: any mode and size, turned as the model saw it.
        findings: coordinates outside of the picture are drawn at its edge.

    Returns:
        RGB, of the same size.
    """
    drawn = image.convert("RGB")
    if drawn is image:
        drawn = image.copy()
    canvas = PIL.ImageDraw.Draw(drawn)
    colors: dict[str | int, tuple[int, int, int]] = {}
    labels: list[tuple[str, tuple[int, int], tuple[int, int, int]]] = []
    for i, finding in enumerate(findings):
        key = i if finding.ref is None else finding.ref
        color = colors.setdefault(key, COLORS[len(colors) % len(COLORS)])
        outlines = _outlines(finding, *drawn.size)
        for corners in outlines:
            _draw_outline(canvas, corners, color, _thickness(drawn))
        if finding.ref and outlines:
            labels.append((finding.ref, _top_left(outlines[0]), color))
    # Above all outlines, so that none strikes a phrase through.
    for text, place, color in labels:
        _draw_label(canvas, drawn.size, " ".join(text.split()), place, color)
    return drawn


def _outlines(finding: Finding, width: int, height: int) -> list[Corners]:
    outlines: list[Corners] = []
    for box in finding.boxes:
        ordered = Box.between(Point(box.x1, box.y1), Point(box.x2, box.y2))
        x1, y1, x2, y2 = box_to_pixels(ordered, width, height)
        outlines.append([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    outlines += [quad_to_pixels(quad, width, height) for quad in finding.quads]
    return [[(_clamp(x, width), _clamp(y, height)) for x, y in corners] for corners in outlines]


def _clamp(value: int, size: int) -> int:
    return min(size - 1, max(0, value))


def _thickness(image: PIL.Image.Image) -> int:
    return max(1, round(min(image.size) / 160))


def _draw_outline(
    canvas: PIL.ImageDraw.ImageDraw, corners: Corners, color: tuple[int, int, int], thickness: int
) -> None:
    # One corner more than needed, so that the line is joined at its ends too.
    canvas.line([*corners, *corners[:2]], fill=color, width=thickness, joint="curve")


def _top_left(corners: Corners) -> tuple[int, int]:
    return min(x for x, _ in corners), min(y for _, y in corners)


def _draw_label(
    canvas: PIL.ImageDraw.ImageDraw,
    size: tuple[int, int],
    text: str,
    place: tuple[int, int],
    color: tuple[int, int, int],
) -> None:
    """The phrase on its color: above the outline, or within it where there is no room above."""
    width, height = size
    font = label_font(max(_SMALLEST_FONT, round(sum(size) / 60)))
    padding = max(1, round(font.size / 6))
    text = _shortened(text, font, width - 2 * padding)
    ascent, descent = font.getmetrics()
    label_width, label_height = round(font.getlength(text)) + 2 * padding, ascent + descent
    if not text or label_height > height:
        return
    x = max(0, min(place[0], width - label_width))
    above = place[1] - label_height
    y = above if above >= 0 else min(place[1], height - label_height)
    canvas.rectangle((x, y, x + label_width - 1, y + label_height - 1), fill=color)
    canvas.text((x + padding, y), text, font=font, fill=_readable_on(color))


def _shortened(text: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> str:
    """As much of the text as fits; nothing where not even a character does."""
    if font.getlength(text) <= width:
        return text
    # A phrase may be as long as a model's answer: what is far too long is not measured.
    kept = text[: max(0, width)]

    def is_too_long(size: int) -> bool:
        return font.getlength(kept[:size] + _ELLIPSIS) > width

    fitting = bisect_left(range(len(kept) + 1), True, key=is_too_long) - 1
    return kept[:fitting].rstrip() + _ELLIPSIS if fitting > 0 else ""


def _readable_on(color: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else (255, 255, 255)


@lru_cache(maxsize=16)
def label_font(size: int) -> PIL.ImageFont.FreeTypeFont:
    """Noto Sans SC (SIL Open Font License) at a size in pixels.

    Raises:
        ImportError: the package that ships it is not installed.
    """
    return PIL.ImageFont.truetype(str(_font_file()), size)


def _font_file() -> Path:
    # Found and not imported: importing it imports matplotlib.
    package = find_spec("zhplot")
    if package is None or not package.submodule_search_locations:
        raise ImportError("labels are drawn with the font of the package zhplot, which is not installed")
    return Path(package.submodule_search_locations[0]) / "fonts" / "NotoSansSC-Regular.ttf"
