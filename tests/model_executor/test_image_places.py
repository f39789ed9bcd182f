from typing import Any

import pytest
import torch
from transformers import AutoConfig

from qwenvl.errors import UserError
from qwenvl.model_executor.image_places import (
    image_places,
    refuse_images_without_pixels,
    whole_images,
    written_locations,
)
from qwenvl.model_executor.written_images import write_picture
from tests.parity.golden import CHECKPOINT

VISION: Any = AutoConfig.from_pretrained(CHECKPOINT).vision
START, END, PAD = range(VISION.image_start_id, VISION.image_start_id + 3)
PICTURE = write_picture("a.png", START, VISION.n_queries)


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def pixels(count: int = 1, size: int = 448) -> torch.Tensor:
    return torch.zeros(count, 3, size, size, dtype=torch.uint8)


def test_a_tag_that_a_model_wrote_is_text() -> None:
    written = ids(1, *PICTURE, START, 5, START, END, START)
    assert int(whole_images(written, VISION).sum()) == 1
    prompts, places = image_places(written, pixels(), VISION)
    assert (prompts.tolist(), places[0].tolist()) == ([[0]], list(range(2, 258)))
    refuse_images_without_pixels(ids(1, START, 5), VISION)
    with pytest.raises(ValueError, match="hold 1 images, and pixel_values none"):
        refuse_images_without_pixels(written, VISION)


def test_pixels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"shape \(images, 3, 448, 448\), not \(1, 3, 224, 224\)"):
        image_places(ids(*PICTURE), pixels(size=224), VISION)
    with pytest.raises(ValueError, match=r"hold 1 images, and pixel_values hold 2$"):
        image_places(ids(*PICTURE), pixels(2), VISION)
    # Never over text.
    with pytest.raises(ValueError, match="hold 0 images, and pixel_values hold 1: picture 1 of prompt 1"):
        image_places(ids(*PICTURE[:-1], 5, *range(20)), pixels(), VISION)


def test_paths() -> None:
    assert written_locations(ids(1, *PICTURE, *PICTURE, 2), VISION) == ["a.png"] * 2
    assert written_locations(ids(1, 2), VISION) == []


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ([START, 5], "is cut or not closed"),
        ([START, 5, *PICTURE], "is not closed, another <img> follows"),
        ([START, END], "has 0 positions before </img>"),
        (
            write_picture("a.png", START, 64),
            "has 64 positions before </img>: this model's <img> must be followed by 256",
        ),
        ([START, *[PAD] * 256, END], "is empty: write <img>path or URL</img>, or pass pixel_values"),
        ([START, 65, 0, *[PAD] * 254, END], "holds what is no path or URL"),
    ],
)
def test_pictures_that_are_none_are_named(tokens: list[int], reason: str) -> None:
    with pytest.raises(UserError) as refused:
        written_locations(torch.tensor([[7] * (258 + len(tokens)), [*PICTURE, *tokens]]), VISION)
    assert str(refused.value).startswith("picture 2 of prompt 2 (its <img> is token 258)")
    assert reason in str(refused.value)
