import re
from random import Random

import pytest

from qwenvl.demo import questions, relations
from qwenvl.demo.comparisons import ask_comparison
from qwenvl.demo.phrases import Language, Phrase, box_text
from qwenvl.demo.questions import ask, count_answer
from qwenvl.demo.scenes import Ground, Mix, Scene, Thing, random_scene
from qwenvl.demo.scores import boxes_in
from qwenvl.demo.turns import Asker, Task

EN, ZH = Language.ENGLISH, Language.CHINESE
GREY = Ground("plain", (128, 128, 128), (120, 120, 120), 0)


def thing(shape: str, colour: str, x: float, y: float, size: float = 0.2, text: str = "") -> Thing:
    return Thing(shape, colour, (0, 0, 0), (x, y, x + size, y + size), text, "DejaVuSans.ttf" if text else "")


SCENE = Scene(
    GREY,
    (
        thing("circle", "red", 0.7, 0.7),
        thing("circle", "blue", 0.05, 0.1, 0.1),
        thing("star", "red", 0.4, 0.4),
        thing("word", "green", 0.05, 0.6, 0.15, "STOP"),
    ),
)


def all_answers(asker: Asker, language: Language, scene: Scene = SCENE) -> dict[str, str]:
    turns = (asker(Random(i), scene, language) for i in range(300))
    return {turn.question: turn.answer for turn in turns if turn is not None}


def test_boxes_are_told_in_steps() -> None:
    assert box_text((0.1234, 0.0, 0.9999, 0.555)) == "<box>(120,0),(990,560)</box>"


@pytest.mark.parametrize(
    ("asker", "language", "question", "answer"),
    [
        (
            questions.ask_caption,
            EN,
            "Describe the picture.",
            'A blue circle, the word "STOP", a red star and a red circle.',
        ),
        (questions.ask_caption, ZH, "描述这张图片。", "图中有蓝色圆形、文字“STOP”、红色五角星、红色圆形。"),
        (
            questions.ask_grounding,
            EN,
            "Where is the circle?",
            "<ref>circle</ref><box>(50,100),(150,200)</box><box>(700,700),(900,900)</box>",
        ),
        (questions.ask_grounding, EN, "Find the red star.", "<ref>red star</ref><box>(400,400),(600,600)</box>"),
        (questions.ask_grounding, EN, "<ref>blue shape</ref>", "<ref>blue shape</ref><box>(50,100),(150,200)</box>"),
        (questions.ask_grounding, ZH, "框出图中文字“STOP”的位置", "<ref>文字“STOP”</ref><box>(50,600),(200,750)</box>"),
        (questions.ask_count, EN, "How many shapes are there?", "There are 3 shapes."),
        (questions.ask_count, EN, "How many stars are there?", "There is 1 star."),
        (questions.ask_count, ZH, "图中有几个红色的形状？", "有2个红色的形状。"),
        (questions.ask_colour, EN, "What colour is the star?", "Red."),
        (questions.ask_shape, ZH, "蓝色的是什么形状？", "圆形。"),
        (questions.ask_reading, EN, "Read the text.", "STOP"),
        (relations.ask_relation, EN, "Is the red star to the left of the red circle?", "Yes."),
        (relations.ask_relation, EN, "Is the red star below the red circle?", "No."),
        (relations.ask_relation, ZH, "红色五角星和红色圆形哪个更靠上？", "红色五角星。"),
        (relations.ask_size, EN, "Which is larger, the blue circle or the red star?", "The red star."),
        (relations.ask_size, ZH, "蓝色圆形和红色五角星哪个更小？", "蓝色圆形。"),
        (relations.ask_position, EN, "In which part of the picture is the red circle?", "At the bottom right."),
        (relations.ask_position, ZH, "红色五角星在图中的哪个方位？", "在中间。"),
    ],
)
def test_answers(asker: Asker, language: Language, question: str, answer: str) -> None:
    assert all_answers(asker, language)[question] == answer


def test_two_of_a_kind_are_not_asked_for_as_one() -> None:
    assert not any("circle?" in question for question in all_answers(questions.ask_colour, EN))
    assert not any("red" in question for question in all_answers(questions.ask_shape, EN))


def test_what_is_absent_is_not_there() -> None:
    for question, answer in all_answers(questions.ask_absent, EN).items():
        phrase = re.fullmatch(r"There is no (.*) in the picture\.", answer)
        assert phrase is not None
        assert phrase[1] in question
        assert phrase[1] not in ("circle", "star", "red circle", "blue circle", "red star", "red shape", "blue shape")


def test_the_box_in_a_question_is_near_its_thing() -> None:
    for question, answer in all_answers(questions.ask_region, EN).items():
        (box,) = boxes_in(question)
        nearest = min(SCENE.things, key=lambda t: abs(t.box[0] - box[0]) + abs(t.box[1] - box[1]))
        assert (nearest.text or f"{nearest.colour} {nearest.shape}") in answer


def test_counting() -> None:
    assert count_answer(Phrase("cross", None), 2, EN) == "There are 2 crosses."
    assert count_answer(Phrase(None, "red"), 0, EN) == "There are no red shapes in the picture."
    assert count_answer(Phrase("cross", "red"), 0, ZH) == "图中没有红色十字。"


def test_comparisons() -> None:
    other = Scene(GREY, (thing("square", "red", 0.1, 0.1),))
    said = {}
    for i in range(400):
        turn = ask_comparison(Random(i), (SCENE, other), EN)
        said[turn.question] = turn.answer
    assert said["In which picture is the square?"] == "In picture 2."
    assert said["Which picture has more shapes?"] == "Picture 1."
    assert said["Do both pictures show the same things?"] == "No."
    assert said["In picture 2: What colour is the square?"] == "Red."
    same = (ask_comparison(Random(i), (SCENE, SCENE), ZH) for i in range(100))
    assert {turn.question: turn.answer for turn in same}["两张图里的东西一样吗？"] == "一样。"


def test_every_scene_can_be_asked_about() -> None:
    rng = Random(3)
    tasks = set()
    for _ in range(500):
        turn = ask(rng, random_scene(rng, Mix()), rng.choice(list(Language)))
        assert turn.question
        assert turn.answer
        tasks.add(turn.task)
    assert tasks == set(Task) - {Task.CAPTION, Task.GROUNDED_CAPTION, Task.COMPARISON}
