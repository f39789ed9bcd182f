from random import Random

from qwenvl.demo.scenes import Ground, Mix, Scene, Thing, patch_labels, random_scene

GREY = Ground("plain", (128, 128, 128), (120, 120, 120), 0)


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
