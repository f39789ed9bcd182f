from random import Random

import numpy as np
import pytest

from qwenvl.demo.drawing import PENS, draw
from qwenvl.demo.fonts import FONT_FILES
from qwenvl.demo.scenes import NEW_SHAPES, SHAPES, Ground, Mix, Scene, Thing, random_scene

SIZE = 448
GREY = Ground("plain", (128, 128, 128), (120, 120, 120), 0)


def painted(scene: Scene) -> tuple[float, ...]:
    """The least box around everything that is not ground, as shares of the picture."""
    different = (np.array(draw(scene, SIZE)) != 128).any(axis=2)
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    return columns[0] / SIZE, rows[0] / SIZE, (columns[-1] + 1) / SIZE, (rows[-1] + 1) / SIZE


@pytest.mark.parametrize("shape", PENS)
@pytest.mark.parametrize("box", [(0.1, 0.2, 0.5, 0.6), (0.3, 0.1, 0.45, 0.4)])
def test_a_shape_fills_its_box(shape: str, box: tuple[float, float, float, float]) -> None:
    scene = Scene(GREY, (Thing(shape, "red", (200, 0, 0), box),))
    assert painted(scene) == pytest.approx(box, abs=1.6 / SIZE)


@pytest.mark.parametrize("font", FONT_FILES)
def test_a_word_fills_its_box(font: str) -> None:
    scenes = (random_scene(Random(f"{font} {i}"), Mix(words=1.0)) for i in range(200))
    word = next(thing for scene in scenes for thing in scene.words if thing.font == font and len(thing.text) > 3)
    assert painted(Scene(GREY, (word,))) == pytest.approx(word.box, abs=0.02)


def test_equal_seeds_give_equal_pictures() -> None:
    first, second = (random_scene(Random(7)) for _ in range(2))
    assert first == second
    assert draw(first, 64).tobytes() == draw(second, 64).tobytes()
    assert random_scene(Random(8)) != first


def test_every_shape_has_its_pen() -> None:
    assert PENS.keys() == {*SHAPES, *NEW_SHAPES}
