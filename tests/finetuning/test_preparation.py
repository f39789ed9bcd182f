import logging
from pathlib import Path

import pytest

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.finetuning.dataset import render_record
from qwenvl.finetuning.pictures import Pictures
from qwenvl.finetuning.preparation import Requirements, hold_out, prepare
from qwenvl.finetuning.records import DataError, Record, read_records
from qwenvl.model_executor.config import VisionConfig
from tests.finetuning.checkpoints import COLOURS, IMAGE_SIZE, N_QUERIES, turn, write_data
from tests.parity.golden import CHECKPOINT

VOCABULARY = Vocabulary.from_file(CHECKPOINT / VOCABULARY_FILE)
VISION = VisionConfig(IMAGE_SIZE, 14, 64, 2, 2, 2.0, 128, VOCABULARY.image_start, N_QUERIES)


def prepared(path: Path, length: int = 2048, vision: VisionConfig | None = VISION) -> list[Record]:
    return prepare(path, Requirements(VOCABULARY, vision, length), Pictures(path.parent, path.parent / "cache"))


def saying(count: int, name: str) -> dict[str, object]:
    return {"id": name, "conversations": [turn("user", "Hello?"), turn("assistant", "\n" * count + ".")]}


def test_all_is_well(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [record.id for record in prepared(data)] == [sample["id"] for sample in COLOURS]
    assert not caplog.records


def test_problems_of_every_kind_come_together(data: Path) -> None:
    (data.parent / "green.png").unlink()
    write_data(data, [*COLOURS, {"id": "x", "conversations": [turn("user", "Hello?")]}, saying(0, "marks" + "\u0301")])
    with pytest.raises(DataError) as raised:
        prepared(data)
    structure, picture = raised.value.problems
    assert 'sample 3 (id "x"): conversations[0] is a turn of the user' in structure
    assert 'sample 1 (id "colour-green"): conversations[0].value: cannot read the picture green.png' in picture


def test_text_that_cannot_be_tokenised(data: Path) -> None:
    marks = {"id": "marks", "conversations": [turn("user", "a" + "\u0301" * 300), turn("assistant", "Yes.")]}
    write_data(data, [marks])
    with pytest.raises(DataError, match=r'sample 0 \(id "marks"\): the text holds more than 256 combining marks'):
        prepared(data)


def test_pictures_for_a_text_model(data: Path) -> None:
    with pytest.raises(DataError, match=r"sample 0 .*holds a picture, but the model is a text model"):
        prepared(data, vision=None)


def test_what_is_too_long_is_left_out_and_counted(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = {"id": "long", "conversations": [turn("user", "Hello?"), turn("assistant", "x\ny" * 500)]}
    write_data(data, [*COLOURS, long])
    with caplog.at_level(logging.WARNING):
        records = prepared(data, length=200)
    assert [record.id for record in records] == [sample["id"] for sample in COLOURS]
    (message,) = (record.getMessage() for record in caplog.records)
    assert '1 of 4 conversations are longer than --length 200 and left out (sample 3 (id "long"))' in message
    with pytest.raises(DataError, match=r"all 4 conversations are longer than --length 20; the longest, .*id \"long\""):
        prepared(data, length=20)


def test_the_length_counts_positions_of_images(data: Path) -> None:
    (red,) = (record for record in prepared(data) if record.id == "colour-red")
    words = render_record(red, VOCABULARY).length(0)
    write_data(data, [saying(0, "text"), COLOURS[0]])
    assert [record.id for record in prepared(data, length=words + N_QUERIES - 1)] == ["text"]
    assert [record.id for record in prepared(data, length=words + N_QUERIES)] == ["text", "colour-red"]


def test_repeated_ids_are_warned_of(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_data(data, [*COLOURS, COLOURS[0]])
    with caplog.at_level(logging.WARNING):
        assert len(prepared(data)) == 4
    assert "1 ids come more than once, the first is colour-red" in caplog.text


def test_what_is_held_out_depends_on_the_seed_alone(data: Path) -> None:
    records, _ = read_records(write_data(data, [saying(0, str(i)) for i in range(40)]))
    learned, held_out = hold_out(records, 0.1, seed=1)
    assert (len(learned), len(held_out)) == (36, 4)
    assert not {record.id for record in learned} & {record.id for record in held_out}
    assert hold_out(records, 0.1, seed=1) == (learned, held_out)
    assert hold_out(records, 0.1, seed=2) != (learned, held_out)
    with pytest.raises(DataError, match=r"--eval-share 0.9 of 1 conversations"):
        hold_out(records[:1], 0.9, seed=1)
