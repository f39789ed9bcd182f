"""Pictures of scenes."""

import math
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageDraw

from qwenvl.demo.fonts import PROBED, font_of
from qwenvl.demo.scenes import Colour, Ground, Scene, Thing


def draw(scene: Scene, size: int) -> PIL.Image.Image:
    """The picture: RGB, ``size`` pixels square."""
    image = _draw_ground(scene.ground, size)
    pen = PIL.ImageDraw.Draw(image)
    for thing in scene.things:
        if thing.text:
            _write(pen, thing, size)
        else:
            x1, y1, x2, y2 = (value * size for value in thing.box)
            PENS[thing.shape](pen, (x1, y1, x2 - 1, y2 - 1), thing.rgb)
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
    probe = font_of(thing.font, PROBED).getbbox(thing.text)
    font = font_of(thing.font, max(6, round(PROBED * (y2 - y1) / (probe[3] - probe[1]))))
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

PENS: dict[str, Pen] = {
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
"""How each shape is drawn."""
