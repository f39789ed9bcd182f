"""Pictures as the model sees them; no torch, so that they can be made small wherever they are decoded."""

import PIL.Image


def fit_image(image: PIL.Image.Image, image_size: int) -> PIL.Image.Image:
    """The picture as the model sees it: RGB, ``image_size`` square. Fitting it again changes nothing.

    Transparency is dropped and EXIF orientation ignored, as in the original.
    """
    return image.convert("RGB").resize((image_size, image_size), PIL.Image.Resampling.BICUBIC)
