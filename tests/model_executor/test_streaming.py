import threading
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import pytest
import torch

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.streaming import growing_text, stream_tokens
from tests.vocabularies import SMALL


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_file(SMALL)


def test_tokens_without_the_prompt() -> None:
    def generate(streamer: Any) -> None:
        streamer.put(torch.tensor([[1, 2, 3]]))
        streamer.put(torch.tensor([4]))
        streamer.put(torch.tensor([5, 6]))
        streamer.end()

    assert list(stream_tokens(generate)) == [4, 5, 6]


NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


def test_the_thread_is_as_the_reader_s() -> None:
    seen: list[object] = []

    def generate(streamer: Any) -> None:
        seen.extend([torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), NAME.get()])
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)

    token = NAME.set("reader")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert list(stream_tokens(generate)) == []
    assert seen == [True, torch.bfloat16, "reader", torch.bfloat16]
    seen.clear()
    NAME.reset(token)
    assert list(stream_tokens(generate)) == []
    assert (seen[0], *seen[2:]) == (False, "nobody", torch.float32)


def test_an_error_comes_after_what_was_said() -> None:
    def generate(streamer: Any) -> None:
        streamer.put(torch.tensor([[1]]))
        streamer.put(torch.tensor([4]))
        raise RuntimeError("out of memory")

    tokens = stream_tokens(generate)
    assert next(tokens) == 4
    with pytest.raises(RuntimeError, match="out of memory"):
        next(tokens)


def test_closing_ends_the_thread() -> None:
    def generate(streamer: Any) -> None:
        streamer.put(torch.tensor([[1]]))
        while True:
            streamer.put(torch.tensor([4]))

    before = threading.active_count()
    tokens = stream_tokens(generate)
    assert [next(tokens), next(tokens)] == [4, 4]
    tokens.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_nothing_runs_before_the_first_step() -> None:
    before = threading.active_count()
    stream_tokens(lambda streamer: streamer.put(torch.tensor([[1]])))
    assert threading.active_count() == before


def test_whole_characters(vocabulary: Vocabulary) -> None:
    said = " 图 a🙂 <ref>b</ref> "
    ids = [vocabulary.im_start, *(vocabulary.encode_ordinary(bytes([0x41]).decode())), *byte_ids(vocabulary, said)]
    texts = list(growing_text(iter(ids), vocabulary))
    assert texts[-1] == f"A{said}".strip()
    assert not any("\ufffd" in text for text in texts)
    assert all(b.startswith(a) and len(b) > len(a) for a, b in pairwise(texts))


def byte_ids(vocabulary: Vocabulary, text: str) -> Iterator[int]:
    """A token for each byte, so that characters are cut anywhere."""
    ids = {vocabulary.token_bytes(i): i for i in range(256)}
    return iter([ids[bytes([byte])] for byte in text.encode()])


def test_the_same_as_at_once(vocabulary: Vocabulary) -> None:
    """Broken UTF-8 too, within the text and at its end."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        ids = torch.randint(0, vocabulary.size, (12,), generator=generator).tolist()
        texts = list(growing_text(iter(ids), vocabulary)) or [""]
        assert texts[-1] == vocabulary.decode(ids, skip_control=True).strip()


def test_an_answer_of_nothing(vocabulary: Vocabulary) -> None:
    assert list(growing_text(iter([vocabulary.im_end]), vocabulary)) == []
