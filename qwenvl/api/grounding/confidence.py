"""How sure the model was of the numbers of a box."""

from bisect import bisect_left, bisect_right
from codecs import getincrementaldecoder
from collections.abc import Iterable
from math import exp

from qwenvl.chat import Vocabulary
from qwenvl.engine import Delta


class TokenPlaces:
    """Where the tokens of one answer stand in its text, and how likely each was.

    Args:
        vocabulary: spells the tokens.
        skip_control: control tokens are left out of the text.
    """

    def __init__(self, vocabulary: Vocabulary, *, skip_control: bool) -> None:
        self._vocabulary = vocabulary
        self._skipped = vocabulary.control_ids if skip_control else frozenset[int]()
        # As the engine makes characters of bytes.
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._ends: list[int] = []
        self._logprobs: list[float] = []
        self._length = self._start = 0

    def start_at(self, length: int) -> None:
        """So many characters stand before the answer."""
        self._length = self._start = length

    def add(self, delta: Delta) -> None:
        """The tokens that came; their text may come later."""
        for position in delta.logprobs or ():
            token_id = position.chosen.token_id
            if token_id not in self._skipped:
                self._length += len(self._decoder.decode(self._vocabulary.token_bytes(token_id)))
            self._ends.append(self._length)
            self._logprobs.append(position.chosen.logprob)

    def confidence(self, spans: Iterable[tuple[int, int]]) -> float | None:
        """The geometric mean of the probabilities of the tokens that write these characters; None where none does.

        One number is one to three tokens, and a box has four: a product would say more of how long it is written.
        """
        logprobs = [
            logprob
            for start, end in ((max(start, self._start), end) for start, end in spans if end > self._start)
            for logprob in self._logprobs[bisect_right(self._ends, start) : bisect_left(self._ends, end) + 1]
        ]
        return min(1.0, exp(sum(logprobs) / len(logprobs))) if logprobs else None
