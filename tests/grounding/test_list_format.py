from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from qwenvl.grounding import boxes_with_refs, from_list_format, to_list_format
from tests.grounding.texts import boxes, odd_texts, phrases
from tests.vocabularies import GOLDEN


@pytest.mark.parametrize("case", GOLDEN["from_list_format"])
def test_from_list_format(case):
    assert from_list_format(case["input"]) == case["text"]


@pytest.mark.parametrize("case", GOLDEN["to_list_format"])
def test_to_list_format(case):
    assert to_list_format(case["input"]) == case["list"]


@pytest.mark.parametrize("case", GOLDEN["boxes"])
def test_boxes(case):
    assert boxes_with_refs(case["input"]) == [found | {"box": tuple(found["box"])} for found in case["boxes"]]


def test_no_box_is_made_of_what_is_none():
    assert boxes_with_refs("<box>(1,2),(3</box><box>none</box>") == []


@given(phrases, boxes)
def test_any_box_to_text_and_back(ref, box):
    corners = (box.x1, box.y1, box.x2, box.y2)
    text = from_list_format([{"ref": ref, "box": corners}])
    assert boxes_with_refs(text) == [{"ref": ref, "box": corners}]


@given(odd_texts)
def test_no_text_is_too_odd(text):
    (*_, last) = to_list_format(text + ".")
    assert last["text"].endswith(".")
    assert all(len(found["box"]) == 4 for found in boxes_with_refs(text))


def test_one_box_and_quadrilaterals():
    items = [{"ref": "a", "box": (1, 2, 3, 4)}, {"box": [(1, 2, 3, 4, 5, 6, 7, 8)]}]
    assert from_list_format(items) == "<ref>a</ref><box>(1,2),(3,4)</box><quad>(1,2),(3,4),(5,6),(7,8)</quad>"


@pytest.mark.parametrize(
    "box",
    [
        np.array([1, 2, 3, 4]),
        np.array([[1, 2, 3, 4]]),
        [np.int64(number) for number in (1, 2, 3, 4)],
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        [((1, 2), (3, 4))],
        np.array([[1, 2], [3, 4]]),
    ],
)
def test_boxes_in_other_forms(box):
    assert from_list_format([{"box": box}]) == "<box>(1,2),(3,4)</box>"


def test_phrases_without_boxes_and_paths():
    items = [{"image": Path("a.png")}, {"ref": "a", "box": []}, {"ref": "b", "box": None}, {"ref": "c"}]
    assert from_list_format(items) == "Picture 1:<img>a.png</img>\n<ref>a</ref><ref>b</ref><ref>c</ref>"
    eight = [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert from_list_format([{"box": eight}]) == "<quad>(1,2),(3,4),(5,6),(7,8)</quad>"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ({"text": "a"}, "a list of items is needed, not dict"),
        ("a", "a list of items is needed, not str"),
        (["a"], "item 0 must be a dict, not str"),
        ([{"text": 5}], "item 0: 'text' must be a text, not int"),
        ([{"image": None}], "item 0: 'image' must be a text"),
        ([{"ref": ["a"]}], "item 0: 'ref' must be a text"),
        ([{"box": 5}], "item 0: 'box' must be a list"),
        ([{"box": "1234"}], "item 0: 'box' must be a list"),
        ([{"box": ["1", "2", "3", "4"]}], "4 numbers"),
        ([{"box": [(1, 2), (3, 4), (5, 6)]}], "4 numbers"),
        ([{5: "a"}], "item 0 must have"),
        ([{"text": "a"}, {"audio": "b"}], "item 1 must have"),
        ([{"box": (1, 2, 3)}], "4 numbers"),
        ([{"box": (0.5, 2)}], "4 numbers"),
    ],
)
def test_what_is_none_of_these_is_refused(items, said):
    with pytest.raises(ValueError, match=said):
        from_list_format(items)


@pytest.mark.parametrize("unit", ["<ref>", "</ref>", "<ref></box>", "<img>a</img>", "<box>"])
def test_no_text_takes_long(unit):
    assert to_list_format(unit * 50_000 + "x")[-1] == {"text": (unit * 50_000 if unit != "<img>a</img>" else "") + "x"}


def test_what_is_not_closed_is_text():
    assert to_list_format("a<ref>b<box>(1,2),(3,4)</box>c") == [
        {"text": "a<ref>b"},
        {"box": "(1,2),(3,4)"},
        {"text": "c"},
    ]
    assert to_list_format("<ref>a<ref>b</ref>") == [{"ref": "a<ref>b"}]
