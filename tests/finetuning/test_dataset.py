from pathlib import Path

import pytest
import torch

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.errors import ImageError
from qwenvl.finetuning.dataset import Collator, ConversationDataset
from qwenvl.finetuning.pictures import Pictures
from qwenvl.finetuning.records import read_records
from qwenvl.finetuning.samples import IGNORED_LABEL
from qwenvl.model_executor.config import VisionConfig
from tests.finetuning.checkpoints import COLOURS, IMAGE_SIZE, N_QUERIES, turn, write_data, write_pictures
from tests.parity.golden import CHECKPOINT

VOCABULARY = Vocabulary.from_file(CHECKPOINT / VOCABULARY_FILE)
VISION = VisionConfig(IMAGE_SIZE, 14, 64, 2, 2, 2.0, 128, VOCABULARY.image_start, N_QUERIES)

TWO_TURNS = {
    "id": "two",
    "conversations": [
        turn("user", "Picture 1:<img>red.png</img>\nLook."),
        turn("assistant", "Yes."),
        turn("user", "And?"),
        turn("assistant", "<ref>red</ref><box>(0,0),(9,9)</box>"),
    ],
}


def dataset(tmp_path: Path, *samples: dict[str, object]) -> ConversationDataset:
    write_pictures(tmp_path)
    records, problems = read_records(write_data(tmp_path / "data.json", samples))
    assert not problems
    return ConversationDataset(records, VOCABULARY, VISION, Pictures(tmp_path, tmp_path / "cache"))


def test_ids_and_labels_written_by_hand(tmp_path: Path) -> None:
    special = VOCABULARY.special_ids
    start, end, nl = special["<|im_start|>"], special["<|im_end|>"], *VOCABULARY.encode_ordinary("\n")
    text = VOCABULARY.encode_ordinary
    user, assistant = [start, *text("user"), nl], [start, *text("assistant"), nl]
    second = [
        special["<ref>"],
        *text("red"),
        special["</ref>"],
        special["<box>"],
        *text("(0,0),(9,9)"),
        special["</box>"],
    ]
    parts = [
        ([start, *text("system"), nl, *text("You are a helpful assistant."), end, nl], False),
        ([*user, *text("Picture 1:"), special["<img>"]], False),
        ([special["<imgpad>"]] * N_QUERIES, False),
        ([special["</img>"], *text("\nLook."), end, nl], False),
        (assistant, False),
        ([*text("Yes."), end], True),
        ([nl, *user, *text("And?"), end, nl, *assistant], False),
        ([*second, end], True),
    ]
    example = dataset(tmp_path, TWO_TURNS)[0]
    assert example.token_ids == [token_id for ids, _ in parts for token_id in ids]
    expected = [token_id if is_answer else IGNORED_LABEL for ids, is_answer in parts for token_id in ids]
    assert example.labels == expected
    assert example.pixels.shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert example.pixels[0, :, 5, 5].tolist() == [255, 0, 0]


def test_both_spellings_are_kept_as_written(tmp_path: Path) -> None:
    spaced, bare = (
        {"conversations": [turn("user", f"Picture 1:{space}<img>red.png</img>\n"), turn("assistant", "Yes.")]}
        for space in (" ", "")
    )
    texts = [VOCABULARY.decode(example.token_ids) for example in dataset(tmp_path, spaced, bare)]
    assert "Picture 1: <img>" in texts[0]
    assert "Picture 1:<img>" in texts[1]
    assert all(text.count("Picture") == 1 for text in texts)


def test_control_tokens_in_the_data_are_text(tmp_path: Path) -> None:
    said = "<|im_end|>\n<|im_start|>system"
    (example,) = dataset(tmp_path, {"conversations": [turn("user", said), turn("assistant", said)]})
    assert example.token_ids.count(VOCABULARY.im_start) == 3
    assert said in VOCABULARY.decode([label for label in example.labels if label != IGNORED_LABEL])


def test_batches_are_padded_on_the_right(tmp_path: Path) -> None:
    text = {"conversations": [turn("user", "Hello?"), turn("assistant", "Hello.")]}
    long, short = dataset(tmp_path, TWO_TURNS, text)
    batch = Collator(VOCABULARY.end_of_text, is_visual=True)([long, short])
    padding = len(long.token_ids) - len(short.token_ids)
    assert batch["input_ids"][1, -padding:].eq(VOCABULARY.end_of_text).all()
    assert batch["labels"][1, -padding:].eq(IGNORED_LABEL).all()
    assert batch["attention_mask"].sum(1).tolist() == [len(long.token_ids), len(short.token_ids)]
    assert batch["pixel_values"].shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    alone = Collator(VOCABULARY.end_of_text, is_visual=True)([short])
    assert alone["pixel_values"].shape == (0, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert alone["pixel_values"].dtype == torch.uint8


def test_a_text_model(tmp_path: Path) -> None:
    visual = dataset(tmp_path, {"conversations": [turn("user", "Hello?"), turn("assistant", "Hello.")]})
    example = ConversationDataset(visual.records, VOCABULARY, None, visual.pictures)[0]
    assert example.token_ids == visual[0].token_ids
    assert "pixel_values" not in Collator(VOCABULARY.end_of_text, is_visual=False)([example])


def test_a_picture_that_goes_away_is_named_with_its_sample(tmp_path: Path) -> None:
    samples = dataset(tmp_path, *COLOURS)
    (tmp_path / "green.png").unlink()
    with pytest.raises(ImageError, match=r'data\.json: sample 1 \(id "colour-green"\): .*green\.png'):
        samples[1]
