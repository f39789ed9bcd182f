"""Boxes and the phrases they belong to: parse what a model wrote, convert to pixels, draw, write prompts. Pure."""

from qwenvl.grounding.conversion import box_to_permille, box_to_pixels, quad_to_permille, quad_to_pixels
from qwenvl.grounding.drawing import draw_findings
from qwenvl.grounding.formatting import format_box, format_finding, format_quad
from qwenvl.grounding.list_format import boxes_with_refs, from_list_format, to_list_format
from qwenvl.grounding.parsing import Parsed, parse
from qwenvl.grounding.reading import Found, GroundingReader, Said
from qwenvl.grounding.shapes import Box, Finding, Point, Quad
from qwenvl.grounding.tags import has_tags

__all__ = [
    "Box",
    "Finding",
    "Found",
    "GroundingReader",
    "Parsed",
    "Point",
    "Quad",
    "Said",
    "box_to_permille",
    "box_to_pixels",
    "boxes_with_refs",
    "draw_findings",
    "format_box",
    "format_finding",
    "format_quad",
    "from_list_format",
    "has_tags",
    "parse",
    "quad_to_permille",
    "quad_to_pixels",
    "to_list_format",
]
