"""Training samples of the small model: batches of conversations about drawn scenes, and what is where in them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from qwenvl.chat import Vocabulary
from qwenvl.demo.conversations import Sample, random_sample, render_sample
from qwenvl.demo.drawing import draw
from qwenvl.demo.fonts import word_edges
from qwenvl.demo.guided_attention import Look, covered, looks
from qwenvl.demo.scenes import COLOURS, LETTERS, SHAPES, Mix, Scene, patch_labels
from qwenvl.finetuning.samples import IGNORED_LABEL, expand_images
from qwenvl.model_executor.config import VisionConfig
from qwenvl.model_executor.image_processor import resize_image

SIGNS = LETTERS + "0123456789"

BATCHES_SORTED = 8
"""Batches whose samples are sorted by length together."""

PADDED_TO = 32
"""Lengths of batches are multiples of this: few shapes to compile for."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples become tensors: what of the model's configuration they depend on, and the sequence length."""

    vision: VisionConfig
    length: int


def scene_pixels(rng: Random, scene: Scene, size: int) -> Tensor:
    """Pixels (3, size, size), some drawn larger and made smaller as a user's picture is."""
    drawn = size if rng.random() < 0.75 else rng.choice((size * 3 // 2, size * 2))
    return resize_image(draw(scene, drawn), size)


def patch_targets(scene: Scene, grid: int) -> tuple[Tensor, Tensor]:
    """What is at each patch: (grid², 3) indices of shape, colour and sign, and the box (grid², 4) around it.

    Index 0 is ground; of shapes, the last is a word.
    """
    kinds = torch.zeros(grid * grid, 3, dtype=torch.long)
    boxes = torch.zeros(grid * grid, 4)
    for place, index in enumerate(patch_labels(scene, grid)):
        if index < 0:
            continue
        thing = scene.things[index]
        kinds[place, 0] = 1 + (len(SHAPES) if thing.text else SHAPES.index(thing.shape))
        kinds[place, 1] = 1 + list(COLOURS).index(thing.colour)
        if thing.text:
            x = ((place % grid + 0.5) / grid - thing.box[0]) / (thing.box[2] - thing.box[0])
            sign = next(
                (i for i, edge in enumerate(word_edges(thing.font, thing.text)) if x <= edge), len(thing.text) - 1
            )
            kinds[place, 2] = 1 + SIGNS.index(thing.text[sign])
        boxes[place] = torch.tensor(thing.box)
    return kinds, boxes


@dataclass(frozen=True, slots=True)
class _Prepared:
    sample: Sample
    token_ids: list[int]
    labels: list[int]
    looks: list[Look]


class SceneSamples(IterableDataset[dict[str, Tensor]]):
    """Endless batches of samples that fit ``layout``; whole batches, so that workers do all the work.

    Samples of about the same length share a batch, which is padded on the right to its longest.

    Args:
        vocabulary_file: ``qwen.tiktoken``.
        layout: what samples become.
        batch_size: samples of a batch.
        seed: of the samples; each worker draws its own.
        turns: questions of a conversation, about.
    """

    def __init__(self, vocabulary_file: str, layout: Layout, batch_size: int, seed: int, turns: int = 8) -> None:
        self.vocabulary_file = vocabulary_file
        self.layout = layout
        self.batch_size = batch_size
        self.seed = seed
        self.turns = turns

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        rng = Random(f"{self.seed} {worker.id if worker else 0}")
        vocabulary = Vocabulary.from_file(self.vocabulary_file)
        while True:
            pool = [self._sample(rng, vocabulary) for _ in range(self.batch_size * BATCHES_SORTED)]
            pool.sort(key=lambda prepared: len(prepared.token_ids))
            starts = list(range(0, len(pool), self.batch_size))
            rng.shuffle(starts)
            for start in starts:
                yield self._batch(rng, vocabulary, pool[start : start + self.batch_size])

    def _sample(self, rng: Random, vocabulary: Vocabulary) -> _Prepared:
        vision = self.layout.vision
        while True:
            sample = random_sample(rng, Mix(most_objects=rng.choice((1, 2, 3, 4, 5, 5))), self.turns)
            rendered = render_sample(sample, vocabulary)
            if rendered.length(vision.n_queries) <= self.layout.length:
                ids, labels = expand_images(rendered, vision.n_queries, vision.image_start_id, vocabulary.image_pad)
                return _Prepared(sample, ids, labels, looks(ids, labels, sample.scenes, sample.seen, vocabulary))

    def _batch(self, rng: Random, vocabulary: Vocabulary, prepared: Sequence[_Prepared]) -> dict[str, Tensor]:
        vision = self.layout.vision
        longest = max(len(one.token_ids) for one in prepared)
        shape = (len(prepared), -(-longest // PADDED_TO) * PADDED_TO)
        input_ids = torch.full(shape, vocabulary.end_of_text)
        labels = torch.full(shape, IGNORED_LABEL)
        for row, one in enumerate(prepared):
            input_ids[row, : len(one.token_ids)] = torch.tensor(one.token_ids)
            labels[row, : len(one.labels)] = torch.tensor(one.labels)
        scenes = [scene for one in prepared for scene in one.sample.scenes]
        pixels = [scene_pixels(rng, scene, vision.image_size) for scene in scenes]
        targets = [patch_targets(scene, vision.grid) for scene in scenes]
        size = vision.image_size
        looked = [(row, look) for row, one in enumerate(prepared) for look in one.looks]
        side = math.isqrt(vision.n_queries)
        return {
            "input_ids": input_ids,
            "labels": labels,
            "pixel_values": torch.stack(pixels) if pixels else torch.empty(0, 3, size, size, dtype=torch.uint8),
            "patch_kinds": torch.stack([kinds for kinds, _ in targets]) if targets else torch.empty(0, 0, 3),
            "patch_boxes": torch.stack([boxes for _, boxes in targets]) if targets else torch.empty(0, 0, 4),
            "look_tokens": torch.tensor([(row, look.position, look.image) for row, look in looked]).view(-1, 3).long(),
            "look_places": torch.stack([covered(look.box, side) for _, look in looked])
            if looked
            else torch.empty(0, vision.n_queries, dtype=torch.bool),
        }
