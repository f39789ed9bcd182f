"""Boxes as the model reads and writes them."""

from collections.abc import Iterable

from qwenvl.grounding.shapes import Box, Point, Quad


def format_box(box: Box) -> str:
    """``<box>(x1,y1),(x2,y2)</box>``"""
    return f"<box>{_corner(Point(box.x1, box.y1))},{_corner(Point(box.x2, box.y2))}</box>"


def format_quad(quad: Quad) -> str:
    """``<quad>(x1,y1),(x2,y2),(x3,y3),(x4,y4)</quad>``"""
    return f"<quad>{','.join(map(_corner, quad.corners))}</quad>"


def format_finding(ref: str | None, boxes: Iterable[Box] = (), quads: Iterable[Quad] = ()) -> str:
    """``<ref>phrase</ref><box>..</box>..``, as a model answers and as a prompt names an object."""
    phrase = "" if ref is None else f"<ref>{ref}</ref>"
    return phrase + "".join(map(format_box, boxes)) + "".join(map(format_quad, quads))


def _corner(point: Point) -> str:
    return f"({point.x},{point.y})"
