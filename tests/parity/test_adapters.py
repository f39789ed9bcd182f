"""Adapters on the engine answer as PEFT's model does, beside each other and the model itself in one batch."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from qwenvl.engine import GenerationRequest, Step
from tests.engine.asking import answers, sampling
from tests.parity.adapters import Answer, peft_answers
from tests.parity.golden import LOGPROB_TOLERANCE, STEPS, GoldenCase, case_named, cases
from tests.parity.test_transformers import inputs_of
from tests.stack import Stack

pytestmark = pytest.mark.slow

CASES = [
    case_named("text"),
    next(case for case in cases() if len(case.image_names) == 1),
    next(case for case in cases() if len(case.image_names) == 2),
    # Dynamic NTK's second alpha, by the prompt, and log-n in the middle of the answer.
    case_named("nine_images"),
    case_named("crosses_seq_length"),
]

_numbers = itertools.count()


def request(case: GoldenCase, adapter: str | None) -> GenerationRequest:
    asked = sampling(max_tokens=STEPS, ignore_eos=True, logprobs=0, skip_control=False)
    name = f"adapted-{next(_numbers)}"
    return GenerationRequest(name, case.token_ids, tuple(case.images), asked, adapter=adapter)


def answer_of(steps: list[Step]) -> Answer:
    (answer,) = answers(steps)
    return Answer(tuple(answer.token_ids), tuple(entry.chosen.logprob for entry in answer.logprobs))


@pytest.fixture(scope="module")
def expected(adapters: Mapping[str, Path]) -> dict[tuple[str, str | None], Answer]:
    """What PEFT says, by case and adapter."""
    found: dict[tuple[str, str | None], Answer] = {}
    for adapter, folder in adapters.items():
        for name, answer in peft_answers(folder, CASES, inputs_of).items():
            found[name, adapter] = answer
    return found


@pytest.mark.parametrize("again", [False, True], ids=["first", "from-the-prefix-cache"])
def test_mixed_in_one_batch(
    adapted: Stack, expected: dict[tuple[str, str | None], Answer], adapters: Mapping[str, Path], again: bool
) -> None:
    wanted = [request(case, adapter) for case in CASES for adapter in (None, *adapters)]
    keys = [(case, adapter) for case in CASES for adapter in (None, *adapters)]
    for (case, adapter), steps in zip(keys, adapted.generate_all(wanted), strict=True):
        answer = answer_of(steps)
        if again and case.prompt_length > 128:
            assert steps[-1].usage.cached_tokens > 0
        if adapter is None:
            assert answer.token_ids == case.answer_ids
            continue
        reference = expected[case.name, adapter]
        assert answer.token_ids == reference.token_ids, (case.name, adapter)
        assert answer.token_ids != case.answer_ids
        assert answer.logprobs == pytest.approx(reference.logprobs, abs=LOGPROB_TOLERANCE)
