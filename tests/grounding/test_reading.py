from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.grounding import Box, Found, GroundingReader, Said, parse
from tests.grounding.texts import odd_texts

DOG = "<ref>dog</ref><box>(1,2),(3,4)</box>"


def read(*parts: str) -> list[Said | Found]:
    reader = GroundingReader()
    return [*(event for part in parts for event in reader.feed(part)), *reader.finish()]


def said(events: list[Said | Found]) -> str:
    return "".join(event.text for event in events if isinstance(event, Said))


@given(odd_texts, st.data())
def test_how_a_text_is_cut_changes_nothing(text, data):
    places = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    parts = [text[start:end] for start, end in pairwise([0, *places, len(text)])]
    whole, cut = read(text), read(*parts)
    assert said(cut) == said(whole) == parse(text).clean.text
    assert [e for e in cut if isinstance(e, Found)] == [e for e in whole if isinstance(e, Found)]


@given(odd_texts)
def test_letter_by_letter_no_half_tag_is_shown(text):
    reader = GroundingReader()
    shown = ""
    for letter in text:
        shown += said(reader.feed(letter))
        # What is shown is never taken back.
        assert parse(text).clean.text.startswith(shown)


def test_a_finding_comes_as_soon_as_something_else_follows():
    reader = GroundingReader()
    assert said(reader.feed("A <ref>do")) == "A do"
    assert said(reader.feed("g</ref><bo")) == "g"
    assert reader.feed("x>(1,2),(3,4)</box>") == []
    assert reader.feed(", ") == []
    found, *words = reader.feed("and")
    assert isinstance(found, Found)
    assert (found.finding.ref, found.clean_span) == ("dog", (2, 5))
    assert said(words) == ", and"
    assert reader.finish() == []


def test_white_space_without_end_costs_no_more_each_time():
    reader = GroundingReader()
    reader.feed(DOG)
    for _ in range(200_000):
        assert reader.feed("\n") == []
    assert said(reader.finish()) == "\n" * 200_000


@pytest.mark.parametrize("text", [DOG, f"Here: {DOG}.", f"<ref>a</ref>{DOG}", "<quad>(1,2),(3,4),(5,6),(7,8)</quad>"])
def test_where_the_numbers_stand(text):
    for event in read(*text):
        if not isinstance(event, Found):
            continue
        for box, spans in zip(event.finding.boxes, event.box_numbers, strict=True):
            assert Box(*(int(text[slice(*span)]) for span in spans)) == box
        for quad, spans in zip(event.finding.quads, event.quad_numbers, strict=True):
            numbers = [int(text[slice(*span)]) for span in spans]
            assert numbers == [value for point in quad.corners for value in (point.x, point.y)]
