"""Where prompts of the transformers model hold images, and why what looks like one is none.

Shape suffixes: B prompts, L positions, N images, Q positions of an image, C colours, S side of an image in pixels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from qwenvl.errors import UserError
from qwenvl.model_executor.config import VisionConfig
from qwenvl.model_executor.written_images import location_in


def whole_images(input_ids_BL: Tensor, vision: VisionConfig) -> Tensor:
    """Whether each position (B, L - Q - 1) is an ``<img>`` whose ``</img>`` stands right after an image's positions.

    A model may write an ``<img>`` of its own: that is text. Nothing here waits for the device.
    """
    length = vision.n_queries + 1
    starts, ends = input_ids_BL[:, :-length], input_ids_BL[:, length:]
    return (starts == vision.image_start_id) & (ends == vision.image_start_id + 1)


def image_places(input_ids_BL: Tensor, pixels_NCSS: Tensor, vision: VisionConfig) -> tuple[Tensor, Tensor]:
    """Prompt (N, 1) and positions (N, Q) of each image.

    Raises:
        ValueError: the prompts do not hold as many whole images as there are pixels of, or those have another size.
    """
    size = vision.image_size
    if pixels_NCSS.shape[1:] != (3, size, size):
        raise ValueError(
            f"pixel_values must have the shape (images, 3, {size}, {size}), not {tuple(pixels_NCSS.shape)}"
        )
    prompts_N, starts_N = torch.where(whole_images(input_ids_BL, vision))
    if len(prompts_N) != len(pixels_NCSS):
        faults = [
            f": {name} {fault}" for name, after in _opened(input_ids_BL, vision) if (fault := _fault(after, vision))
        ]
        raise ValueError(
            f"the prompts hold {len(prompts_N)} images, and pixel_values hold {len(pixels_NCSS)}{''.join(faults[:1])}"
        )
    places_NQ = starts_N.unsqueeze(1) + torch.arange(1, vision.n_queries + 1, device=starts_N.device)
    return prompts_N.unsqueeze(1), places_NQ


def refuse_images_without_pixels(input_ids_BL: Tensor, vision: VisionConfig) -> None:
    """Refuse prompts that hold whole images.

    Raises:
        ValueError: they do.
    """
    if count := int(whole_images(input_ids_BL, vision).sum()):
        raise ValueError(f"the prompts hold {count} images, and pixel_values none")


def written_locations(input_ids_BL: Tensor, vision: VisionConfig) -> list[str]:
    """Paths and URLs of the pictures in the prompts, in order.

    Raises:
        UserError: an ``<img>`` begins no whole picture, or one that holds no path; the message says which and why.
    """
    locations: list[str] = []
    for name, after in _opened(input_ids_BL, vision):
        if fault := _fault(after, vision):
            raise UserError(f"{name} {fault}")
        content = after[: vision.n_queries]
        location = location_in([vision.image_start_id, *content, vision.image_start_id + 1], vision.image_start_id)
        if location is None:
            reason = "is empty" if set(content) == {vision.image_start_id + 2} else "holds what is no path or URL"
            raise UserError(f"{name} {reason}: write <img>path or URL</img>, or pass pixel_values")
        locations.append(location)
    return locations


def _opened(input_ids_BL: Tensor, vision: VisionConfig) -> Iterator[tuple[str, list[int]]]:
    """What each ``<img>`` is called in an error, and the ids after it."""
    counts: dict[int, int] = {}
    for prompt, start in (input_ids_BL == vision.image_start_id).nonzero().tolist():
        counts[prompt] = counts.get(prompt, 0) + 1
        name = f"picture {counts[prompt]} of prompt {prompt + 1} (its <img> is token {start})"
        yield name, input_ids_BL[prompt, start + 1 :].tolist()


def _fault(after: list[int], vision: VisionConfig) -> str | None:
    """What is wrong with an ``<img>`` by the ids after it; None for a whole image."""
    image_start, image_end = vision.image_start_id, vision.image_start_id + 1
    if after[vision.n_queries : vision.n_queries + 1] == [image_end]:
        return None
    if image_end not in after:
        reason = "is cut or not closed"
    elif image_start in (before := after[: after.index(image_end)]):
        reason = "is not closed, another <img> follows"
    else:
        reason = f"has {len(before)} positions before </img>"
    return f"{reason}: this model's <img> must be followed by {vision.n_queries} positions and </img>"
