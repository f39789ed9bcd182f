from types import SimpleNamespace
from typing import Any

import pytest
from vllm import SamplingParams

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.vllm_plugin.detokenizer import QWenDetokenizer
from tests.vocabularies import SMALL

VOCABULARY = Vocabulary.from_file(SMALL)


def detokenizer(**options: Any) -> QWenDetokenizer:
    return QWenDetokenizer(VOCABULARY, SimpleNamespace(sampling_params=SamplingParams(**options)))


def deltas(ids: list[int], **options: Any) -> list[str]:
    detok = detokenizer(**options)
    shown = []
    for i, token_id in enumerate(ids, start=1):
        stopped = detok.update([token_id], False) is not None
        shown.append(detok.get_next_output_text(stopped or i == len(ids), delta=True))
        if stopped:
            break
    return shown


def bytes_of(text: str) -> list[int]:
    """One token a byte: the first 256 tokens of the small vocabulary are the bytes."""
    return list(text.encode())


def test_characters_come_whole() -> None:
    assert deltas(bytes_of("a好b")) == ["a", "", "", "好", "b"]


def test_what_is_whole_is_shown_at_the_end() -> None:
    assert deltas([*bytes_of("好"), *bytes_of("好")[:2]])[-3:] == ["好", "", "�"]


def test_control_tokens_are_skipped_and_tags_kept() -> None:
    ids = VOCABULARY.encode_prompt("<|im_start|>a<ref>b</ref><|im_end|>")
    assert "".join(deltas(ids)) == "a<ref>b</ref>"
    assert "".join(deltas(ids, skip_special_tokens=False)) == "<|im_start|>a<ref>b</ref><|im_end|>"


@pytest.mark.parametrize("text", ["abc好STOPdef", "STOP", "abSTOP", "abc好STO"])
def test_stop_strings(text: str) -> None:
    shown = deltas(bytes_of(text), stop=["STOP"])
    assert "".join(shown) == text.partition("STOP")[0]


def test_nothing_follows_a_stop_string() -> None:
    detok = detokenizer(stop=["b"])
    assert detok.update([ord("a"), ord("b"), *bytes_of("好")[:2]], False) == "b"
    assert detok.get_next_output_text(True, delta=True) == "a"
