"""Draw the pictures of the page's example prompts: ``python -m scripts.web_examples``."""

import PIL.Image

from qwenvl.api.web.assets import STATIC
from qwenvl.demo.drawing import draw
from qwenvl.demo.fonts import FONT_FILES
from qwenvl.demo.scenes import COLOURS, Box, Colour, Ground, Scene, Thing

FOLDER = STATIC / "examples"
SIZE = 448
FINER = 4
"""Drawn this much larger and scaled down: the pens know no half-covered pixels."""

PAPER: Colour = (250, 248, 244)
SAND: Colour = (236, 228, 212)
NIGHT: Colour = (24, 28, 44)
DUSK: Colour = (40, 46, 72)
MINT: Colour = (222, 240, 232)
SNOW: Colour = (240, 248, 246)


def shape(colour: str, kind: str, box: Box) -> Thing:
    return Thing(kind, colour, COLOURS[colour], box)


def word(colour: str, text: str, box: Box) -> Thing:
    return Thing("word", colour, COLOURS[colour], box, text, FONT_FILES[0])


SCENES = {
    "shapes": Scene(
        Ground("gradient", PAPER, SAND, 3),
        (
            shape("red", "circle", (0.08, 0.1, 0.4, 0.42)),
            shape("blue", "square", (0.58, 0.14, 0.86, 0.42)),
            shape("green", "triangle", (0.32, 0.54, 0.68, 0.88)),
        ),
    ),
    "night": Scene(
        Ground("gradient", NIGHT, DUSK, 5),
        (
            shape("yellow", "star", (0.1, 0.12, 0.36, 0.37)),
            shape("pink", "heart", (0.56, 0.16, 0.88, 0.46)),
            shape("white", "ring", (0.3, 0.56, 0.62, 0.88)),
        ),
    ),
    "sign": Scene(
        Ground("plain", MINT, MINT, 0),
        (
            word("blue", "CAFE", (0.14, 0.2, 0.78, 0.42)),
            shape("orange", "heart", (0.36, 0.58, 0.62, 0.82)),
        ),
    ),
    "cross": Scene(
        Ground("plain", SNOW, SNOW, 0),
        (
            shape("purple", "diamond", (0.1, 0.12, 0.36, 0.38)),
            shape("purple", "diamond", (0.62, 0.2, 0.86, 0.44)),
            shape("orange", "cross", (0.2, 0.58, 0.46, 0.84)),
        ),
    ),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        picture = draw(scene, SIZE * FINER).resize((SIZE, SIZE), PIL.Image.Resampling.LANCZOS)
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
