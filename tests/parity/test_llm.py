"""The goldens through plain ``vllm.LLM``: alone, in one batch, in chunks, with a warm prefix cache."""

import math
from collections.abc import Iterator
from typing import Any

import PIL.Image
import pytest

from qwenvl.chat import Vocabulary
from tests.parity.conftest import answer_ids, greedy_answers, open_llm
from tests.parity.golden import CHECKPOINT, LOGPROB_TOLERANCE, LONG, SHORT, GoldenCase, case_named, cases
from tests.vocabularies import SMALL

pytestmark = pytest.mark.slow

SETUPS: dict[str, dict[str, Any]] = {
    "whole prompts": {},
    "512-token chunks": {"max_num_batched_tokens": 512, "max_num_seqs": 32},
}
TRAIN_LENGTH = 2048


@pytest.fixture(scope="module", params=SETUPS, ids=lambda name: name.replace(" ", "-"))
def llm(request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_llm(enable_prefix_caching=True, **SETUPS[request.param]) as llm:
        yield llm


@pytest.fixture(autouse=True)
def _cold_cache(llm: Any) -> None:
    assert llm.reset_prefix_cache()


def assert_golden(case: GoldenCase, output: Any) -> None:
    assert answer_ids(output) == case.answer_ids, case.name
    assert len(output.prompt_token_ids) == case.prompt_length
    steps = output.outputs[0].logprobs
    worst = max(
        abs(steps[i][token_id].logprob - logprob)
        for i, best in enumerate(case.top_logprobs)
        for token_id, logprob in best.items()
        if token_id in steps[i]
    )
    assert worst < LOGPROB_TOLERANCE
    assert all(set(best) == set(steps[i]) for i, best in enumerate(case.top_logprobs))


@pytest.mark.parametrize("name", [case.name for case in cases()])
def test_alone(llm: Any, name: str) -> None:
    case = case_named(name)
    (output,) = greedy_answers(llm, [case])
    assert_golden(case, output)
    assert output.outputs[0].text == case.answer_text


def test_long_and_short_prompts_in_one_batch(llm: Any) -> None:
    for case, output in zip(cases(), greedy_answers(llm, cases()), strict=True):
        assert_golden(case, output)


@pytest.mark.parametrize("name", LONG)
def test_prefix_cached_by_a_short_prompt(llm: Any, name: str) -> None:
    """A prompt below the training length shares a prefix with one past it, but not its keys."""
    long, short = case_named(name), _shortened(case_named(name))
    (before,) = greedy_answers(llm, [short])
    (output,) = greedy_answers(llm, [long])
    assert_golden(long, output)
    shares_alpha = math.ceil(long.prompt_length / TRAIN_LENGTH) == 1
    assert (output.num_cached_tokens > 0) is shares_alpha
    (again,) = greedy_answers(llm, [long])
    assert_golden(long, again)
    assert again.num_cached_tokens > TRAIN_LENGTH / 2
    # The other way round: what the long prompt left behind does not reach the short one either.
    assert llm.reset_prefix_cache()
    greedy_answers(llm, [long])
    (after,) = greedy_answers(llm, [short])
    assert answer_ids(after) == answer_ids(before)


@pytest.mark.parametrize("name", LONG)
def test_prefix_cached_among_short_prompts(llm: Any, name: str) -> None:
    """A warm cache and a mixed batch at once."""
    long, shorts = case_named(name), [case_named(short) for short in SHORT]
    greedy_answers(llm, [_shortened(long)])
    batch = [*shorts, long, *shorts]
    for case, output in zip(batch, greedy_answers(llm, batch), strict=True):
        assert_golden(case, output)


def test_a_path_in_a_text_prompt_is_text(llm: Any) -> None:
    """The transformers model would open it; here nobody does, and no picture is where a path is written."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError

    text = f"<img>{CHECKPOINT}/config.json</img><ref>what</ref>?"
    (output,) = llm.generate([text], SamplingParams(max_tokens=1), use_tqdm=False)
    assert output.prompt_token_ids == Vocabulary.from_file(SMALL).encode_prompt(text)
    picture = PIL.Image.new("RGB", (8, 8))
    with pytest.raises(VLLMValidationError, match="0 <img></img> pairs for 1 images"):
        llm.generate([{"prompt": text, "multi_modal_data": {"image": picture}}], use_tqdm=False)
    pair = {"prompt": "<img></img>what?", "multi_modal_data": {"image": picture}}
    (output,) = llm.generate([pair], SamplingParams(max_tokens=1), use_tqdm=False)
    assert list(output.prompt_token_ids).count(728) == 256


def _shortened(case: GoldenCase) -> GoldenCase:
    """The first part of a prompt, with at most three of its images: well below the training length."""
    images = min(3, len(case.image_names))
    tag_ends = [i for i, token_id in enumerate(case.token_ids) if token_id == 727]
    end = tag_ends[images - 1] + 200
    later = [i for i in tag_ends[images:] if i < end]
    token_ids = case.token_ids[: later[0] - 1 if later else end]
    return GoldenCase(
        name=f"start of {case.name}",
        token_ids=token_ids,
        image_names=case.image_names[:images],
        prompt_length=len(token_ids) + 256 * images,
        answer_ids=(),
        answer_text="",
        top_logprobs=(),
        conversation={},
        prompt_format="raw",
    )
