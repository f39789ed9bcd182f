"""Training samples of the small model: conversations about synthetic scenes, as token ids, labels and pixels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from qwenvl.chat import DEFAULT_SYSTEM, Image, Message, Part, Rendered, Vocabulary, render_chatml, render_raw
from qwenvl.demo.comparisons import ask_comparison
from qwenvl.demo.guided_attention import Look, covered, looks
from qwenvl.demo.phrases import Language
from qwenvl.demo.questions import Task, Turn, as_typed, ask, ask_caption, ask_grounded_caption, ask_grounding
from qwenvl.demo.scenes import COLOURS, LETTERS, SHAPES, Mix, Scene, Thing, draw, patch_labels, random_scene, word_edges
from qwenvl.finetuning.samples import IGNORED_LABEL, expand_images
from qwenvl.model_executor.config import VisionConfig
from qwenvl.model_executor.image_processor import resize_image

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

SIGNS = LETTERS + "0123456789"

BATCHES_SORTED = 8
"""Batches whose samples are sorted by length together."""

PADDED_TO = 32
"""Lengths of batches are multiples of this: few shapes to compile for."""


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


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples become tensors: what of the model's configuration they depend on, and the sequence length."""

    vision: VisionConfig
    length: int


def scene_pixels(rng: Random, scene: Scene, size: int) -> Tensor:
    """Pixels (3, size, size), some drawn larger and made smaller as a user's picture is."""
    drawn = size if rng.random() < 0.75 else rng.choice((size * 3 // 2, size * 2))
    return resize_image(draw(scene, drawn), size)


def patch_targets(scene: Scene, grid: int) -> tuple[Tensor, Tensor]:
    """What is at each patch: (grid², 3) indices of shape, colour and sign, and the box (grid², 4) around it.

    Index 0 is ground; of shapes, the last is a word.
    """
    kinds = torch.zeros(grid * grid, 3, dtype=torch.long)
    boxes = torch.zeros(grid * grid, 4)
    for place, index in enumerate(patch_labels(scene, grid)):
        if index < 0:
            continue
        thing = scene.things[index]
        kinds[place, 0] = 1 + (len(SHAPES) if thing.text else SHAPES.index(thing.shape))
        kinds[place, 1] = 1 + list(COLOURS).index(thing.colour)
        if thing.text:
            x = ((place % grid + 0.5) / grid - thing.box[0]) / (thing.box[2] - thing.box[0])
            sign = next(
                (i for i, edge in enumerate(word_edges(thing.font, thing.text)) if x <= edge), len(thing.text) - 1
            )
            kinds[place, 2] = 1 + SIGNS.index(thing.text[sign])
        boxes[place] = torch.tensor(thing.box)
    return kinds, boxes


@dataclass(frozen=True, slots=True)
class _Prepared:
    sample: Sample
    token_ids: list[int]
    labels: list[int]
    looks: list[Look]


class SceneSamples(IterableDataset[dict[str, Tensor]]):
    """Endless batches of samples that fit ``layout``; whole batches, so that workers do all the work.

    Samples of about the same length share a batch, which is padded on the right to its longest.

    Args:
        vocabulary_file: ``qwen.tiktoken``.
        layout: what samples become.
        batch_size: samples of a batch.
        seed: of the samples; each worker draws its own.
        turns: questions of a conversation, about.
    """

    def __init__(self, vocabulary_file: str, layout: Layout, batch_size: int, seed: int, turns: int = 8) -> None:
        self.vocabulary_file = vocabulary_file
        self.layout = layout
        self.batch_size = batch_size
        self.seed = seed
        self.turns = turns

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        rng = Random(f"{self.seed} {worker.id if worker else 0}")
        vocabulary = Vocabulary.from_file(self.vocabulary_file)
        while True:
            pool = [self._sample(rng, vocabulary) for _ in range(self.batch_size * BATCHES_SORTED)]
            pool.sort(key=lambda prepared: len(prepared.token_ids))
            starts = list(range(0, len(pool), self.batch_size))
            rng.shuffle(starts)
            for start in starts:
                yield self._batch(rng, vocabulary, pool[start : start + self.batch_size])

    def _sample(self, rng: Random, vocabulary: Vocabulary) -> _Prepared:
        vision = self.layout.vision
        while True:
            sample = random_sample(rng, Mix(most_objects=rng.choice((1, 2, 3, 4, 5, 5))), self.turns)
            rendered = render_sample(sample, vocabulary)
            if rendered.length(vision.n_queries) <= self.layout.length:
                ids, labels = expand_images(rendered, vision.n_queries, vision.image_start_id, vocabulary.image_pad)
                return _Prepared(sample, ids, labels, looks(ids, labels, sample.scenes, sample.seen, vocabulary))

    def _batch(self, rng: Random, vocabulary: Vocabulary, prepared: Sequence[_Prepared]) -> dict[str, Tensor]:
        vision = self.layout.vision
        longest = max(len(one.token_ids) for one in prepared)
        shape = (len(prepared), -(-longest // PADDED_TO) * PADDED_TO)
        input_ids = torch.full(shape, vocabulary.end_of_text)
        labels = torch.full(shape, IGNORED_LABEL)
        for row, one in enumerate(prepared):
            input_ids[row, : len(one.token_ids)] = torch.tensor(one.token_ids)
            labels[row, : len(one.labels)] = torch.tensor(one.labels)
        scenes = [scene for one in prepared for scene in one.sample.scenes]
        pixels = [scene_pixels(rng, scene, vision.image_size) for scene in scenes]
        targets = [patch_targets(scene, vision.grid) for scene in scenes]
        size = vision.image_size
        looked = [(row, look) for row, one in enumerate(prepared) for look in one.looks]
        side = math.isqrt(vision.n_queries)
        return {
            "input_ids": input_ids,
            "labels": labels,
            "pixel_values": torch.stack(pixels) if pixels else torch.empty(0, 3, size, size, dtype=torch.uint8),
            "patch_kinds": torch.stack([kinds for kinds, _ in targets]) if targets else torch.empty(0, 0, 3),
            "patch_boxes": torch.stack([boxes for _, boxes in targets]) if targets else torch.empty(0, 0, 4),
            "look_tokens": torch.tensor([(row, look.position, look.image) for row, look in looked]).view(-1, 3).long(),
            "look_places": torch.stack([covered(look.box, side) for _, look in looked])
            if looked
            else torch.empty(0, vision.n_queries, dtype=torch.bool),
        }
