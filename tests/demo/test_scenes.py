from random import Random

import numpy as np
import pytest

from qwenvl.demo.scenes import (
    _PENS,
    FONT_FILES,
    Ground,
    Mix,
    Scene,
    Thing,
    draw,
    patch_labels,
    random_scene,
    word_edges,
)

SIZE = 448
GREY = Ground("plain", (128, 128, 128), (120, 120, 120), 0)


def painted(scene: Scene) -> tuple[float, ...]:
    """The least box around everything that is not ground, as shares of the picture."""
    different = (np.array(draw(scene, SIZE)) != 128).any(axis=2)
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    return columns[0] / SIZE, rows[0] / SIZE, (columns[-1] + 1) / SIZE, (rows[-1] + 1) / SIZE


@pytest.mark.parametrize("shape", _PENS)
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


def test_things_lie_inside_and_apart() -> None:
    rng = Random(1)
    for _ in range(300):
        scene = random_scene(rng)
        assert scene.things
        for i, thing in enumerate(scene.things):
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1
            for other in scene.things[:i]:
                apart_x = x2 <= other.box[0] or other.box[2] <= x1
                apart_y = y2 <= other.box[1] or other.box[3] <= y1
                assert apart_x or apart_y


def test_every_number_of_objects_comes_up() -> None:
    rng = Random(2)
    counts = {len(random_scene(rng, Mix(words=0.0)).things) for _ in range(200)}
    assert counts == {1, 2, 3, 4, 5}


def test_patches_know_what_covers_their_centres() -> None:
    scene = Scene(GREY, (Thing("square", "red", (200, 0, 0), (0.25, 0.0, 0.5, 0.5)),))
    assert patch_labels(scene, 4) == [-1, 0, -1, -1, -1, 0, -1, -1, *[-1] * 8]


def test_signs_of_a_word_follow_each_other() -> None:
    edges = word_edges(FONT_FILES[0], "WIM")
    assert list(edges) == sorted(edges)
    assert edges[-1] == 1.0
    assert edges[1] - edges[0] < edges[0]
