"""Where answers of the transformers model end, besides at its stop tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from qwenvl.errors import UserError


class StopWords(StoppingCriteria):
    """Ends an answer that ends with one of several sequences of ids.

    Args:
        words: each a list of token ids, or a tensor (L,) of them.
        start: tokens of the prompt.

    Raises:
        UserError: a word is none of these, or empty.
    """

    def __init__(self, words: Sequence[Sequence[int] | Tensor], start: int) -> None:
        self._words = [_word(word) for word in words]
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        answer = input_ids[:, self._start :]
        # Moved once: from then on they are where the answer is.
        self._words = [word.to(answer.device) for word in self._words]
        done = torch.zeros(len(answer), dtype=torch.bool, device=answer.device)
        for word in self._words:
            if answer.shape[1] >= len(word):
                done |= (answer[:, -len(word) :] == word).all(dim=1)
        return done


def _word(word: Any) -> Tensor:
    ids = word.tolist() if isinstance(word, Tensor) else word
    is_list = isinstance(ids, Sequence) and not isinstance(ids, str | bytes) and len(ids) > 0
    if not is_list or not all(isinstance(token_id, int) and not isinstance(token_id, bool) for token_id in ids):
        raise UserError(
            "stop_words_ids must be a list of lists of token ids, none of them empty: tokenizer.encode makes one of a "
            "text",
            param="stop_words_ids",
        )
    return torch.tensor(ids)


class ContextEnd(StoppingCriteria):
    """Ends answers where the model's context ends.

    Args:
        context: in tokens.
    """

    def __init__(self, context: int) -> None:
        self._context = context

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        is_full = input_ids.shape[1] >= self._context
        return torch.full((len(input_ids),), is_full, dtype=torch.bool, device=input_ids.device)
