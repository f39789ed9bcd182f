import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.chat.vocabulary import CONTROL_TOKENS, GROUNDING_TAGS, SPECIAL_TOKENS, Vocabulary
from qwenvl.errors import CheckpointError, UserError
from tests.vocabularies import GOLDEN, PUBLISHED, SMALL


@pytest.fixture(scope="module")
def published() -> Vocabulary:
    """The released vocabulary, from a package that ships it."""
    return Vocabulary.from_file(PUBLISHED)


@pytest.fixture(scope="module")
def small() -> Vocabulary:
    return Vocabulary.from_file(SMALL)


def test_special_ids(published: Vocabulary, small: Vocabulary) -> None:
    assert GOLDEN["special"].items() <= published.special_ids.items()
    assert len(published) == GOLDEN["n_vocab"]
    assert small.special_ids == {token: 512 + i for i, token in enumerate(SPECIAL_TOKENS)}


def test_no_text_becomes_a_control_token(published: Vocabulary) -> None:
    text = "".join(SPECIAL_TOKENS)
    ids = published.encode_text(text)
    assert not published.control_ids & set(ids)
    assert [published.decode([i]) for i in ids if i >= published.n_ranks] == list(GROUNDING_TAGS)
    assert published.encode_prompt(text) == list(range(published.n_ranks, len(published)))


@given(st.text())
def test_text_survives(text: str) -> None:
    vocabulary = Vocabulary.from_file(SMALL)
    assert vocabulary.decode(vocabulary.encode_text(text)) == unicodedata.normalize("NFC", text)


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS[:4], *CONTROL_TOKENS[-3:], "<img", "<|im_", "start|>", "a", "\n"])))
def test_no_combination_makes_a_control_token(pieces: list[str]) -> None:
    vocabulary = Vocabulary.from_file(SMALL)
    assert not vocabulary.control_ids & set(vocabulary.encode_text("".join(pieces)))


def test_decode_skips_control_tokens_and_keeps_tags(published: Vocabulary) -> None:
    ids = published.encode_prompt("<|im_start|>a <ref>cat</ref><box>(1,2),(3,4)</box><|im_end|><|endoftext|>")
    assert published.decode(ids, skip_control=True) == "a <ref>cat</ref><box>(1,2),(3,4)</box>"


def test_ids_of_the_padded_vocabulary_are_empty(small: Vocabulary) -> None:
    assert small.decode([97, len(small), 767, 98]) == "ab"
    assert small.token_bytes(767) == b""


def test_white_space_without_end(published: Vocabulary) -> None:
    assert len(published.encode_text(" " * 100_000)) < 1000
    with pytest.raises(UserError, match="white space"):
        published.encode_text(" " * 5_000_000)


def test_combining_marks_without_end(published: Vocabulary) -> None:
    assert published.encode_text("a" + "\u0301\u0316" * 100)
    with pytest.raises(UserError, match="more than 256 combining marks"):
        published.encode_text("a" + "\u0301\u0316" * 1_000_000)


def test_text_models_know_no_grounding_tags(published: Vocabulary) -> None:
    text_only = published.without_grounding()
    assert text_only.encode_text("<ref>a</ref>") == published.encode_ordinary("<ref>a</ref>")
    assert published.encode_text("<ref>")[0] == published.special_ids["<ref>"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the vocabulary .*: No such file"),
        (b"", "holds no tokens"),
        (b"AA== 0\nAQ==\n", "line 2"),
        (b"AA== 0\n!!!! 1\n", "line 2"),
        (b"AA== 0\nAQ== 2\n", "not 0 to 1, each once"),
        (b"AA== 0\nAQ== 1\n", "no token for byte 0x02"),
    ],
)
def test_damaged_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "qwen.tiktoken"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Vocabulary.from_file(path)


def test_either_kind_of_line_end(small: Vocabulary, tmp_path: Path) -> None:
    (tmp_path / "crlf").write_bytes(SMALL.read_bytes().replace(b"\n", b"\r\n"))
    assert list(Vocabulary.from_file(tmp_path / "crlf").tokens()) == list(small.tokens())


def test_save(small: Vocabulary, tmp_path: Path) -> None:
    small.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == SMALL.read_bytes()
