from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.demo import built_in_checkpoint
from qwenvl.demo.samples import (
    PADDED_TO,
    SIGNS,
    Layout,
    SceneSamples,
    patch_targets,
    random_sample,
    render_sample,
)
from qwenvl.demo.scenes import COLOURS, SHAPES, Ground, Mix, Scene, Thing
from qwenvl.demo.small_model import small_config
from qwenvl.demo.training import LENGTH
from qwenvl.finetuning.samples import IGNORED_LABEL, expand_images


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_file(built_in_checkpoint() / VOCABULARY_FILE)


@pytest.fixture(scope="module")
def samples(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> SceneSamples:
    file = Path(tmp_path_factory.mktemp("vocabulary")) / VOCABULARY_FILE
    vocabulary.save(file)
    vision = small_config(vocabulary).vision
    assert vision is not None
    return SceneSamples(str(file), Layout(vision, LENGTH), batch_size=4, seed=1)


def text_of(message: object) -> str:
    return "".join(part.text for part in message.parts if hasattr(part, "text"))  # type: ignore[attr-defined]


def test_answers_and_their_ends_are_learned_and_nothing_else(vocabulary: Vocabulary) -> None:
    rng = Random(0)
    for _ in range(200):
        sample = random_sample(rng, Mix(), 6)
        rendered = render_sample(sample, vocabulary)
        answers = [text_of(message) for message in sample.messages if message.role == "assistant"]
        learned = [rendered.token_ids[start:end] for start, end in rendered.label_spans]
        end = vocabulary.end_of_text if sample.raw else vocabulary.im_end
        assert [vocabulary.decode(span[:-1]) for span in learned] == answers
        assert all(span[-1] == end for span in learned)
        assert rendered.n_images == len(sample.scenes)


def test_images_take_their_positions(vocabulary: Vocabulary) -> None:
    sample = next(s for i in range(99) if len((s := random_sample(Random(i), Mix(), 4)).scenes) == 2)
    rendered = render_sample(sample, vocabulary)
    ids, labels = expand_images(rendered, 64, vocabulary.image_start, vocabulary.image_pad)
    assert len(ids) == len(labels) == rendered.length(64)
    assert ids.count(vocabulary.image_pad) == 128
    first = ids.index(vocabulary.image_start)
    assert ids[first + 65] == vocabulary.image_end
    assert all(label in (IGNORED_LABEL, token_id) for token_id, label in zip(ids, labels, strict=True))


def test_batches(samples: SceneSamples) -> None:
    for batch in islice(samples, 12):
        rows, length = batch["input_ids"].shape
        assert (rows, length % PADDED_TO) == (4, 0)
        assert batch["labels"].shape == (rows, length)
        assert length <= LENGTH
        images = int((batch["input_ids"] == samples.layout.vision.image_start_id).sum())
        assert batch["pixel_values"].shape == (images, 3, 224, 224)
        assert batch["pixel_values"].dtype == torch.uint8
        assert batch["patch_kinds"].shape == (images, 256, 3)
        assert batch["patch_boxes"].shape == (images, 256, 4)


def test_equal_seeds_give_equal_batches(samples: SceneSamples) -> None:
    first, second = (next(iter(samples)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_patches_know_their_letter() -> None:
    word = Thing("word", "red", (200, 0, 0), (0.0, 0.0, 0.5, 0.25), "HO", "DejaVuSansMono.ttf")
    scene = Scene(Ground("plain", (128, 128, 128), (120, 120, 120), 0), (word,))
    kinds, boxes = patch_targets(scene, 4)
    assert kinds[0].tolist() == [1 + len(SHAPES), 1 + list(COLOURS).index("red"), 1 + SIGNS.index("H")]
    assert kinds[1].tolist()[2] == 1 + SIGNS.index("O")
    assert boxes[0].tolist() == [0.0, 0.0, 0.5, 0.25]
    assert kinds[2:].sum() == 0


def test_letters_are_tokens_of_their_own(vocabulary: Vocabulary) -> None:
    for word in ("OPEN", "QZXKW", "AB"):
        assert len(vocabulary.encode_text(word)) == len(word)
