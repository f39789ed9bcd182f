import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.grounding import Box, Point, Quad, box_to_permille, box_to_pixels, quad_to_permille, quad_to_pixels

sides = st.integers(1, 20_000)
numbers = st.integers(0, 999)


def test_as_the_original():
    assert box_to_pixels(Box(211, 412, 577, 891), 640, 480) == (135, 197, 369, 427)
    quad = Quad((Point(0, 0), Point(500, 0), Point(500, 999), Point(0, 999)))
    assert quad_to_pixels(quad, 100, 50) == ((0, 0), (50, 0), (50, 49), (0, 49))


@given(numbers, numbers, sides, sides)
def test_back_within_a_pixel_or_a_thousandth(x, y, width, height):
    box = Box(0, 0, x, y)
    again = box_to_permille(box_to_pixels(box, width, height), width, height)
    assert abs(again.x2 - x) <= max(1, math.ceil(1000 / width))
    assert abs(again.y2 - y) <= max(1, math.ceil(1000 / height))


def test_corners_may_be_swapped_and_outside():
    assert box_to_permille((700.0, 10.0, -5.0, 30.0), 640, 480) == Box(0, 21, 999, 63)


def test_quadrilaterals():
    assert quad_to_permille(((0, 0), (64, 0), (64, 48), (0, 48)), 640, 480).corners[2] == Point(100, 100)
    with pytest.raises(ValueError, match="4 corners"):
        quad_to_permille(((0, 0),), 640, 480)


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_a_picture_has_a_size(size):
    with pytest.raises(ValueError, match="must have pixels"):
        box_to_permille((0, 0, 1, 1), *size)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_refused(value):
    with pytest.raises(ValueError, match="must be a number"):
        box_to_permille((value, 0, 1, 1), 10, 10)


@given(st.integers(1, 1000), st.data())
def test_pixels_of_small_pictures_survive(size: int, data: st.DataObject) -> None:
    pixel = data.draw(st.integers(0, size - 1))
    box = box_to_permille((pixel, pixel, pixel, pixel), size, size)
    assert box_to_pixels(box, size, size) == (pixel,) * 4
