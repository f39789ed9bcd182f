"""Conversations about synthetic scenes: what the small model is trained to say, as messages and as token ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from qwenvl.chat import DEFAULT_SYSTEM, Image, Message, Part, Rendered, Vocabulary, render_chatml, render_raw
from qwenvl.demo.comparisons import ask_comparison
from qwenvl.demo.phrases import Language
from qwenvl.demo.questions import as_typed, ask, ask_caption, ask_grounded_caption, ask_grounding
from qwenvl.demo.scenes import Mix, Scene, Thing, random_scene
from qwenvl.demo.turns import Task, Turn

SYSTEMS = (
    "You are a helpful assistant that looks at pictures.",
    "You are an AI assistant. Answer briefly.",
    "你是一个有用的助手。",
)
GREETINGS = (
    ("Hello!", "Hello! Show me a picture of shapes or words, and ask me about it."),
    (
        "Hi, who are you?",
        "I am a small Qwen-VL. I look at pictures of shapes and words and answer questions about them.",
    ),
    ("What can you do?", "I find, count, name and compare coloured shapes, and I read short words."),
    ("Thank you!", "You are welcome."),
    ("你好", "你好！请给我看一张有形状或文字的图片，然后提问。"),
    ("你是谁？", "我是一个小型的Qwen-VL，可以回答关于形状和文字图片的问题。"),
    ("你能做什么？", "我可以找到、数出、说出和比较彩色的形状，也能读短的文字。"),
    ("谢谢", "不客气。"),
    ("What is in the picture?", "I do not see a picture. Please send one."),
    ("图中有什么？", "我没有看到图片，请发一张。"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation, the scenes of its pictures, in order, and the object that each answer is read off, if any."""

    messages: tuple[Message[int], ...]
    scenes: tuple[Scene, ...]
    seen: tuple[Thing | None, ...] = ()
    raw: bool = False


def random_sample(rng: Random, mix: Mix, turns: int) -> Sample:
    """A conversation of about so many questions: most about one picture, some about several, a few without any."""
    kind = rng.random()
    if kind < 0.02:
        return Sample(tuple(_greeting(rng)), ())
    if kind < 0.07:
        return _raw_sample(rng, mix)
    language = Language.CHINESE if rng.random() < 0.5 else Language.ENGLISH
    if kind < 0.30:
        return _comparison(rng, mix, turns, language)
    if kind < 0.36:
        return _two_pictures_apart(rng, mix, turns, language)
    scene = random_scene(rng, mix)
    asked = questions_about(rng, scene, turns, language)
    return Sample(_conversation(rng, [0], asked), (scene,), _seen(asked))


def _greeting(rng: Random) -> Iterator[Message[int]]:
    question, answer = rng.choice(GREETINGS)
    yield Message.of("user", question)
    yield Message.of("assistant", answer)


def questions_about(rng: Random, scene: Scene, turns: int, language: Language) -> list[Turn]:
    """At most so many, none of which gives away the answer to a later one."""
    asked: list[Turn] = []
    # An answer that an earlier turn holds would be copied, not seen.
    known: set[object] = set()
    for _ in range(turns):
        # Languages are mixed within some conversations: the answer follows the question.
        spoken = language if rng.random() < 0.8 else rng.choice(list(Language))
        turn = ask(rng, scene, spoken)
        learned = {turn.answer if turn.task is not Task.RELATION else turn.question, *turn.targets}
        if not known & learned:
            known |= learned
            asked.append(turn)
    # Last, since all other answers could be copied from it; alone, since that is how it is asked.
    if rng.random() < 0.35:
        caption = ask_caption if rng.random() < 0.4 else ask_grounded_caption
        alone = rng.random() < 0.3
        asked = [*([] if alone else asked[:-3]), caption(rng, scene, language)]
    return asked


def _raw_sample(rng: Random, mix: Mix) -> Sample:
    scene = random_scene(rng, mix)
    language = rng.choice(list(Language))
    turn = rng.choice((ask_caption, ask_grounded_caption, ask_grounding, ask))(rng, scene, language) or ask_caption(
        rng, scene, language
    )
    question = as_typed(rng, turn).question
    if turn.task not in (Task.CAPTION, Task.GROUNDED_CAPTION) and not question.startswith("<ref>"):
        question = f"Question: {question} Answer:"
    return Sample(
        (Message.of("user", Image(0), question), Message.of("assistant", turn.answer)),
        (scene,),
        _seen([turn]),
        raw=True,
    )


def _comparison(rng: Random, mix: Mix, turns: int, language: Language) -> Sample:
    # Fewer objects than in a picture of its own: it is the comparing that is to be learned.
    mix = replace(mix, most_objects=min(mix.most_objects, 4), words=mix.words / 2)
    scenes = [random_scene(rng, mix) for _ in range(2 if rng.random() < 0.8 else 3)]
    if len(scenes) == 2 and rng.random() < 0.4:
        scenes[1] = _variant(rng, scenes[0], mix)
    asked = [ask_comparison(rng, scenes, language) for _ in range(max(1, turns - 3))]
    if rng.random() < 0.5 and (turn := ask_grounding(rng, scenes[-1], language)):
        # Boxes refer to the latest picture.
        asked.append(turn)
    return Sample(_conversation(rng, list(range(len(scenes))), asked), tuple(scenes), _seen(asked))


def _variant(rng: Random, scene: Scene, mix: Mix) -> Scene:
    """The same things elsewhere, sometimes with one of them changed."""
    other = random_scene(rng, mix)
    things = list(scene.things)
    if rng.random() < 0.5:
        index = rng.randrange(len(things))
        if not things[index].text:
            others = [thing for thing in other.things if not thing.text]
            if others:
                things[index] = replace(things[index], shape=others[0].shape)
    mirrored = [
        replace(thing, box=(1 - thing.box[2], thing.box[1], 1 - thing.box[0], thing.box[3])) for thing in things
    ]
    return replace(scene, things=tuple(mirrored))


def _two_pictures_apart(rng: Random, mix: Mix, turns: int, language: Language) -> Sample:
    scenes = (random_scene(rng, mix), random_scene(rng, mix))
    messages: list[Message[int]] = []
    turns_asked: list[Turn] = []
    for index, scene in enumerate(scenes):
        asked = questions_about(rng, scene, max(1, turns // 2 - 1), language)
        turns_asked += asked
        messages += _conversation(rng, [index], asked)
    said = tuple(message for i, message in enumerate(messages) if i == 0 or message.role != "system")
    return Sample(said, scenes, _seen(turns_asked))


def _conversation(rng: Random, images: Sequence[int], asked: Sequence[Turn]) -> tuple[Message[int], ...]:
    system = DEFAULT_SYSTEM if rng.random() < 0.92 else rng.choice(SYSTEMS)
    messages: list[Message[int]] = [Message.of("system", system)]
    for i, turn in enumerate(asked):
        parts: list[str | Part[int]] = [Image(image) for image in images] if i == 0 else []
        messages.append(Message.of("user", *parts, as_typed(rng, turn).question))
        messages.append(Message.of("assistant", turn.answer))
    return tuple(messages)


def _seen(asked: Sequence[Turn]) -> tuple[Thing | None, ...]:
    return tuple(turn.seen for turn in asked)


def render_sample(sample: Sample, vocabulary: Vocabulary) -> Rendered:
    """Token ids and what of them is to be learned: each answer and the token that ends it."""
    if not sample.raw:
        return render_chatml(sample.messages, vocabulary, add_generation_prompt=False)
    prompt = render_raw(sample.messages[:1], vocabulary)
    answer = render_raw(sample.messages[1:], vocabulary).token_ids
    token_ids = (*prompt.token_ids, *answer, vocabulary.end_of_text)
    return Rendered(token_ids, ((len(prompt.token_ids), len(token_ids)),), prompt.n_images)
