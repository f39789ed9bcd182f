"""Questions about two or three pictures together."""

from collections.abc import Sequence
from random import Random

from qwenvl.demo.phrases import Language, Phrase
from qwenvl.demo.questions import ask_colour, ask_count, ask_reading, ask_shape, phrases_of
from qwenvl.demo.scenes import Scene
from qwenvl.demo.turns import Task, Turn


def ask_comparison(rng: Random, scenes: Sequence[Scene], language: Language) -> Turn:
    """A question about two or three pictures together."""
    askers = [_ask_which_holds, _ask_which_has_more, _ask_same, _ask_one_of]
    while True:
        turn = rng.choice(askers)(rng, scenes, language)
        if turn is not None:
            return turn


def picture(number: int, language: Language) -> str:
    return f"picture {number}" if language is Language.ENGLISH else f"图{number}"


def _ask_which_holds(rng: Random, scenes: Sequence[Scene], language: Language) -> Turn | None:
    index = rng.randrange(len(scenes))
    if not scenes[index].shapes:
        return None
    phrase = phrases_of(rng, scenes[index])
    if sum(bool(phrase.find(scene)) for scene in scenes) != 1:
        return None
    named, seen = phrase.say(language), phrase.find(scenes[index])[0]
    if language is Language.CHINESE:
        return Turn(Task.COMPARISON, language, f"{named}在哪张图里？", f"在图{index + 1}里。", seen=seen)
    question = rng.choice(("In which picture is the {}?", "Which picture shows the {}?")).format(named)
    return Turn(Task.COMPARISON, language, question, f"In picture {index + 1}.", seen=seen)


def _ask_which_has_more(rng: Random, scenes: Sequence[Scene], language: Language) -> Turn | None:
    phrase = Phrase(None, None)
    if (shapes := [thing for scene in scenes for thing in scene.shapes]) and rng.random() < 0.5:
        thing = rng.choice(shapes)
        phrase = rng.choice((Phrase(thing.shape, None), Phrase(None, thing.colour)))
    counts = [len(phrase.find(scene)) for scene in scenes]
    most = counts.index(max(counts))
    if counts.count(counts[most]) > 1:
        return None
    if language is Language.CHINESE:
        named = phrase.say(language)
        return Turn(Task.COMPARISON, language, f"哪张图里的{named}最多？", f"图{most + 1}。")
    word = "more" if len(scenes) == 2 else "the most"
    question = f"Which picture has {word} {phrase.say(language, 2)}?"
    return Turn(Task.COMPARISON, language, question, f"Picture {most + 1}.")


def _ask_same(rng: Random, scenes: Sequence[Scene], language: Language) -> Turn | None:
    if len(scenes) != 2:
        return None
    contents = [sorted((t.shape, t.colour, t.text) for t in scene.things) for scene in scenes]
    same = contents[0] == contents[1]
    if language is Language.CHINESE:
        question = rng.choice(("两张图里的东西一样吗？", "图1和图2的内容相同吗？"))
        return Turn(Task.COMPARISON, language, question, "一样。" if same else "不一样。")
    question = rng.choice(("Do both pictures show the same things?", "Are the same things in both pictures?"))
    return Turn(Task.COMPARISON, language, question, "Yes." if same else "No.")


def _ask_one_of(rng: Random, scenes: Sequence[Scene], language: Language) -> Turn | None:
    index = rng.randrange(len(scenes))
    asker = rng.choice((ask_count, ask_colour, ask_shape, ask_reading))
    turn: Turn | None = asker(rng, scenes[index], language)
    if turn is None:
        return None
    named = picture(index + 1, language)
    question = f"In {named}: {turn.question}" if language is Language.ENGLISH else f"{named}中：{turn.question}"
    return Turn(Task.COMPARISON, language, question, turn.answer, seen=turn.seen)
