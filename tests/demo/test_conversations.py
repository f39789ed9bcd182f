from random import Random

import pytest

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.demo import built_in_checkpoint
from qwenvl.demo.conversations import random_sample, render_sample
from qwenvl.demo.scenes import Mix
from qwenvl.finetuning.samples import IGNORED_LABEL, expand_images


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_file(built_in_checkpoint() / VOCABULARY_FILE)


def text_of(message: object) -> str:
    return "".join(part.text for part in message.parts if hasattr(part, "text"))  # type: ignore[attr-defined]


def test_answers_and_their_ends_are_learned_and_nothing_else(vocabulary: Vocabulary) -> None:
    rng = Random(0)
    for _ in range(200):
        sample = random_sample(rng, Mix(), 6)
        rendered = render_sample(sample, vocabulary)
        answers = [text_of(message) for message in sample.messages if message.role == "assistant"]
        learned = [rendered.token_ids[start:end] for start, end in rendered.label_spans]
        end = vocabulary.end_of_text if sample.raw else vocabulary.im_end
        assert [vocabulary.decode(span[:-1]) for span in learned] == answers
        assert all(span[-1] == end for span in learned)
        assert rendered.n_images == len(sample.scenes)


def test_images_take_their_positions(vocabulary: Vocabulary) -> None:
    sample = next(s for i in range(99) if len((s := random_sample(Random(i), Mix(), 4)).scenes) == 2)
    rendered = render_sample(sample, vocabulary)
    ids, labels = expand_images(rendered, 64, vocabulary.image_start, vocabulary.image_pad)
    assert len(ids) == len(labels) == rendered.length(64)
    assert ids.count(vocabulary.image_pad) == 128
    first = ids.index(vocabulary.image_start)
    assert ids[first + 65] == vocabulary.image_end
    assert all(label in (IGNORED_LABEL, token_id) for token_id, label in zip(ids, labels, strict=True))


def test_letters_are_tokens_of_their_own(vocabulary: Vocabulary) -> None:
    for word in ("OPEN", "QZXKW", "AB"):
        assert len(vocabulary.encode_text(word)) == len(word)
