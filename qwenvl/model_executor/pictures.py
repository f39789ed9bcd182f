"""Pictures as the model sees them; no torch, so that they can be made small wherever they are decoded."""

import PIL.Image


def fit_image(image: PIL.Image.Image, image_size: int) -> PIL.Image.Image:
    """The picture as the model sees it: RGB, ``image_size`` square. Fitting it again changes nothing.

    Transparency is dropped and EXIF orientation ignored, as in the original.
    """
    # convert() copies what is RGB already, and a picture of full size may be hundreds of megabytes.
    colors = image if image.mode == "RGB" else image.convert("RGB")
    return colors.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC)
