"""Conversations as the model trains on them: token ids, labels and pixels, padded to batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qwenvl.chat import Rendered, Vocabulary, render_chatml
from qwenvl.errors import ImageError
from qwenvl.finetuning.pictures import Pictures
from qwenvl.finetuning.records import Record
from qwenvl.finetuning.samples import IGNORED_LABEL, expand_images
from qwenvl.model_executor.config import VisionConfig
from qwenvl.model_executor.image_processor import resize_image


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation.

    Attributes:
        token_ids: with every image's positions in place.
        labels: as long; :data:`IGNORED_LABEL` where nothing is to be learned.
        pixels: uint8 (images, 3, size, size).
    """

    token_ids: list[int]
    labels: list[int]
    pixels: Tensor


def render_record(record: Record, vocabulary: Vocabulary) -> Rendered:
    """Token ids and label spans; ``Picture N:`` stands as the data writes it, or does not."""
    return render_chatml(record.messages, vocabulary, add_generation_prompt=False, announce_pictures=False)


class ConversationDataset(Dataset[Example]):
    """Conversations, rendered and their pictures read when they are asked for.

    Args:
        records: checked.
        vocabulary: the checkpoint's.
        vision: ``visual`` of the checkpoint; None for a text model.
        pictures: where the records' pictures are.
    """

    def __init__(
        self, records: Sequence[Record], vocabulary: Vocabulary, vision: VisionConfig | None, pictures: Pictures
    ) -> None:
        self.records = records
        self.vocabulary = vocabulary
        self.vision = vision
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        rendered = render_record(record, self.vocabulary)
        if self.vision is None:
            return Example(*expand_images(rendered, 0, self.vocabulary.image_start, 0), torch.empty(0))
        ids, labels = expand_images(
            rendered, self.vision.n_queries, self.vision.image_start_id, self.vocabulary.image_pad
        )
        try:
            pixels = [resize_image(self.pictures.open(place), self.vision.image_size) for place in record.pictures]
        except ImageError as error:
            # It could be read when training began.
            raise ImageError(f"{record.name}: {error.message}") from error
        size = self.vision.image_size
        return Example(ids, labels, torch.stack(pixels) if pixels else torch.empty(0, 3, size, size, dtype=torch.uint8))


@dataclass(frozen=True, slots=True)
class Collator:
    """Examples to a batch, padded on the right.

    ``pixel_values`` is there for a visual model even where no example has a picture: the visual encoder then runs on
    none, so that all processes of a sharded model run it alike.
    """

    pad_id: int
    is_visual: bool

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        longest = max(len(example.token_ids) for example in examples)
        shape = (len(examples), longest)
        batch = {
            "input_ids": torch.full(shape, self.pad_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, IGNORED_LABEL),
        }
        for row, example in enumerate(examples):
            length = len(example.token_ids)
            batch["input_ids"][row, :length] = torch.tensor(example.token_ids)
            batch["attention_mask"][row, :length] = 1
            batch["labels"][row, :length] = torch.tensor(example.labels)
        if self.is_visual:
            batch["pixel_values"] = torch.cat([example.pixels for example in examples])
        return batch
