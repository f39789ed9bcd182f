"""Questions about synthetic scenes and their right answers, in English and Chinese."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from qwenvl.demo.phrases import (
    CHINESE_NAMES,
    Language,
    Phrase,
    article,
    box_text,
    capital,
    grounded,
    in_order,
    kind_of,
    listed,
    name_of,
)
from qwenvl.demo.relations import ask_position, ask_relation, ask_size
from qwenvl.demo.scenes import COLOURS, NEW_SHAPES, SHAPES, Scene, Thing
from qwenvl.demo.turns import Asker, Task, Turn


def ask_caption(rng: Random, scene: Scene, language: Language) -> Turn:
    questions = {
        Language.ENGLISH: (
            "Describe the picture.",
            "What is in the picture?",
            "What is this?",
            "What do you see?",
            "Generate the caption in English:",
        ),
        Language.CHINESE: ("描述这张图片。", "图中有什么？", "这是什么？", "这张图里有哪些东西？"),
    }
    names = listed([name_of(thing, language) for thing in in_order(scene)], language)
    answer = capital(names) + "." if language is Language.ENGLISH else f"图中有{names}。"
    return Turn(Task.CAPTION, language, rng.choice(questions[language]), answer)


def ask_grounded_caption(rng: Random, scene: Scene, language: Language) -> Turn:
    questions = {
        Language.ENGLISH: (
            "Generate the caption in English with grounding:",
            "Describe the picture with boxes.",
            "Detect everything in the picture.",
        ),
        Language.CHINESE: ("描述这张图片并框出每个物体。", "框出图中所有的物体。", "检测图中的所有物体。"),
    }
    things = in_order(scene)
    items = [grounded(name_of(thing, language), [thing]) for thing in things]
    answer = listed(items, language)
    return Turn(Task.GROUNDED_CAPTION, language, rng.choice(questions[language]), answer, tuple(things))


_WHERE = {
    Language.ENGLISH: (
        "Where is the {}?",
        "Find the {}.",
        "Output the box of the {}.",
        "Give the bounding box of the {}.",
        "Detect the {}.",
        "<ref>{}</ref>",
    ),
    Language.CHINESE: ("框出图中{}的位置", "输出“{}”的检测框", "{}在哪里？", "找出{}。", "<ref>{}</ref>"),
}


def where(rng: Random, phrase: str, language: Language) -> str:
    return rng.choice(_WHERE[language]).format(phrase)


def phrases_of(rng: Random, scene: Scene) -> Phrase:
    """A way to name one of the shapes of a scene, and maybe more of them with it."""
    thing = rng.choice(scene.shapes)
    return rng.choice((kind_of(thing), kind_of(thing), Phrase(thing.shape, None), Phrase(None, thing.colour)))


def ask_grounding(rng: Random, scene: Scene, language: Language) -> Turn | None:
    if scene.words and (not scene.shapes or rng.random() < 0.3):
        thing = rng.choice(scene.words)
        named = f'word "{thing.text}"' if language is Language.ENGLISH else f"文字“{thing.text}”"
        return Turn(Task.GROUNDING, language, where(rng, named, language), grounded(named, [thing]), (thing,))
    if not scene.shapes:
        return None
    phrase = phrases_of(rng, scene)
    things = phrase.find(scene)
    named = phrase.say(language)
    return Turn(Task.GROUNDING, language, where(rng, named, language), grounded(named, things), tuple(things))


def absent_phrase(rng: Random, scene: Scene) -> Phrase:
    """A shape that the scene does not hold, by half sharing its shape or its colour with one that it does."""
    while True:
        phrase = Phrase(rng.choice(SHAPES), rng.choice(tuple(COLOURS)))
        if scene.shapes and rng.random() < 0.6:
            thing = rng.choice(scene.shapes)
            phrase = rng.choice((Phrase(thing.shape, phrase.colour), Phrase(phrase.shape, thing.colour)))
        elif rng.random() < 0.3:
            phrase = rng.choice((Phrase(phrase.shape, None), Phrase(None, phrase.colour)))
        if not phrase.find(scene):
            return phrase


def none_of(phrase: str, language: Language) -> str:
    return f"There is no {phrase} in the picture." if language is Language.ENGLISH else f"图中没有{phrase}。"


def ask_absent(rng: Random, scene: Scene, language: Language) -> Turn:
    phrase = absent_phrase(rng, scene).say(language)
    return Turn(Task.ABSENT, language, where(rng, phrase, language), none_of(phrase, language))


def ask_unheard_of(rng: Random, scene: Scene, language: Language) -> Turn:
    """Where a shape is that no training picture holds: the word is known, so that a lesson has only the sight to teach.

    An output row that was never right is pushed so far down that no adapter of the layers before it reaches it.
    """
    while True:
        phrase = Phrase(rng.choice(NEW_SHAPES), rng.choice((None, *COLOURS)))
        if not phrase.find(scene):
            break
    named = phrase.say(language)
    return Turn(Task.ABSENT, language, where(rng, named, language), none_of(named, language))


def ask_region(rng: Random, scene: Scene, language: Language) -> Turn:
    thing = rng.choice(scene.things)
    x1, y1, x2, y2 = thing.box
    wide, high = (x2 - x1) * 0.08, (y2 - y1) * 0.08
    loose = (
        x1 + rng.uniform(-wide, wide),
        y1 + rng.uniform(-high, high),
        x2 + rng.uniform(-wide, wide),
        y2 + rng.uniform(-high, high),
    )
    questions = {
        Language.ENGLISH: ("What is in {}?", "What is this? {}", "Describe {}."),
        Language.CHINESE: ("{}里是什么？", "这是什么？{}", "描述{}。"),
    }
    question = rng.choice(questions[language]).format(box_text(loose))
    name = name_of(thing, language)
    answer = capital(name) + "." if language is Language.ENGLISH else f"{name}。"
    return Turn(Task.REGION, language, question, answer, (thing,))


def count_answer(phrase: Phrase, count: int, language: Language) -> str:
    if language is Language.CHINESE:
        return f"有{count}个{phrase.say(language)}。" if count else none_of(phrase.say(language), language)
    if count == 0:
        return f"There are no {phrase.say(language, 2)} in the picture."
    return f"There {'is' if count == 1 else 'are'} {count} {phrase.say(language, count)}."


def ask_count(rng: Random, scene: Scene, language: Language) -> Turn:
    if not scene.shapes or rng.random() < 0.12:
        phrase = absent_phrase(rng, scene)
    else:
        thing = rng.choice(scene.shapes)
        phrases = (Phrase(None, None), Phrase(thing.shape, None), Phrase(None, thing.colour), kind_of(thing))
        phrase = rng.choices(phrases, (4, 3, 2, 1))[0]
    questions = {
        Language.ENGLISH: ("How many {} are there?", "How many {} are in the picture?", "Count the {}."),
        Language.CHINESE: ("图中有几个{}？", "有多少个{}？", "数一数图中的{}。"),
    }
    question = rng.choice(questions[language]).format(phrase.say(language, 2))
    return Turn(Task.COUNT, language, question, count_answer(phrase, len(phrase.find(scene)), language))


def _only(rng: Random, scene: Scene, of: Callable[[Thing], str]) -> Thing | None:
    """A shape that no other of the scene equals in that respect."""
    values = [of(thing) for thing in scene.shapes]
    single = [thing for thing in scene.shapes if values.count(of(thing)) == 1]
    return rng.choice(single) if single else None


def ask_colour(rng: Random, scene: Scene, language: Language) -> Turn | None:
    thing = _only(rng, scene, lambda thing: thing.shape)
    if thing is None:
        return None
    shape = Phrase(thing.shape, None).say(language)
    if language is Language.CHINESE:
        question = rng.choice(("{}是什么颜色？", "图中的{}是什么颜色的？")).format(shape)
        return Turn(Task.COLOUR, language, question, f"{CHINESE_NAMES[thing.colour]}。", seen=thing)
    question = rng.choice(("What colour is the {}?", "What color is the {}?", "Which color does the {} have?"))
    return Turn(Task.COLOUR, language, question.format(shape), f"{capital(thing.colour)}.", seen=thing)


def ask_shape(rng: Random, scene: Scene, language: Language) -> Turn | None:
    thing = _only(rng, scene, lambda thing: thing.colour)
    if thing is None:
        return None
    if language is Language.CHINESE:
        question = rng.choice(("{}的是什么形状？", "图中{}的东西是什么形状？"))
        answer = f"{CHINESE_NAMES[thing.shape]}。"
        return Turn(Task.SHAPE, language, question.format(CHINESE_NAMES[thing.colour]), answer, seen=thing)
    question = rng.choice(("What shape is the {} one?", "What is the {} shape?", "Which shape is {}?"))
    return Turn(Task.SHAPE, language, question.format(thing.colour), f"{capital(article(thing.shape))}.", seen=thing)


def ask_reading(rng: Random, scene: Scene, language: Language) -> Turn | None:
    if not scene.words:
        if rng.random() < 0.8:
            return None
        answer = "There is no text in the picture." if language is Language.ENGLISH else "图中没有文字。"
    else:
        answer = " ".join(thing.text for thing in in_order(scene) if thing.text)
    questions = {
        Language.ENGLISH: ("What does the text say?", "Read the text.", "What is written in the picture?"),
        Language.CHINESE: ("图中写的是什么？", "读出图中的文字。", "图片上的文字是什么？"),
    }
    return Turn(Task.READING, language, rng.choice(questions[language]), answer)


ASKERS: tuple[tuple[Asker, float], ...] = (
    (ask_grounding, 5.0),
    (ask_absent, 1.6),
    (ask_unheard_of, 0.7),
    (ask_region, 1.6),
    (ask_count, 7.0),
    (ask_colour, 1.2),
    (ask_shape, 1.2),
    (ask_reading, 4.0),
    (ask_relation, 3.0),
    (ask_size, 1.6),
    (ask_position, 0.7),
)


def as_typed(rng: Random, turn: Turn) -> Turn:
    """The question in one of the ways people write it: small letters, another word or mark, or none at the end."""
    question = turn.question
    if rng.random() < 0.2:
        question = question.replace("the picture", rng.choice(("this picture", "the image", "this image")))
    if rng.random() < 0.15:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.15:
        question = question.replace("？", "?").replace("。", ".")
    if rng.random() < 0.1:
        question = question.rstrip("。？.?")
    return replace(turn, question=question)


def ask(rng: Random, scene: Scene, language: Language) -> Turn:
    """A question of any kind but captions, which would give away the answers to all others."""
    askers, weights = zip(*ASKERS, strict=True)
    while True:
        asker = rng.choices(askers, weights)[0]
        turn: Turn | None = asker(rng, scene, language)
        # Most things are there once, and a count that says so is right most of the time. Few are left out: where many
        # were, the model took one thing for two.
        is_dull = turn is not None and turn.task is Task.COUNT and "1" in turn.answer and rng.random() < 0.2
        if turn is not None and not is_dull:
            return turn
