from itertools import islice

import pytest
import torch

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.demo import built_in_checkpoint
from qwenvl.demo.samples import PADDED_TO, SIGNS, Layout, SceneSamples, patch_targets
from qwenvl.demo.scenes import COLOURS, SHAPES, Ground, Scene, Thing
from qwenvl.demo.small_model import small_config
from qwenvl.demo.training import LENGTH


@pytest.fixture
def samples() -> SceneSamples:
    file = built_in_checkpoint() / VOCABULARY_FILE
    vision = small_config(Vocabulary.from_file(file)).vision
    assert vision is not None
    return SceneSamples(str(file), Layout(vision, LENGTH), batch_size=4, seed=1)


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
