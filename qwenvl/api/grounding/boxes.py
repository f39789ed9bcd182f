"""Boxes of messages to the text that the model was taught for them."""

from collections.abc import Sequence
from typing import NoReturn

from qwenvl.api.grounding.objects import SizeObject
from qwenvl.api.grounding.schemas import BoxFields, Corners
from qwenvl.errors import UserError
from qwenvl.grounding import Box, Point, box_to_permille, format_finding, has_tags
from qwenvl.grounding.shapes import PERMILLE

_WIDEST = Box(PERMILLE - 1, PERMILLE - 1, PERMILLE - 1, PERMILLE - 1)
"""Takes as many tokens as any: what stands for a box while the picture's size is not known."""


class BoxWriter:
    """Writes the boxes of one conversation, in its order.

    Args:
        sizes: of all its pictures; None where they are not loaded yet, and any size will do.
        left_out: pictures of the request that are not part of the conversation any more, before all others.
    """

    def __init__(self, sizes: Sequence[SizeObject] | None = None, left_out: int = 0) -> None:
        self._sizes = sizes
        self._left_out = left_out
        self._pictures = 0
        self.needs_sizes = False
        """Some box is in pixels, and the sizes were not known."""

    def saw_picture(self) -> None:
        """Another picture stands before what follows."""
        self._pictures += 1

    def write(self, part: BoxFields, path: str) -> str:
        """The text of a box.

        Raises:
            UserError: it is no box, or not within its picture; ``param`` is the field.
        """
        if part.ref is not None and (has_tags(part.ref) or not part.ref.strip()):
            _refuse(f"{path}.ref", "must be a phrase, and without tags.")
        index = self._index(part, path)
        corners = _corners(part, f"{path}.box")
        return format_finding(part.ref, [self._permille(corners, part.unit or "pixel", index, f"{path}.box")], [])

    def _index(self, part: BoxFields, path: str) -> int:
        """Which of the pictures that are there; the latest where there is none, for thousandths of anything."""
        if part.image_index is None:
            if not self._pictures and part.unit != "permille":
                _refuse(path, "needs a picture before it, whose pixels these are.")
            return self._pictures - 1
        before = self._left_out + self._pictures
        if part.image_index >= before:
            _refuse(
                f"{path}.image_index",
                f"must be less than {before}, the number of pictures before it, not {part.image_index}.",
            )
        if part.image_index < self._left_out:
            _refuse(
                f"{path}.image_index",
                f"names picture {part.image_index}, and truncation left out the first {self._left_out}.",
            )
        return part.image_index - self._left_out

    def _permille(self, corners: tuple[float, float, float, float], unit: str, index: int, path: str) -> Box:
        if unit == "pixel" and self._sizes is None:
            self.needs_sizes = True
            return _WIDEST
        size = self._sizes[index] if unit == "pixel" and self._sizes is not None else None
        width, height = (size.width, size.height) if size is not None else (PERMILLE, PERMILLE)
        x1, y1, x2, y2 = corners
        if not (0 <= min(x1, x2) <= max(x1, x2) <= width and 0 <= min(y1, y2) <= max(y1, y2) <= height):
            shown = ", ".join(f"{value:g}" for value in corners)
            _refuse(
                path, f"must lie within the picture, {width} x {height} {_NAMES[unit]}, and has the corners {shown}."
            )
        box = box_to_permille(corners, width, height)
        return Box.between(Point(box.x1, box.y1), Point(box.x2, box.y2))


_NAMES = {"pixel": "pixels", "permille": "thousandths"}


def _corners(part: BoxFields, path: str) -> tuple[float, float, float, float]:
    if part.box is None:
        raise UserError(
            f"{path} is required: [x1, y1, x2, y2], or an object with x1, y1, x2, y2.",
            param=path,
            code="missing_required_parameter",
        )
    if isinstance(part.box, Corners):
        return part.box.x1, part.box.y1, part.box.x2, part.box.y2
    if len(part.box) != 4:
        _refuse(path, f"must have 4 numbers, x1, y1, x2, y2, not {len(part.box)}.")
    x1, y1, x2, y2 = part.box
    return x1, y1, x2, y2


def _refuse(param: str, reason: str) -> NoReturn:
    raise UserError(f"{param} {reason}", param=param, code="invalid_value")
