"""Thousandths to pixels and back."""

from math import ceil, floor, isfinite

from qwenvl.grounding.shapes import PERMILLE, Box, Point, Quad

Pixels = tuple[float, float, float, float]
"""x1, y1, x2, y2."""


def box_to_pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Corners in whole pixels, as the original: ``int(x / 1000 * width)``.

    Args:
        box: in thousandths.
        width: of the picture as it is shown, after it was turned upright.
        height: likewise.
    """
    return (
        int(box.x1 / PERMILLE * width),
        int(box.y1 / PERMILLE * height),
        int(box.x2 / PERMILLE * width),
        int(box.y2 / PERMILLE * height),
    )


def quad_to_pixels(quad: Quad, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Corners in whole pixels, in their order."""
    return tuple((int(point.x / PERMILLE * width), int(point.y / PERMILLE * height)) for point in quad.corners)


def box_to_permille(pixels: Pixels, width: int, height: int) -> Box:
    """The box in thousandths whose pixels are nearest; corners may be swapped, and lie outside of the picture.

    Raises:
        ValueError: the picture has no size, or a coordinate is no number.
    """
    x1, y1, x2, y2 = pixels
    return Box.between(_point(x1, y1, width, height), _point(x2, y2, width, height))


def quad_to_permille(corners: tuple[tuple[float, float], ...], width: int, height: int) -> Quad:
    """Likewise for a quadrilateral of four corners.

    Raises:
        ValueError: there are not four corners, the picture has no size, or a coordinate is no number.
    """
    if len(corners) != 4:
        raise ValueError(f"a quadrilateral has 4 corners, not {len(corners)}")
    first, second, third, fourth = (_point(x, y, width, height) for x, y in corners)
    return Quad((first, second, third, fourth))


def _point(x: float, y: float, width: int, height: int) -> Point:
    if width < 1 or height < 1:
        raise ValueError(f"a picture must have pixels, not {width} x {height}")
    if not (isfinite(x) and isfinite(y)):
        raise ValueError(f"a coordinate must be a number, not {x} or {y}")
    return Point(_permille(x, width), _permille(y, height))


def _permille(value: float, size: int) -> int:
    exact = value * PERMILLE / size
    # The way back cuts off what is less than a pixel: of the two around it, the one that comes out nearest.
    around = [min(PERMILLE - 1, max(0, near)) for near in (floor(exact), ceil(exact))]
    return min(around, key=lambda near: (abs(int(near / PERMILLE * size) - value), abs(near - exact)))
