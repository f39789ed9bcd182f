from pathlib import Path

import numpy as np
import pytest

from qwenvl.grounding import boxes_with_refs, from_list_format, to_list_format

GOLDEN_FROM = [
    (
        [{"image": "a.png"}, {"image": "b.png"}, {"text": "Compare."}],
        "Picture 1:<img>a.png</img>\nPicture 2:<img>b.png</img>\nCompare.",
    ),
    (
        [{"image": "a.png"}, {"ref": "dog", "box": [[1, 2, 3, 4], [5, 6, 7, 8]]}, {"text": " ok?"}],
        "Picture 1:<img>a.png</img>\n<ref>dog</ref><box>(1,2),(3,4)</box><box>(5,6),(7,8)</box> ok?",
    ),
    ([{"text": "x"}, {"image": "u"}, {"text": "y"}], "xPicture 1:<img>u</img>\ny"),
]
TWO = (
    "<ref> Two apples</ref><box>(302,257),(582,671)</box><box>(603,252),(878,642)</box> and<ref> a bowl</ref>"
    "<box>(2,269),(304,674)</box>"
)
GOLDEN_TO = [
    ('<ref>"击掌"</ref><box>(211,412),(577,891)</box>', [{"ref": '"击掌"'}, {"box": "(211,412),(577,891)"}]),
    (
        TWO,
        [
            {"ref": " Two apples"},
            {"box": "(302,257),(582,671)"},
            {"box": "(603,252),(878,642)"},
            {"text": " and"},
            {"ref": " a bowl"},
            {"box": "(2,269),(304,674)"},
        ],
    ),
    ("no boxes here", [{"text": "no boxes here"}]),
    (
        "Picture 1:<img>a.png</img>\nWhere is <ref>it</ref>?",
        [{"text": "Picture 1:"}, {"image": "a.png"}, {"text": "\nWhere is "}, {"ref": "it"}, {"text": "?"}],
    ),
]


@pytest.mark.parametrize(("items", "text"), GOLDEN_FROM)
def test_from_list_format(items, text):
    assert from_list_format(items) == text


@pytest.mark.parametrize(("text", "items"), GOLDEN_TO)
def test_to_list_format(text, items):
    assert to_list_format(text) == items


def test_boxes():
    assert boxes_with_refs('<ref>"击掌"</ref><box>(211,412),(577,891)</box>') == [
        {"box": (211, 412, 577, 891), "ref": '"击掌"'}
    ]
    assert boxes_with_refs(TWO) == [
        {"box": (302, 257, 582, 671), "ref": "Two apples"},
        {"box": (603, 252, 878, 642)},
        {"box": (2, 269, 304, 674), "ref": "a bowl"},
    ]
    assert boxes_with_refs("<box>(1,2),(3</box><box>none</box>") == []


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
