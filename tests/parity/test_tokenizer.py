"""Ids of the original tokenizer with the released vocabulary, in both modes, and of a ChatML prompt."""

from typing import Any

import pytest

from qwenvl.chat import Message, Vocabulary, render
from tests.vocabularies import GOLDEN, PUBLISHED


@pytest.fixture(scope="module")
def published() -> Vocabulary:
    return Vocabulary.from_file(PUBLISHED)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"][:20])
def test_golden_ids(published: Vocabulary, case: dict[str, Any]) -> None:
    assert published.encode_ordinary(case["text"]) == case["ids_no_special"]
    assert published.encode_text(case["text"]) == case["ids_grounding_tags"]
    assert published.decode(case["ids_no_special"]) == case["decoded"]
    assert published.decode(case["ids_grounding_tags"]) == case["decoded"]


def test_golden_chatml(published: Vocabulary) -> None:
    golden = GOLDEN["chatml"]
    messages = [Message.of("system", golden["system"])]
    for query, answer in golden["history"]:
        messages += [Message.of("user", query), Message.of("assistant", answer)]
    messages.append(Message.of("user", golden["query"]))
    assert list(render(messages, published).token_ids) == golden["ids"]
