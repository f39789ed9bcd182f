"""A KV cache past the training length, where prompts of a batch have their own alpha: it goes where their rows go."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from qwenvl.model_executor.ntk_cache import remembered_buckets
from tests.parity.golden import CHECKPOINT, case_named
from tests.parity.model_inputs import inputs_of

pytestmark = pytest.mark.slow

BATCH = ("nine_images", "text")
"""One prompt past the training length, one below."""
TOKEN = 104


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prefilled(model: Any) -> tuple[DynamicCache, Tensor, Tensor]:
    """The cache of both prompts, their mask, and the logits of one more token after each."""
    inputs = inputs_of(model, [case_named(name) for name in BATCH])
    with torch.inference_mode():
        cache = model(**inputs).past_key_values
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    return cache, mask, step(model, cache, mask)


def step(model: Any, cache: DynamicCache, mask: Tensor) -> Tensor:
    """Logits after one more token; the cache stays as it is."""
    with torch.inference_mode():
        ids = torch.full((len(mask), 1), TOKEN)
        return model(input_ids=ids, attention_mask=mask, past_key_values=copy.deepcopy(cache)).logits[:, -1]


OPERATIONS: dict[str, tuple[Callable[[DynamicCache], None], list[int]]] = {
    "reordered": (lambda cache: cache.reorder_cache(torch.tensor([1, 0])), [1, 0]),
    "repeated": (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1]),
    "selected": (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
    "of one prompt": (lambda cache: cache.batch_select_indices(torch.tensor([0, 0])), [0, 0]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_rows_keep_their_alpha(model: Any, prefilled: tuple[DynamicCache, Tensor, Tensor], name: str) -> None:
    cache, mask, expected = prefilled
    operate, rows = OPERATIONS[name]
    moved = copy.deepcopy(cache)
    operate(moved)
    torch.testing.assert_close(step(model, moved, mask[rows]), expected[rows], atol=1e-4, rtol=0)
    buckets = remembered_buckets(moved)
    assert buckets is not None
    assert buckets.tolist() == [1 - row for row in rows]


def test_cropped_and_grown_again(model: Any, prefilled: tuple[DynamicCache, Tensor, Tensor]) -> None:
    cache, mask, expected = prefilled
    cropped = copy.deepcopy(cache)
    with torch.inference_mode():
        model(input_ids=torch.full((2, 1), TOKEN + 1), attention_mask=mask, past_key_values=cropped)
    cropped.crop(-1)
    torch.testing.assert_close(step(model, cropped, mask), expected, atol=1e-4, rtol=0)


def test_a_cache_that_is_used_again_forgets_its_alpha(model: Any) -> None:
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(**inputs_of(model, [case_named("nine_images")]), past_key_values=cache)
        assert remembered_buckets(cache) is not None
        cache.crop(-cache.get_seq_length())
        short = inputs_of(model, [case_named("text")])
        again = model(**short, past_key_values=cache).logits
        assert remembered_buckets(cache) is None
        torch.testing.assert_close(again, model(**short).logits, atol=1e-4, rtol=0)


def test_beams_past_the_training_length(model: Any) -> None:
    """Beams of both prompts in one batch give what each prompt gives alone."""
    cases = [case_named(name) for name in BATCH]
    options: dict[str, Any] = {
        "num_beams": 2,
        "do_sample": False,
        "max_new_tokens": 3,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    together = model.generate(**inputs_of(model, cases), **options)
    for row, case in enumerate(cases):
        alone = model.generate(**inputs_of(model, [case]), **options)
        assert together[row, -3:].tolist() == alone[0, -3:].tolist()
