"""Synthetic scenes: coloured shapes and short words on plain and textured grounds, each with its box.

A scene is data first (:class:`Scene`), so that questions can be asked of it; :func:`draw` makes the picture. Everything
comes from one generator: equal seeds give equal scenes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

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
"""Drawn and named, and never in what the small model is trained on: for teaching it something new."""

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
    ratio = _word_ratio(font, text)
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


# Drawing


@lru_cache(maxsize=512)
def _font(name: str, size: int) -> PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / name), size)


@lru_cache(maxsize=65536)
def _word_ratio(name: str, text: str) -> float:
    """Width of a word's pixels over their height."""
    x1, y1, x2, y2 = _font(name, 64).getbbox(text)
    return (x2 - x1) / (y2 - y1)


@lru_cache(maxsize=65536)
def word_edges(name: str, text: str) -> tuple[float, ...]:
    """Where each sign of a word ends, as a share of the word's width."""
    font = _font(name, 64)
    whole = font.getlength(text)
    return tuple(font.getlength(text[: i + 1]) / whole for i in range(len(text)))


def draw(scene: Scene, size: int) -> PIL.Image.Image:
    """The picture: RGB, ``size`` pixels square."""
    image = _draw_ground(scene.ground, size)
    pen = PIL.ImageDraw.Draw(image)
    for thing in scene.things:
        if thing.text:
            _write(pen, thing, size)
        else:
            x1, y1, x2, y2 = (value * size for value in thing.box)
            _PENS[thing.shape](pen, (x1, y1, x2 - 1, y2 - 1), thing.rgb)
    return image


def _draw_ground(ground: Ground, size: int) -> PIL.Image.Image:
    if ground.kind == "plain":
        return PIL.Image.new("RGB", (size, size), ground.first)
    random = np.random.default_rng(ground.seed)
    if ground.kind == "noise":
        grain = int(random.integers(1, 6))
        share = random.random((-(-size // grain), -(-size // grain)), dtype=np.float32)
        share = share.repeat(grain, axis=0).repeat(grain, axis=1)[:size, :size]
    else:
        angle = random.uniform(0, math.pi)
        axis = np.arange(size, dtype=np.float32) / size
        along = axis[None, :] * np.float32(math.cos(angle)) + axis[:, None] * np.float32(math.sin(angle))
        if ground.kind == "gradient":
            share = (along - along.min()) / (along.max() - along.min())
        else:
            count = np.float32(random.uniform(4, 16))
            second_half = (along * count) % 1 > 0.5
            if ground.kind == "checks":
                across = axis[:, None] * np.float32(math.cos(angle)) - axis[None, :] * np.float32(math.sin(angle))
                second_half ^= (across * count) % 1 > 0.5
            share = second_half.astype(np.float32)
    first, second = (np.array(colour, dtype=np.float32) for colour in (ground.first, ground.second))
    pixels = first + share[:, :, None] * (second - first)
    return PIL.Image.fromarray(pixels.astype(np.uint8))


def _write(pen: PIL.ImageDraw.ImageDraw, thing: Thing, size: int) -> None:
    x1, y1, _, y2 = (value * size for value in thing.box)
    probe = _font(thing.font, 64).getbbox(thing.text)
    font = _font(thing.font, max(6, round(64 * (y2 - y1) / (probe[3] - probe[1]))))
    left, top, _, _ = font.getbbox(thing.text)
    pen.text((x1 - left, y1 - top), thing.text, font=font, fill=thing.rgb)


Corners = tuple[float, float, float, float]
Pen = Callable[[PIL.ImageDraw.ImageDraw, Corners, Colour], None]


def _polygon(points: list[tuple[float, float]]) -> Pen:
    """Draws points given as shares of the box."""

    def pen(image: PIL.ImageDraw.ImageDraw, box: Corners, rgb: Colour) -> None:
        x1, y1, x2, y2 = box
        image.polygon([(x1 + x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in points], fill=rgb)

    return pen


def _fit(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same outline, filling the unit square."""
    xs, ys = zip(*points, strict=True)
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return [((x - left) / (right - left), (y - top) / (bottom - top)) for x, y in points]


def _star() -> list[tuple[float, float]]:
    return _fit(
        [
            (
                (1 if i % 2 == 0 else 0.42) * math.sin(i * math.pi / 5),
                -(1 if i % 2 == 0 else 0.42) * math.cos(i * math.pi / 5),
            )
            for i in range(10)
        ]
    )


def _heart() -> list[tuple[float, float]]:
    turns = [i * 2 * math.pi / 40 for i in range(40)]
    return _fit(
        [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in turns
        ]
    )


def _circle(image: PIL.ImageDraw.ImageDraw, box: Corners, rgb: Colour) -> None:
    image.ellipse(box, fill=rgb)


def _ring(image: PIL.ImageDraw.ImageDraw, box: Corners, rgb: Colour) -> None:
    image.ellipse(box, outline=rgb, width=max(2, round((box[2] - box[0]) * 0.2)))


_CROSS = [(0.33, 0), (0.67, 0), (0.67, 0.33), (1, 0.33), (1, 0.67), (0.67, 0.67)]
_CROSS += [(1 - x, 1 - y) for x, y in _CROSS]

_PENS: dict[str, Pen] = {
    "circle": _circle,
    "square": _polygon([(0, 0), (1, 0), (1, 1), (0, 1)]),
    "triangle": _polygon([(0.5, 0), (1, 1), (0, 1)]),
    "star": _polygon(_star()),
    "heart": _polygon(_heart()),
    "cross": _polygon(_CROSS),
    "diamond": _polygon([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]),
    "ring": _ring,
    "hexagon": _polygon(_fit([(math.cos(i * math.pi / 3), math.sin(i * math.pi / 3)) for i in range(6)])),
    "arrow": _polygon([(0, 0.3), (0.55, 0.3), (0.55, 0), (1, 0.5), (0.55, 1), (0.55, 0.7), (0, 0.7)]),
    "moon": _polygon(
        _fit(
            [(math.cos(a), math.sin(a)) for a in (math.radians(d) for d in range(60, 301, 8))]
            + [(0.35 + 0.75 * math.cos(a), 0.87 * math.sin(a)) for a in (math.radians(d) for d in range(280, 79, -8))]
        )
    ),
}


def patch_labels(scene: Scene, grid: int) -> list[int]:
    """Index of the object at the centre of each patch, row by row; -1 for ground. Boxes count as filled."""
    labels = [-1] * (grid * grid)
    for index, thing in enumerate(scene.things):
        x1, y1, x2, y2 = (value * grid for value in thing.box)
        for row in range(max(0, math.ceil(y1 - 0.5)), min(grid - 1, math.floor(y2 - 0.5)) + 1):
            for column in range(max(0, math.ceil(x1 - 0.5)), min(grid - 1, math.floor(x2 - 0.5)) + 1):
                labels[row * grid + column] = index
    return labels
