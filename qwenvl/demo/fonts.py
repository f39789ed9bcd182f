"""Fonts of the words in scenes, and how wide what is written in them gets. They come with matplotlib."""

from functools import lru_cache
from importlib.resources import files

import PIL.ImageFont

FONT_FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
)

PROBED = 64
"""Size in pixels that proportions are measured at."""


@lru_cache(maxsize=512)
def font_of(name: str, size: int) -> PIL.ImageFont.FreeTypeFont:
    """One of :data:`FONT_FILES` in so many pixels."""
    return PIL.ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / name), size)


@lru_cache(maxsize=65536)
def word_ratio(name: str, text: str) -> float:
    """Width of a word's pixels over their height."""
    x1, y1, x2, y2 = font_of(name, PROBED).getbbox(text)
    return (x2 - x1) / (y2 - y1)


@lru_cache(maxsize=65536)
def word_edges(name: str, text: str) -> tuple[float, ...]:
    """Where each sign of a word ends, as a share of the word's width."""
    font = font_of(name, PROBED)
    whole = font.getlength(text)
    return tuple(font.getlength(text[: i + 1]) / whole for i in range(len(text)))
