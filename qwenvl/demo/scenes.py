"""Synthetic scenes: coloured shapes and short words on plain and textured grounds, each with its box.

A scene is data (:class:`Scene`), so that questions can be asked of it; ``drawing`` makes the picture. Everything comes
from one generator: equal seeds give equal scenes.
"""

import math
from dataclasses import dataclass
from random import Random

from qwenvl.demo.fonts import FONT_FILES, word_ratio

COLOURS = {
    "red": (214, 39, 40),
    "orange": (245, 130, 30),
    "yellow": (240, 215, 40),
    "green": (44, 150, 60),
    "blue": (35, 85, 205),
    "purple": (130, 50, 165),
    "pink": (245, 150, 190),
    "brown": (120, 72, 40),
    "black": (22, 22, 22),
    "white": (245, 245, 245),
    "gray": (132, 132, 132),
}
COLOUR_JITTER = 12
MIN_CONTRAST = 110.0
"""Distance in RGB between an object and the ground behind it."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "diamond", "ring")
NEW_SHAPES = ("hexagon", "arrow", "moon")
"""Never in a picture that the small model is trained on, though it knows the words: for teaching it something new."""

MAX_OBJECTS = 5

LEXICON = """
OPEN STOP EXIT CAFE SHOP HOTEL TAXI BANK PARK POST FIRE FOOD GOLD BLUE NORTH SOUTH EAST WEST LEFT RIGHT
PUSH PULL SALE FREE WATER MILK TEA BREAD FISH RICE CAT DOG BIRD TREE SUN MOON STAR SKY SEA RIVER LAKE HOUSE
DOOR ROAD BUS TRAIN PLANE SHIP BOAT CAR BIKE KEY BOOK PEN BOX CUP HAT RED GREEN BLACK WHITE ONE TWO THREE
FOUR FIVE YES NO HELLO WORLD MUSIC ART GAME PLAY WORK HOME ROOM CITY TOWN ZOO GYM
"""
WORDS = tuple(LEXICON.split())
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_LETTERS = 6

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 as shares of the picture's width and height."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Attributes:
        shape: one of the shapes, or "word".
        colour: name of its colour.
        rgb: what it is painted with.
        box: the least box around its pixels.
        text: what is written, capitals and digits; empty for a shape.
    """

    shape: str
    colour: str
    rgb: Colour
    box: Box
    text: str = ""
    font: str = ""

    @property
    def centre(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def area(self) -> float:
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True, slots=True)
class Ground:
    """What is behind the objects: two near colours and how they are mixed."""

    kind: str
    first: Colour
    second: Colour
    seed: int


@dataclass(frozen=True, slots=True)
class Scene:
    ground: Ground
    things: tuple[Thing, ...]

    @property
    def shapes(self) -> list[Thing]:
        return [thing for thing in self.things if not thing.text]

    @property
    def words(self) -> list[Thing]:
        return [thing for thing in self.things if thing.text]


@dataclass(frozen=True, slots=True)
class Mix:
    """How scenes are drawn at random.

    Attributes:
        shapes: names to choose from.
        most_objects: shapes of a scene, from 1 up (or 0 where there is a word).
        words: probability that a scene holds a word.
        repeats: probability that a scene holds shapes of the same kind.
    """

    shapes: tuple[str, ...] = SHAPES
    most_objects: int = MAX_OBJECTS
    words: float = 0.35
    repeats: float = 0.3


def random_scene(rng: Random, mix: Mix | None = None) -> Scene:
    """A scene whose objects do not overlap and stand out from the ground."""
    mix = mix or Mix()
    ground = _random_ground(rng)
    things: list[Thing] = []
    if rng.random() < mix.words:
        for _ in range(1 if rng.random() < 0.85 else 2):
            _place_word(rng, ground, things)
    count = rng.randint(1, mix.most_objects)
    if things and rng.random() < 0.4:
        count = 0
    kinds = _random_kinds(rng, ground, count, mix)
    for shape, colour in kinds:
        _place_shape(rng, things, shape, colour)
    return Scene(ground, tuple(things)) if things else random_scene(rng, mix)


def _random_ground(rng: Random) -> Ground:
    if rng.random() < 0.5:
        level = rng.choice((rng.randint(225, 255), rng.randint(0, 40), rng.randint(70, 200)))
        first = tuple(min(255, max(0, level + rng.randint(-12, 12))) for _ in range(3))
    else:
        first = tuple(rng.randint(0, 255) for _ in range(3))
    amount = rng.randint(6, 34)
    second = tuple(min(255, max(0, c + rng.choice((-amount, amount)))) for c in first)
    kind = rng.choice(("plain", "plain", "gradient", "noise", "stripes", "checks"))
    return Ground(kind, first, second, rng.randrange(2**31))  # type: ignore[arg-type]


def _visible(rgb: Colour, ground: Ground) -> bool:
    return all(math.dist(rgb, other) > MIN_CONTRAST for other in (ground.first, ground.second))


def _random_kinds(rng: Random, ground: Ground, count: int, mix: Mix) -> list[tuple[str, str]]:
    colours = [name for name, rgb in COLOURS.items() if _visible(rgb, ground)]
    kinds: list[tuple[str, str]] = []
    repeats = rng.random() < mix.repeats
    while len(kinds) < count:
        kind = (rng.choice(mix.shapes), rng.choice(colours))
        if kinds and repeats and rng.random() < 0.6:
            shape, colour = rng.choice(kinds)
            # All alike, of one shape, or of one colour: what counting and telling apart are about.
            kind = rng.choice(((shape, colour), (shape, kind[1]), (kind[0], colour)))
        if kind not in kinds or repeats:
            kinds.append(kind)
    return kinds


def _jitter(rng: Random, rgb: Colour) -> Colour:
    moved = [min(255, max(0, c + rng.randint(-COLOUR_JITTER, COLOUR_JITTER))) for c in rgb]
    return moved[0], moved[1], moved[2]


def _place_shape(rng: Random, things: list[Thing], shape: str, colour: str) -> None:
    for attempt in range(30):
        # A crowded scene takes smaller ones.
        size = rng.uniform(0.12, 0.42 if attempt < 10 else 0.2)
        # A picture that is not square is seen squeezed: its circles are no circles.
        ratio = math.exp(rng.uniform(-0.55, 0.55)) if rng.random() < 0.4 else 1.0
        box = _random_box(rng, size * min(1.0, ratio), size / max(1.0, ratio))
        if not any(_near(box, thing.box) for thing in things):
            things.append(Thing(shape, colour, _jitter(rng, COLOURS[colour]), box))
            return


def _place_word(rng: Random, ground: Ground, things: list[Thing]) -> None:
    colours = [name for name, rgb in COLOURS.items() if _visible(rgb, ground)]
    text = random_word(rng)
    font = rng.choice(FONT_FILES)
    ratio = word_ratio(font, text)
    for attempt in range(20):
        height = rng.uniform(0.1, 0.26 if attempt < 8 else 0.14)
        width = height * ratio
        if width > 0.92:
            continue
        box = _random_box(rng, width, height)
        if not any(_near(box, thing.box) for thing in things):
            colour = rng.choice(colours)
            things.append(Thing("word", colour, _jitter(rng, COLOURS[colour]), box, text, font))
            return


def random_word(rng: Random) -> str:
    """A word of the lexicon, letters at random, or a number; up to six signs."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(WORDS)
    if kind < 0.8:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, MAX_LETTERS)))
    return str(rng.randrange(10 ** rng.randint(1, 4)))


def _random_box(rng: Random, width: float, height: float) -> Box:
    x, y = rng.uniform(0.01, 0.99 - width), rng.uniform(0.01, 0.99 - height)
    return x, y, x + width, y + height


def _near(first: Box, second: Box, gap: float = 0.015) -> bool:
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )


def patch_labels(scene: Scene, grid: int) -> list[int]:
    """Index of the object at the centre of each patch, row by row; -1 for ground. Boxes count as filled."""
    labels = [-1] * (grid * grid)
    for index, thing in enumerate(scene.things):
        x1, y1, x2, y2 = (value * grid for value in thing.box)
        for row in range(max(0, math.ceil(y1 - 0.5)), min(grid - 1, math.floor(y2 - 0.5)) + 1):
            for column in range(max(0, math.ceil(x1 - 0.5)), min(grid - 1, math.floor(x2 - 0.5)) + 1):
                labels[row * grid + column] = index
    return labels
