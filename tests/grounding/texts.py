"""Whatever a model may write: boxes, phrases, and texts of tags in any order."""

from hypothesis import strategies as st

from qwenvl.grounding import Box, Point, Quad

numbers = st.integers(0, 999)
points = st.builds(Point, numbers, numbers)
boxes = st.builds(Box.between, points, points)
quads = st.builds(Quad, st.tuples(points, points, points, points))
phrases = st.text(st.characters(exclude_characters="<>＜＞", exclude_categories=("Cs",))).map(str.strip)

_TAGS = (
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
    "<quad>",
    "</quad>",
    "<img>",
    "</img>",
    "(1,2),(3,4)",
    "＜box＞",
    "<re",
    "12",
)
odd_texts = st.lists(st.one_of(st.sampled_from(_TAGS), st.text(max_size=4))).map("".join)
