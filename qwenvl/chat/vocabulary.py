"""The byte-level BPE vocabulary of Qwen-VL: ranks from ``qwen.tiktoken``, then 217 special tokens.

Nothing here knows transformers or torch. ``model_executor.tokenizer`` wraps a vocabulary for libraries that expect a
transformers tokenizer.

Three ways to encode, by how far the text is trusted:

* :meth:`Vocabulary.encode_ordinary` parses no special token: role names.
* :meth:`Vocabulary.encode_text` parses the six grounding tags only: whatever a user or a model wrote.
* :meth:`Vocabulary.encode_prompt` parses every special token: prompts the operator wrote out in full.
"""

import base64
import binascii
import copy
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import regex
import tiktoken

from qwenvl.errors import CheckpointError, UserError

VOCABULARY_FILE = "qwen.tiktoken"

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
IMAGE_START = "<img>"
IMAGE_END = "</img>"
IMAGE_PAD = "<imgpad>"

GROUNDING_TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")
"""The only special tokens that user and assistant text may contain."""

SPECIAL_TOKENS = (
    END_OF_TEXT,
    IM_START,
    IM_END,
    *(f"<|extra_{i}|>" for i in range(205)),
    *GROUNDING_TAGS,
    IMAGE_START,
    IMAGE_END,
    IMAGE_PAD,
)
"""In the order of their ids, which follow the ranks whatever the size of the vocabulary."""

CONTROL_TOKENS = tuple(token for token in SPECIAL_TOKENS if token not in GROUNDING_TAGS)
"""Special tokens that steer the model and never belong in shown text."""

_CONTROL_MARKS = ("<|", "<img", "</img")
"""What every control token begins with."""

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

MAX_COMBINING_MARKS = 256
"""In a row. Normalising sorts each run of marks in quadratic time, and nothing else runs in the process meanwhile."""

_TOO_MANY_MARKS = regex.compile(rf"\p{{M}}{{{MAX_COMBINING_MARKS + 1}}}")


class Vocabulary:
    """Text to token ids and back, exactly as the original tokenizer does it.

    Args:
        ranks: token bytes to rank; the ranks are 0 .. len(ranks) - 1.

    Raises:
        CheckpointError: the ranks have a gap or lack a single byte.
    """

    def __init__(self, ranks: dict[bytes, int]) -> None:
        if sorted(ranks.values()) != list(range(len(ranks))):
            raise CheckpointError(f"the vocabulary's ranks are not 0 to {len(ranks) - 1}, each once")
        if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
            raise CheckpointError(
                f"the vocabulary has no token for byte 0x{missing[0]:02x} ({len(missing)} bytes lack)"
            )
        self.n_ranks = len(ranks)
        self.special_ids = {token: self.n_ranks + i for i, token in enumerate(SPECIAL_TOKENS)}
        self.size = self.n_ranks + len(SPECIAL_TOKENS)

        self.end_of_text = self.special_ids[END_OF_TEXT]
        self.im_start = self.special_ids[IM_START]
        self.im_end = self.special_ids[IM_END]
        self.image_start = self.special_ids[IMAGE_START]
        self.image_end = self.special_ids[IMAGE_END]
        self.image_pad = self.special_ids[IMAGE_PAD]
        self.stop_ids = (self.im_end, self.im_start, self.end_of_text)
        """Where an answer ends, as the original's chat does."""
        self.control_ids = frozenset(self.special_ids[token] for token in CONTROL_TOKENS)

        self._ranks = ranks
        self._grounding_tags = frozenset(GROUNDING_TAGS)
        self._all_special = frozenset(SPECIAL_TOKENS)
        self._encoding = tiktoken.Encoding(
            "qwen", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens=self.special_ids
        )
        self.longest_token = max(len(token) for token in ranks)
        """Bytes in the longest token: ``len(text.encode()) / longest_token`` bounds the token count from below."""

    @classmethod
    def from_file(cls, path: str | Path) -> "Vocabulary":
        """Read a ``qwen.tiktoken`` file: one ``base64(token) rank`` a line, either kind of line end.

        Raises:
            CheckpointError: the file is missing, empty or malformed; the message names file and line.
        """
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise CheckpointError(f"cannot read the vocabulary {path}: {error.strerror}") from error
        ranks: dict[bytes, int] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except (ValueError, binascii.Error) as error:
                raise CheckpointError(f"{path}, line {number}: expected 'base64 rank', found {line[:60]!r}") from error
        if not ranks:
            raise CheckpointError(f"the vocabulary {path} holds no tokens")
        return cls(ranks)

    def without_grounding(self) -> "Vocabulary":
        """The same vocabulary for a text model: it was never taught the grounding tags, so they are ordinary text."""
        text_only = copy.copy(self)
        text_only._grounding_tags = frozenset()
        return text_only

    def __len__(self) -> int:
        return self.size

    def encode_ordinary(self, text: str) -> list[int]:
        """Token ids of ``text`` with no special token parsed; NFC-normalised first, like every encode here."""
        return self._encode(text, frozenset())

    def encode_text(self, text: str) -> list[int]:
        """Token ids of text that a user or the model wrote: of all special tokens only grounding tags are parsed."""
        return self._encode(text, self._grounding_tags)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a trusted prompt: every special token is parsed."""
        return self._encode(text, self._all_special)

    def normalize(self, text: str) -> str:
        """``text`` in Unicode's NFC, as the original tokenises it.

        Raises:
            UserError: more combining marks in a row than :data:`MAX_COMBINING_MARKS`.
        """
        if _TOO_MANY_MARKS.search(text):
            raise UserError(
                f"the text holds more than {MAX_COMBINING_MARKS} combining marks in a row: no writing system needs them"
            )
        return unicodedata.normalize("NFC", text)

    def _encode(self, text: str, special: frozenset[str]) -> list[int]:
        normalized = self.normalize(text)
        try:
            return self._encoding.encode(normalized, allowed_special=special, disallowed_special=())
        except ValueError as error:
            # The split pattern backtracks over white space: past some 500,000 characters in a row its stack is full.
            raise UserError("the text holds more white space in a row than can be tokenised: shorten it") from error

    def decode(self, token_ids: Sequence[int], *, skip_control: bool = False) -> str:
        """Text of ``token_ids``; broken UTF-8 becomes U+FFFD, ids of the padded vocabulary become nothing.

        Args:
            token_ids: ids below the model's (padded) vocabulary size.
            skip_control: leave out every special token except the grounding tags.
        """
        text = self._decode(token_ids)
        # Looking for their text first is many times faster than looking at every id.
        if skip_control and any(mark in text for mark in _CONTROL_MARKS):
            return self._decode([token_id for token_id in token_ids if token_id not in self.control_ids])
        return text

    def _decode(self, token_ids: Sequence[int]) -> str:
        try:
            return self._encoding.decode(token_ids, errors="replace")
        except KeyError:
            return b"".join(map(self.token_bytes, token_ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one token; empty for ids past the vocabulary, which the model's padding makes possible."""
        if not 0 <= token_id < self.size:
            return b""
        return self._encoding.decode_single_token_bytes(token_id)

    def tokens(self) -> Iterator[tuple[bytes, int]]:
        """Every (bytes, id), ranks first, special tokens last."""
        yield from self._ranks.items()
        for token, token_id in self.special_ids.items():
            yield token.encode(), token_id

    @cached_property
    def newline(self) -> tuple[int, ...]:
        """Ids of a newline; one id in every published vocabulary."""
        return tuple(self.encode_ordinary("\n"))

    def save(self, path: str | Path) -> None:
        """Write the ranks in the original's format."""
        with Path(path).open("wb") as file:
            for token, rank in sorted(self._ranks.items(), key=lambda item: item[1]):
                file.write(base64.b64encode(token) + f" {rank}\n".encode())
