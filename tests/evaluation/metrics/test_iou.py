import pytest

from qwenvl.evaluation.metrics.iou import box_score, iou, predicted_box


@pytest.mark.parametrize(
    ("answer", "box"),
    [
        ("(0,0),(999,999)</box>", (0, 0, 640, 480)),
        ("<box>(333,333),(666,666)</box>", (213.33, 160, 426.67, 320)),
        ("(0,0),(999,999)</box><box>(1,1),(2,2)</box>", (0, 0, 640, 480)),
        ("( 0, 0),(999 ,999)", (0, 0, 640, 480)),
    ],
)
def test_corners_in_pixels(answer, box):
    assert predicted_box(answer, 640, 480) == pytest.approx(box, abs=0.01)


@pytest.mark.parametrize("answer", ["", "a dog", "(1,2)", "(1,2),(3)", "(1,2,3),(4,5)", "(a,b),(c,d)", "(1,2) (3,4)"])
def test_no_corners(answer):
    assert predicted_box(answer, 640, 480) is None
    assert box_score(answer, (0, 0, 640, 480), 640, 480) == 0


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_iou(first, second, share):
    assert iou(first, second) == pytest.approx(share)


def test_half_is_enough():
    assert box_score("(0,0),(999,999)", (0, 0, 100, 50), 100, 100) == 1
    assert box_score("(0,0),(999,999)", (0, 0, 100, 49), 100, 100) == 0


def test_numbers_without_end():
    assert box_score(f"(0,0),({'9' * 400},1)", (0, 0, 1, 1), 10, 10) == 0
    assert box_score("(nan,0),(inf,1)", (0, 0, 1, 1), 10, 10) == 0
