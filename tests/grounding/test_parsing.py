from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.grounding import Box, Finding, format_finding, parse
from tests.grounding.texts import boxes, odd_texts, phrases, quads


def only(text: str) -> Finding:
    (finding,) = parse(text).findings
    return finding


@given(phrases, st.lists(boxes), st.lists(quads))
def test_any_boxes_to_text_and_back(ref, some_boxes, some_quads):
    finding = only(format_finding(ref, some_boxes, some_quads))
    assert (finding.ref, finding.boxes, finding.quads) == (ref, tuple(some_boxes), tuple(some_quads))


@given(odd_texts)
def test_no_text_is_too_odd(text):
    parsed = parse(text)
    for finding in parsed.findings:
        start, end = finding.span
        assert 0 <= start <= end <= len(text)
        for box in finding.boxes:
            assert 0 <= box.x1 <= box.x2 <= 999
            assert 0 <= box.y1 <= box.y2 <= 999
    spans = [finding.span for finding in parsed.findings]
    assert spans == sorted(spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    clean = parsed.clean
    assert not any(tag in clean.text for tag in ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"))
    for finding in clean.findings:
        assert clean.text[slice(*finding.span)] == (finding.ref or "")


@pytest.mark.parametrize(
    "text",
    [
        "<ref>dog</ref><box>(211,412),(577,891)</box>",
        "<ref> dog </ref> <box>(577,891),(211,412)</box>",
        "<ref>dog</ref>：<box>（211，412），（577，891）</box>",
        "<ref>dog</ref><box>２１１,４１２,５７７,８９１</box>",
        "<ref>dog<box>(211,412),(577,891)",
        "<ref>dog</ref><box>(211,412),(577,891)",
        "＜ref＞dog＜/ref＞＜box＞(211,412),(577,891)＜/box＞",
        "<ref>dog</ref><box>(211, 412), (577, 891)</box><box>(1,2)</box>",
    ],
)
def test_what_models_write(text):
    finding = only(text)
    assert (finding.ref, finding.boxes) == ("dog", (Box(211, 412, 577, 891),))
    assert finding.span == (0, len(text))


def test_several_boxes_of_one_phrase():
    assert only("<ref>dogs</ref><box>(1,2),(3,4)</box>, <box>(5,6),(7,8)(10,20),(30,40)</box>").boxes == (
        Box(1, 2, 3, 4),
        Box(5, 6, 7, 8),
        Box(10, 20, 30, 40),
    )


def test_a_box_without_a_phrase():
    parsed = parse("It is at <box>(1,2),(3,4)</box>.")
    assert parsed.findings == (Finding(None, (Box(1, 2, 3, 4),), (), (9, 31)),)
    assert parsed.clean.text == "It is at ."


def test_words_between_end_what_belongs_together():
    dog, other = parse("The <ref>dog</ref> is near <box>(1,2),(3,4)</box>").findings
    assert (dog.ref, dog.boxes) == ("dog", ())
    assert (other.ref, other.boxes) == (None, (Box(1, 2, 3, 4),))


def test_a_box_that_is_not_closed_ends_with_its_numbers():
    parsed = parse("A <ref>dog</ref><box>(1,2),(3,4) on the left, and <box>(5,6),(7")
    assert [finding.boxes for finding in parsed.findings] == [(Box(1, 2, 3, 4),), ()]
    assert parsed.clean.text == "A dog on the left, and "


@pytest.mark.parametrize(
    "unit", [" ", "(", "1", "1 ", "<box>", "<ref>", "<box>1 ", ",", "</ref>", "<box>(1,2),(3,4)</box>"]
)
def test_no_text_takes_long(unit):
    text = "<box>(1,2)" + unit * 100_000 + "x"
    assert parse(text).clean.text is not None


@pytest.mark.parametrize(
    ("written", "box"),
    [
        ("(5,1000),(123456789,99)", Box(5, 99, 999, 999)),
        ("(-20,10),(50,60)", Box(0, 10, 50, 60)),
        ("(211.5,412.0),(577,891)", Box(212, 412, 577, 891)),
        (f"({'9' * 5000},10),(-{'9' * 5000},60)", Box(0, 10, 999, 60)),
        ("(100.00000000000,0000000000200),(００３００,400)", Box(100, 200, 300, 400)),
    ],
)
@pytest.mark.parametrize("closing", ["</box>", ""])
def test_numbers_are_read_whole_and_out_of_range_is_the_edge(written, box, closing):
    assert only(f"<box>{written}{closing}").boxes == (box,)


def test_a_dash_between_numbers_is_no_sign():
    assert only("<box>10-20 30-40</box>").boxes == (Box(10, 20, 30, 40),)


def test_what_is_clean_stays_so():
    clean = parse("A <ref> dog</ref><box>(1,2),(3,4)</box> and <box>(5,6),(7,8)</box>.").clean
    assert clean.clean == clean


def test_clean_text_has_its_phrases():
    parsed = parse("A <ref>dog</ref><box>(1,2),(3,4)</box> and<ref> a cat</ref><box>(5,6),(7,8)</box></box>!")
    assert parsed.clean.text == "A dog and a cat!"
    assert [parsed.clean.text[slice(*finding.span)] for finding in parsed.clean.findings] == ["dog", "a cat"]
