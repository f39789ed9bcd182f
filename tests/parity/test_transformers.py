"""The goldens through the transformers model: alone, in one batch with padding, sampled step by step, trained on."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from qwenvl.errors import CheckpointError, UserError
from qwenvl.model_executor.vision import sincos_grid
from tests.parity.checkpoints import golden_tensors, write_checkpoint
from tests.parity.golden import CHECKPOINT, LOGPROB_TOLERANCE, STEPS, GoldenCase, case_named, cases
from tests.parity.model_inputs import inputs_of

pytestmark = pytest.mark.slow


NAMES = [case.name for case in cases()]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


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


def two_images() -> GoldenCase:
    return next(case for case in cases() if len(case.image_names) == 2)


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"do_sample": True, "top_k": 1, "num_return_sequences": 2}])
def test_each_copy_of_a_prompt_has_its_own_images(model: Any, options: dict[str, Any]) -> None:
    case = two_images()
    alone = generate(model, inputs_of(model, [case]), max_new_tokens=1)
    copies = generate(model, inputs_of(model, [case]), max_new_tokens=1, **options)
    for logits in copies.logits[0]:
        torch.testing.assert_close(logits, alone.logits[0][0], atol=1e-4, rtol=0)


def test_a_static_cache_and_padding(model: Any) -> None:
    batch = [case_named("nine_images"), case_named("text")]
    inputs = inputs_of(model, batch)
    output = generate(model, inputs, cache_implementation="static", max_new_tokens=3, disable_compile=True)
    for row, case in enumerate(batch):
        assert tuple(output.sequences[row, -3:].tolist()) == case.answer_ids[:3]


def test_what_cannot_be_right_is_refused(model: Any) -> None:
    inputs = inputs_of(model, [two_images()])
    pixels = inputs.pop("pixel_values")
    with pytest.raises(ValueError, match="hold 2 images, and pixel_values none"):
        model(**inputs)
    with pytest.raises(UserError, match=r"picture 1 of prompt 1 .* holds what is no path or URL"):
        generate(model, inputs, max_new_tokens=1)
    with pytest.raises(ValueError, match="hold 2 images, and pixel_values hold 1"):
        generate(model, inputs | {"pixel_values": pixels[:1]}, max_new_tokens=1)
    with pytest.raises(ValueError, match="prefill_chunk_size is not supported"):
        generate(model, inputs | {"pixel_values": pixels}, max_new_tokens=1, prefill_chunk_size=16)
    cut = {name: inputs[name][:, :100] for name in inputs}
    with pytest.raises(ValueError, match=r"hold 0 images, and pixel_values hold 1: picture 1 .* is cut or not closed"):
        model(**cut, pixel_values=pixels[:1])


def test_checkpointed_gradients_are_those_without() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        inputs = inputs_of(model, [two_images()])
        model(**inputs, labels=inputs["input_ids"], use_cache=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert "transformer.visual.attn_pool.pos_embed" not in plain
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Any) -> None:
    tensors = golden_tensors()
    del tensors["transformer.h.1.mlp.w2.weight"], tensors["transformer.visual.proj"]
    folder = write_checkpoint(tmp_path / "cut", tensors)
    with pytest.raises(CheckpointError, match=r"lacks transformer\.h\.1\.mlp\.w2\.weight \(2 tensors are missing\)"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_every_tensor_of_a_new_model_is_drawn() -> None:
    config = AutoConfig.from_pretrained(CHECKPOINT)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    visual = model.transformer.visual
    assert torch.equal(model.transformer.ln_f.weight, torch.ones(config.hidden_size))
    assert torch.equal(visual.attn_pool.pos_embed.float(), sincos_grid(config.vision.n_queries, config.hidden_size))
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
    assert all(float(parameter.detach().std()) < 1.5 for parameter in model.parameters())


def test_hidden_states_attentions_and_tuples() -> None:
    case = two_images()
    eager = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32, attn_implementation="eager").eval()
    inputs = inputs_of(eager, [case])
    layers, length = eager.config.num_hidden_layers, inputs["input_ids"].shape[1]
    with torch.inference_mode():
        output = eager(**inputs, output_hidden_states=True, output_attentions=True)
        plain = eager(**inputs)
        logits, *_, attentions = eager(**inputs, output_attentions=True, return_dict=False)
        base = eager.transformer(**inputs, use_cache=False, return_dict=False)
        assert torch.equal(eager.lm_head(output.hidden_states[-1]), output.logits)
    assert len(output.hidden_states) == layers + 1
    assert plain.hidden_states is plain.attentions is None

    assert [tuple(weights.shape) for weights in attentions] == [(1, 2, length, length)] * layers
    torch.testing.assert_close(output.attentions[0].sum(dim=-1), torch.ones(1, 2, length))
    assert torch.equal(logits, output.logits)
    assert torch.equal(base[0], output.hidden_states[-1])


def test_attentions_of_a_kernel_that_keeps_none_are_refused(model: Any) -> None:
    with pytest.raises(ValueError, match='attn_implementation="eager"'):
        model(**inputs_of(model, [case_named("text")]), output_attentions=True)


def test_what_a_generation_passed_through(model: Any) -> None:
    output = generate(model, inputs_of(model, [case_named("text")]), max_new_tokens=2, output_hidden_states=True)
    assert [len(step) for step in output.hidden_states] == [model.config.num_hidden_layers + 1] * 2
