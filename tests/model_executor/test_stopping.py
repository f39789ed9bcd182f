from typing import Any

import pytest
import torch

from qwenvl.errors import UserError
from qwenvl.model_executor.stopping import ContextEnd, StopWords


def test_words_end_answers_and_not_prompts() -> None:
    ends = StopWords([[5, 6], torch.tensor([7])], start=2)
    ids = torch.tensor([[1, 5, 6, 1], [1, 1, 5, 6], [7, 7, 7, 1], [1, 1, 1, 7]])
    assert ends(ids, None).tolist() == [False, True, False, True]
    assert ends(ids[:, :3], None).tolist() == [False, False, True, False]


@pytest.mark.parametrize("words", [[5], ["ab"], [[]], [["a"]], [[True]], [torch.tensor([[1]])], [torch.tensor(1)]])
def test_what_is_no_word(words: Any) -> None:
    with pytest.raises(UserError, match="stop_words_ids must be a list of lists of token ids"):
        StopWords(words, start=0)


def test_the_context_ends_answers() -> None:
    assert ContextEnd(3)(torch.zeros(2, 2), None).tolist() == [False, False]
    assert ContextEnd(3)(torch.zeros(2, 3), None).tolist() == [True, True]
