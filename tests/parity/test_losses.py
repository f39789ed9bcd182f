"""The loss of each token of a prompt: the transformers model's, and vLLM's log probabilities of the prompt."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from qwenvl.engine import GenerationRequest, SamplingOptions
from tests.parity.golden import CHECKPOINT, LOGPROB_TOLERANCE, GoldenCase, case_named, cases
from tests.parity.model_inputs import inputs_of
from tests.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


def prompt_logprobs(stack: Stack, case: GoldenCase) -> list[tuple[int, float]]:
    """Id and log probability of every token of the prompt but the first, image positions too."""
    sampling = SamplingOptions(temperature=0.0, top_p=1.0, top_k=0, max_tokens=1, prompt_logprobs=0)
    request = GenerationRequest(f"loss-{case.name}", case.token_ids, tuple(case.images), sampling)
    positions = stack.generate(request)[0].prompt_logprobs
    assert positions is not None
    assert positions[0] is None
    return [(position.chosen.token_id, position.chosen.logprob) for position in positions[1:] if position is not None]


@pytest.mark.parametrize("name", [case.name for case in cases()])
def test_the_loss_of_each_token_is_vllms(stack: Stack, model: Any, name: str) -> None:
    case = case_named(name)
    served = prompt_logprobs(stack, case)
    ids = torch.tensor([token_id for token_id, _ in served])
    inputs = inputs_of(model, [case])
    # Image positions can be labels here: vLLM reports them under the id that fills them.
    inputs["input_ids"][0, 1:] = ids
    with torch.inference_mode():
        logits = model(**inputs).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, ids, reduction="none")
    expected = -torch.tensor([logprob for _, logprob in served])
    assert len(losses) == case.prompt_length - 1
    torch.testing.assert_close(losses, expected, atol=LOGPROB_TOLERANCE, rtol=0)
