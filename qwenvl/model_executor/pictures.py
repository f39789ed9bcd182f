"""Pictures as the model sees them; no torch, so that they can be made small wherever they are decoded."""

import logging

import PIL.ExifTags
import PIL.Image

logger = logging.getLogger(__name__)

# By the value of EXIF's orientation, how to turn the picture upright.
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def fit_image(image: PIL.Image.Image, image_size: int) -> PIL.Image.Image:
    """The picture as the model sees it: RGB, ``image_size`` square. Fitting it again changes nothing.

    Transparency is dropped and EXIF orientation ignored, as in the original.
    """
    # convert() copies what is RGB already, and a picture of full size may be hundreds of megabytes.
    colors = image if image.mode == "RGB" else image.convert("RGB")
    return colors.resize((image_size, image_size), PIL.Image.Resampling.BICUBIC)


def turned_upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The picture as its EXIF orientation says it is seen; as it is where that says nothing that can be read."""
    return turned(image, orientation_of(image))


def turned(image: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    """The picture that is seen where it is stored with this EXIF orientation, a number from 1, upright, to 8."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(image: PIL.Image.Image) -> int:
    """EXIF's orientation, from 1 to 8; 1 where there is none that can be read."""
    try:
        orientation = image.getexif().get(PIL.ExifTags.Base.Orientation)
    except Exception as error:
        # Whatever is wrong with the notes on a picture, the picture itself is decoded already.
        logger.info("EXIF of an image not read: %s", type(error).__name__)
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1
