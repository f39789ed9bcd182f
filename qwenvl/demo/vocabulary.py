"""A byte-pair vocabulary trained on the package's own text, in the format of ``qwen.tiktoken``."""

from collections import Counter
from importlib.resources import files
from itertools import pairwise

import regex

from qwenvl.chat.vocabulary import SPLIT_PATTERN, Vocabulary

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]


def corpus() -> str:
    """The text the demo vocabulary is trained on: questions and answers about pictures, English and Chinese."""
    return files("qwenvl.demo").joinpath("corpus.txt").read_text(encoding="utf-8")


def train_vocabulary(text: str, n_ranks: int) -> Vocabulary:
    """Byte-pair encoding: all single bytes, then the most frequent pair again and again until ``n_ranks`` tokens.

    Ties go to the pair that sorts first, so equal text gives equal ranks.

    Raises:
        ValueError: the text is too short for that many tokens.
    """
    words = Counter(tuple(bytes([byte]) for byte in piece.encode()) for piece in regex.findall(SPLIT_PATTERN, text))
    ranks = {bytes([byte]): byte for byte in range(256)}
    while len(ranks) < n_ranks:
        pairs = _count_pairs(words)
        if not pairs:
            raise ValueError(f"the text holds {len(ranks)} tokens at most, fewer than {n_ranks}")
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        # Two pairs can spell the same bytes; the second merge then makes no new token.
        ranks.setdefault(b"".join(best), len(ranks))
        words = Counter({_merge(word, best): count for word, count in words.items()})
    return Vocabulary(ranks)


def _count_pairs(words: Counter[Word]) -> Counter[Pair]:
    pairs: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def _merge(word: Word, pair: Pair) -> Word:
    if pair[0] not in word:
        return word
    merged: list[bytes] = []
    for token in word:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return tuple(merged)
