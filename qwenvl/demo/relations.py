"""Questions about where an object is, among others and in the picture, and which of two is larger."""

from random import Random

from qwenvl.demo.phrases import Language, capital, kind_of
from qwenvl.demo.scenes import Scene, Thing
from qwenvl.demo.turns import Task, Turn

POSITIONS = {
    (0, 0): ("top left", "左上角"),
    (1, 0): ("top", "上方"),
    (2, 0): ("top right", "右上角"),
    (0, 1): ("left", "左侧"),
    (1, 1): ("middle", "中间"),
    (2, 1): ("right", "右侧"),
    (0, 2): ("bottom left", "左下角"),
    (1, 2): ("bottom", "下方"),
    (2, 2): ("bottom right", "右下角"),
}


def _pair(rng: Random, scene: Scene) -> tuple[Thing, Thing] | None:
    kinds = [kind_of(thing) for thing in scene.shapes]
    single = [thing for thing in scene.shapes if kinds.count(kind_of(thing)) == 1]
    if len(single) < 2:
        return None
    first, second = rng.sample(single, 2)
    return first, second


_RELATIONS = {
    # axis, sign: yes-or-no question and which-question, English and Chinese
    (0, -1): ("to the left of", "further left", "左边", "更靠左"),
    (0, 1): ("to the right of", "further right", "右边", "更靠右"),
    (1, -1): ("above", "higher up", "上方", "更靠上"),
    (1, 1): ("below", "further down", "下方", "更靠下"),
}
MIN_APART = 0.08


def ask_relation(rng: Random, scene: Scene, language: Language) -> Turn | None:
    pair = _pair(rng, scene)
    if pair is None:
        return None
    first, second = pair
    (axis, sign), texts = rng.choice(list(_RELATIONS.items()))
    apart = (first.centre[axis] - second.centre[axis]) * sign
    if abs(apart) < MIN_APART:
        return None
    a, b = (kind_of(thing).say(language) for thing in pair)
    nearer = a if apart > 0 else b
    if language is Language.CHINESE:
        if rng.random() < 0.5:
            return Turn(Task.RELATION, language, f"{a}在{b}的{texts[2]}吗？", "是的。" if apart > 0 else "不是。")
        return Turn(Task.RELATION, language, f"{a}和{b}哪个{texts[3]}？", f"{nearer}。")
    if rng.random() < 0.5:
        return Turn(Task.RELATION, language, f"Is the {a} {texts[0]} the {b}?", "Yes." if apart > 0 else "No.")
    return Turn(Task.RELATION, language, f"Which is {texts[1]}, the {a} or the {b}?", f"The {nearer}.")


def ask_size(rng: Random, scene: Scene, language: Language) -> Turn | None:
    pair = _pair(rng, scene)
    if pair is None:
        return None
    first, second = pair
    ratio = first.area / second.area
    if 1 / 1.5 < ratio < 1.5:
        return None
    a, b = (kind_of(thing).say(language) for thing in pair)
    larger = rng.random() < 0.5
    chosen = a if (ratio > 1) == larger else b
    if language is Language.CHINESE:
        return Turn(Task.SIZE, language, f"{a}和{b}哪个更{'大' if larger else '小'}？", f"{chosen}。")
    word = "larger" if larger else "smaller"
    return Turn(Task.SIZE, language, f"Which is {word}, the {a} or the {b}?", f"The {chosen}.")


def ask_position(rng: Random, scene: Scene, language: Language) -> Turn | None:
    kinds = [kind_of(thing) for thing in scene.shapes]
    single = [thing for thing in scene.shapes if kinds.count(kind_of(thing)) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    # Near a border between two parts either answer would do.
    if any(abs(value - border) < 0.03 for value in thing.centre for border in (1 / 3, 2 / 3)):
        return None
    english, chinese = POSITIONS[int(thing.centre[0] * 3), int(thing.centre[1] * 3)]
    phrase = kind_of(thing).say(language)
    if language is Language.CHINESE:
        return Turn(Task.POSITION, language, f"{phrase}在图中的哪个方位？", f"在{chinese}。", seen=thing)
    question = rng.choice(("In which part of the picture is the {}?", "Which part of the picture is the {} in?"))
    where_ = "in the middle" if english == "middle" else f"at the {english}"
    return Turn(Task.POSITION, language, question.format(phrase), f"{capital(where_)}.", seen=thing)
