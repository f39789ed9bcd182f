"""What xgrammar knows of the vocabulary."""

import numpy as np
import pytest
import xgrammar

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.grammar import tokenizer_info
from tests.vocabularies import SMALL

VOCABULARY = Vocabulary.from_file(SMALL)
PADDED = 768


@pytest.fixture(scope="module")
def compiler() -> xgrammar.GrammarCompiler:
    return xgrammar.GrammarCompiler(tokenizer_info(VOCABULARY, PADDED))


def allowed(matcher: xgrammar.GrammarMatcher) -> set[int]:
    mask = xgrammar.allocate_token_bitmask(1, PADDED)
    matcher.fill_next_token_bitmask(mask)
    return set(np.flatnonzero(np.unpackbits(mask.numpy().view(np.uint8), bitorder="little")).tolist())


def test_a_free_string_takes_text_and_no_control_token(compiler: xgrammar.GrammarCompiler) -> None:
    matcher = xgrammar.GrammarMatcher(compiler.compile_regex(r"(.|\n)*"))
    tags = {VOCABULARY.special_ids[tag] for tag in ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")}
    let_through = allowed(matcher)
    assert tags <= let_through
    assert let_through & VOCABULARY.control_ids == set(VOCABULARY.stop_ids)
    assert max(let_through) < VOCABULARY.size
    assert {ord("a"), ord("\n"), 0xE4} <= let_through  # ends of a character come only after its beginning
    assert 0x80 not in let_through


def test_characters_in_pieces(compiler: xgrammar.GrammarCompiler) -> None:
    matcher = xgrammar.GrammarMatcher(compiler.compile_regex("😀"))
    for byte in "😀".encode():
        assert byte in allowed(matcher)
        assert matcher.accept_token(byte)
    assert allowed(matcher) == set(VOCABULARY.stop_ids)


def test_a_control_tokens_name_is_spelled_out(compiler: xgrammar.GrammarCompiler) -> None:
    matcher = xgrammar.GrammarMatcher(compiler.compile_regex(r"<\|im_start\|>"))
    assert VOCABULARY.im_start not in allowed(matcher)
    assert ord("<") in allowed(matcher)
