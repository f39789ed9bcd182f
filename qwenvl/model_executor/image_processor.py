"""Pictures to pixels as the original does it: RGB, Pillow's bicubic to a square, nothing kept of the aspect ratio.

Pixels stay ``uint8`` until they reach the device: a quarter of the bytes to cache, hash and send between processes.
Normalising is part of the vision tower.
"""

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from qwenvl.model_executor.pictures import fit_image

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def resize_image(image: PIL.Image.Image, image_size: int) -> Tensor:
    """Pixels of one picture.

    Args:
        image: any mode and size.
        image_size: side of the square in pixels, ``visual.image_size``.

    Returns:
        uint8, shape (3, image_size, image_size).
    """
    return torch.from_numpy(np.array(fit_image(image, image_size))).permute(2, 0, 1).contiguous()


def normalize(pixels_BCHW: Tensor) -> Tensor:
    """``(pixels / 255 - mean) / std`` in float32, on whatever device the pixels are."""
    mean, std = (
        pixels_BCHW.new_tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD)
    )
    return (pixels_BCHW.float() / 255 - mean) / std
