"""What the model thought of the prompt's own tokens, as vLLM reports it."""

from collections.abc import AsyncIterator, Sequence

from pydantic import BaseModel

from qwenvl.chat import Vocabulary
from qwenvl.engine import PositionLogprobs, Step, TokenLogprob

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot write."""


def token_text(token_id: int, vocabulary: Vocabulary, *, as_id: bool = False) -> str:
    """A token in a report: its text, where half a character is U+FFFD, or its id as vLLM writes it."""
    if as_id:
        return f"token_id:{token_id}"
    return vocabulary.token_bytes(token_id).decode("utf-8", errors="replace")


class PromptTokenLogprob(BaseModel):
    """``rank`` is null where the token is not among the alternatives that were asked for."""

    logprob: float
    rank: int | None
    decoded_token: str


PromptLogprobs = list[dict[str, PromptTokenLogprob] | None]
"""By position, then by token id."""


class PromptReader(AsyncIterator[Step]):
    """The same steps; what they say of the prompt's log probabilities is kept in ``positions``."""

    def __init__(self, steps: AsyncIterator[Step]) -> None:
        self._steps = steps
        self.positions: tuple[PositionLogprobs | None, ...] = ()

    async def __anext__(self) -> Step:
        step = await anext(self._steps)
        if step.prompt_logprobs is not None:
            self.positions = step.prompt_logprobs
        return step


def write_prompt_logprobs(
    positions: Sequence[PositionLogprobs | None], count: int, vocabulary: Vocabulary
) -> PromptLogprobs:
    """Each position's token and its ``count`` likeliest alternatives. The first token has none."""
    return [None if position is None else _write_position(position, count, vocabulary) for position in positions]


def _write_position(position: PositionLogprobs, count: int, vocabulary: Vocabulary) -> dict[str, PromptTokenLogprob]:
    ranks = {token.token_id: rank for rank, token in enumerate(position.top, start=1)}
    chosen = position.chosen
    entries = {str(chosen.token_id): _write_token(chosen, ranks.get(chosen.token_id), vocabulary)}
    for token in position.top[:count]:
        entries[str(token.token_id)] = _write_token(token, ranks[token.token_id], vocabulary)
    return entries


def _write_token(token: TokenLogprob, rank: int | None, vocabulary: Vocabulary) -> PromptTokenLogprob:
    return PromptTokenLogprob(
        logprob=max(token.logprob, LOWEST_LOGPROB),
        rank=rank,
        decoded_token=token_text(token.token_id, vocabulary),
    )
