"""Golden cases as the transformers model takes them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qwenvl.model_executor.image_processor import resize_image
from tests.parity.golden import GoldenCase


def expanded(case: GoldenCase, vision: Any) -> list[int]:
    ids: list[int] = []
    for token_id in case.token_ids:
        ids.append(token_id)
        if token_id == vision.image_start_id:
            ids += [0] * vision.n_queries
    return ids


def inputs_of(model: Any, batch: Sequence[GoldenCase]) -> dict[str, Tensor]:
    """Padded on the left, as generation wants it."""
    vision = model.config.vision
    prompts = [expanded(case, vision) for case in batch]
    longest = max(map(len, prompts))
    pixels = [resize_image(image, vision.image_size) for case in batch for image in case.images]
    inputs = {
        "input_ids": torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts]),
        "attention_mask": torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
    }
    return inputs | ({"pixel_values": torch.stack(pixels)} if pixels else {})
