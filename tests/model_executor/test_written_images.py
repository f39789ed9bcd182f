import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.errors import CheckpointError, UserError
from qwenvl.model_executor.written_images import location_in, pictures_in, positions_beside, spans_in, write_picture

START, POSITIONS = 726, 64
PAD = START + 2


def test_a_picture_is_its_path_byte_by_byte() -> None:
    ids = write_picture("A图", START, 8)
    assert ids == [726, 0x41, 0xE5, 0x9B, 0xBE, *[728] * 4, 727]
    assert location_in(ids, START) == "A图"


@given(st.text(min_size=1, max_size=POSITIONS // 4).filter(lambda text: "\0" not in text))
def test_there_and_back(location: str) -> None:
    ids = write_picture(location, START, POSITIONS)
    assert len(ids) == POSITIONS + 2
    assert location_in(ids, START) == location
    around = [1, 726, 2, *ids, *ids, 727]
    assert list(spans_in(around, START, POSITIONS)) == [(3, 69), (69, 135)]


def test_as_long_as_there_are_positions() -> None:
    assert location_in(write_picture("x" * POSITIONS, START, POSITIONS), START) == "x" * POSITIONS
    with pytest.raises(UserError, match=r"takes 66 bytes, and an image has 64 positions: 图{22}\. .*pixel_values"):
        write_picture("图" * 22, START, POSITIONS)
    with pytest.raises(UserError) as refused:
        write_picture("data:image/png;base64," + "A" * 100_000, START, POSITIONS)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(("location", "reason"), [("a\udcff.png", "UTF-8"), ("a\0.png", "NUL")])
def test_paths_that_cannot_be_written(location: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        write_picture(location, START, POSITIONS)


@pytest.mark.parametrize(
    "inner", [[PAD] * 4, [0] * 4, [0xFF, PAD, PAD, PAD], [65, PAD, 65, PAD], [65, 300, PAD, PAD], [65, 727, PAD, PAD]]
)
def test_what_is_no_path(inner: list[int]) -> None:
    assert location_in([START, *inner, START + 1], START) is None


def test_what_is_no_whole_picture() -> None:
    ids = write_picture("a.png", START, POSITIONS)
    assert list(spans_in(ids[:-1], START, POSITIONS)) == []
    assert list(spans_in([*ids[:-1], 5], START, POSITIONS)) == []
    assert list(spans_in([START, START + 1, *range(200)], START, POSITIONS)) == []
    assert list(spans_in([START, *[PAD] * POSITIONS, START + 1], START, POSITIONS)) == [(0, POSITIONS + 2)]


@pytest.mark.parametrize(
    ("text", "locations"),
    [
        ("<img>a b.png</img>\n<img>\nc.png </img>", ["a b.png", "c.png"]),
        ("<img></img><img> </img>", []),
        ("<img>a<img>b</img></img>", ["b"]),
        ("<img>a</img", []),
        ("<img><imgpad><imgpad></img><img>a</img>", ["a"]),
        ("<img>x\ny</img>", ["x\ny"]),
    ],
)
def test_pictures_in_a_text(text: str, locations: list[str]) -> None:
    found = list(pictures_in(text))
    assert [location for _, _, location in found] == locations
    assert all(text[start:end].startswith("<img>") and text[start:end].endswith("</img>") for start, end, _ in found)


def test_no_text_takes_long() -> None:
    assert list(pictures_in("<img>" * 200_000)) == []
    assert list(spans_in([START] * 20_000, START, POSITIONS)) == []


def test_positions_of_a_checkpoint(tmp_path: Path) -> None:
    vocabulary, config = tmp_path / "qwen.tiktoken", tmp_path / "config.json"
    assert positions_beside(vocabulary) == 256
    for content, positions in (
        ({"visual": {}}, 256),
        ({"visual": {"n_queries": 64}}, 64),
        ({}, 0),
        ({"visual": None}, 0),
    ):
        config.write_text(json.dumps(content))
        assert positions_beside(vocabulary) == positions
    for broken, message in (('{"visual": {"n_queries": "64"}}', "n_queries must be a positive"), ("{", "cannot read")):
        config.write_text(broken)
        with pytest.raises(CheckpointError, match=message):
            positions_beside(vocabulary)
