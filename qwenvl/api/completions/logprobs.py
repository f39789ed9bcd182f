"""Log probabilities in the form of OpenAI's completions: parallel lists, and where in the text each token begins."""

import codecs
from collections.abc import Iterable

from qwenvl.api.completions.objects import CompletionLogprobs
from qwenvl.api.prompt_logprobs import LOWEST_LOGPROB, token_text
from qwenvl.chat import Vocabulary
from qwenvl.engine import PositionLogprobs, TokenLogprob


class LogprobsWriter:
    """Writes one choice's log probabilities, piece by piece.

    Args:
        vocabulary: of the model.
        count: alternatives to report for each token besides the token itself.
        tokens_as_ids: name tokens by their ids.
        skip_control: control tokens of the answer are not in its text.
    """

    def __init__(self, vocabulary: Vocabulary, count: int, *, tokens_as_ids: bool, skip_control: bool) -> None:
        self._vocabulary = vocabulary
        self._count = count
        self._tokens_as_ids = tokens_as_ids
        self._hidden = vocabulary.control_ids if skip_control else frozenset()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0

    def write_prompt(self, positions: Iterable[tuple[int, PositionLogprobs | None]]) -> CompletionLogprobs:
        """The prompt's tokens with their positions; the placeholders of images are no text and are left out."""
        written = _empty()
        for token_id, position in positions:
            if token_id != self._vocabulary.image_pad:
                self._add(written, token_id, position, shown=True)
        return written

    def write(self, positions: Iterable[PositionLogprobs]) -> CompletionLogprobs:
        """The answer's next tokens."""
        written = _empty()
        for position in positions:
            token_id = position.chosen.token_id
            self._add(written, token_id, position, shown=token_id not in self._hidden)
        return written

    def _add(
        self, written: CompletionLogprobs, token_id: int, position: PositionLogprobs | None, *, shown: bool
    ) -> None:
        written.tokens.append(self._name(token_id))
        written.text_offset.append(self._offset)
        written.token_logprobs.append(None if position is None else _finite(position.chosen))
        written.top_logprobs.append(None if position is None else self._likeliest(position))
        if shown:
            self._offset += len(self._decoder.decode(self._vocabulary.token_bytes(token_id)))

    def _likeliest(self, position: PositionLogprobs) -> dict[str, float]:
        """By name, best first. Of several halves of characters, which have one name, the best counts."""
        by_name: dict[str, float] = {}
        for token in (*position.top[: self._count], position.chosen):
            by_name.setdefault(self._name(token.token_id), _finite(token))
        return by_name

    def _name(self, token_id: int) -> str:
        return token_text(token_id, self._vocabulary, as_id=self._tokens_as_ids)


def _empty() -> CompletionLogprobs:
    return CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])


def joined(pieces: Iterable[CompletionLogprobs]) -> CompletionLogprobs:
    """Pieces of one choice, one after the other."""
    whole = _empty()
    for piece in pieces:
        whole.tokens += piece.tokens
        whole.token_logprobs += piece.token_logprobs
        whole.top_logprobs += piece.top_logprobs
        whole.text_offset += piece.text_offset
    return whole


def _finite(token: TokenLogprob) -> float:
    return max(token.logprob, LOWEST_LOGPROB)
