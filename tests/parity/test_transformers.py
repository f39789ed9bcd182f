"""The goldens through the transformers model: alone, in one batch with padding, sampled step by step, trained on."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from qwenvl.model_executor.image_processor import resize_image
from tests.parity.golden import CHECKPOINT, LOGPROB_TOLERANCE, STEPS, GoldenCase, case_named, cases

pytestmark = pytest.mark.slow


NAMES = [case.name for case in cases()]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


def expanded(case: GoldenCase, vision: Any) -> list[int]:
    ids: list[int] = []
    for token_id in case.token_ids:
        ids.append(token_id)
        if token_id == vision.image_start_id:
            ids += [0] * vision.n_queries
    return ids


def inputs_of(model: Any, batch: Sequence[GoldenCase]) -> dict[str, Tensor]:
    """Padded on the left, as generation wants it."""
    vision = model.config.vision
    prompts = [expanded(case, vision) for case in batch]
    longest = max(map(len, prompts))
    pixels = [resize_image(image, vision.image_size) for case in batch for image in case.images]
    inputs = {
        "input_ids": torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts]),
        "attention_mask": torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
    }
    return inputs | ({"pixel_values": torch.stack(pixels)} if pixels else {})


def generate(model: Any, inputs: dict[str, Tensor], **options: Any) -> Any:
    defaults = {
        "do_sample": False,
        "max_new_tokens": STEPS,
        "eos_token_id": None,
        "pad_token_id": 0,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    return model.generate(**inputs, **(defaults | options))


def assert_golden(case: GoldenCase, answer: Tensor, logits: Sequence[Tensor]) -> None:
    assert tuple(answer.tolist()) == case.answer_ids, case.name
    for step, best in enumerate(case.top_logprobs):
        logprobs = logits[step].log_softmax(dim=-1)
        for token_id, logprob in best.items():
            assert abs(float(logprobs[token_id]) - logprob) < LOGPROB_TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_alone(model: Any, name: str) -> None:
    case = case_named(name)
    output = generate(model, inputs_of(model, [case]))
    assert_golden(case, output.sequences[0, -STEPS:], [logits[0] for logits in output.logits])


def test_all_in_one_batch(model: Any) -> None:
    output = generate(model, inputs_of(model, cases()))
    for row, case in enumerate(cases()):
        assert_golden(case, output.sequences[row, -STEPS:], [logits[row] for logits in output.logits])


def test_without_a_cache(model: Any) -> None:
    case = case_named("text")
    output = generate(model, inputs_of(model, [case]), use_cache=False, max_new_tokens=8)
    assert tuple(output.sequences[0, -8:].tolist()) == case.answer_ids[:8]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_each_attention(attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32, attn_implementation=attention).eval()
    batch = [case_named("text"), next(case for case in cases() if len(case.image_names) == 2)]
    output = generate(model, inputs_of(model, batch))
    for row, case in enumerate(batch):
        assert_golden(case, output.sequences[row, -STEPS:], [logits[row] for logits in output.logits])


def test_saved_and_loaded_again(model: Any, tmp_path: Any) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    case = case_named("text")
    assert tuple(generate(again, inputs_of(again, [case])).sequences[0, -STEPS:].tolist()) == case.answer_ids
