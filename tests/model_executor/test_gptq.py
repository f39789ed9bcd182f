"""GPTQ checkpoints through transformers: the same numbers as their unpacked twin, and gradients for adapters."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.gptq import GPTQLinear
from qwenvl.model_executor.modeling import QWenLMHeadModel
from tests.parity.checkpoints import golden_tensors, write_checkpoint, write_dequantized, write_quantized
from tests.parity.golden import case_named

pytestmark = pytest.mark.slow

PROMPT = torch.tensor([case_named("text").token_ids])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quantized(tmp_path_factory.mktemp("gptq") / "packed", "gptq")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dequantized(tmp_path_factory.mktemp("gptq") / "unpacked")


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(PROMPT).logits


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 0.03)])
def test_logits_are_those_of_the_unpacked_twin(
    packed: Path, unpacked: Path, dtype: torch.dtype, tolerance: float
) -> None:
    model = AutoModelForCausalLM.from_pretrained(packed, dtype=dtype)
    assert isinstance(model.transformer.h[1].mlp.c_proj, GPTQLinear)
    assert model.transformer.h[0].mlp.w1.scales.dtype == torch.float32
    twin = AutoModelForCausalLM.from_pretrained(unpacked, dtype=dtype)
    torch.testing.assert_close(logits(model), logits(twin), atol=tolerance, rtol=0)


def test_generates_as_its_twin(packed: Path, unpacked: Path) -> None:
    options = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    answers = [
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).generate(PROMPT, **options).tolist()
        for path in (packed, unpacked)
    ]
    assert answers[0] == answers[1]


def test_gradients_are_those_of_the_twin(packed: Path, unpacked: Path) -> None:
    gradients = []
    for path in (packed, unpacked):
        torch.manual_seed(0)
        adapter = peft.LoraConfig(target_modules=["c_attn", "w1"], task_type="CAUSAL_LM", init_lora_weights=False)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), adapter)
        model(PROMPT, labels=PROMPT).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert len(gradients[0]) == 8
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)


def test_unpacked_in_place(packed: Path, unpacked: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(packed)
    model.dequantize()
    assert not any(isinstance(module, GPTQLinear) for module in model.modules())
    assert type(model.transformer.h[0].attn.c_proj) is nn.Linear
    twin = AutoModelForCausalLM.from_pretrained(unpacked)
    assert model.state_dict().keys() == twin.state_dict().keys()
    for name, tensor in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_saved_packed_and_loaded_again(packed: Path, tmp_path: Path) -> None:
    # By the class itself, which reads the config on its own.
    model = QWenLMHeadModel.from_pretrained(packed, dtype=torch.float16, use_cache=False)
    assert model.config.use_cache is False
    model.save_pretrained(tmp_path)
    original, saved = (
        json.loads((folder / "config.json").read_text())["quantization_config"] for folder in (packed, tmp_path)
    )
    assert saved == original
    assert torch.equal(logits(QWenLMHeadModel.from_pretrained(tmp_path)), logits(model))


def test_merging_into_packed_weights_is_refused(packed: Path) -> None:
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(packed), peft.LoraConfig(target_modules=["w1"]))
    with pytest.raises(ValueError, match="Cannot merge"):
        model.merge_and_unload()


@pytest.mark.parametrize(("key", "value"), [("bits", 8), ("checkpoint_format", "gptq_v2")])
def test_another_packing_is_refused(tmp_path: Path, key: str, value: object) -> None:
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128} | {key: value}
    folder = write_checkpoint(tmp_path / "other", golden_tensors(), quantization_config=settings)
    with pytest.raises(CheckpointError, match=rf"quantization_config\.{key} must be"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    folder = write_checkpoint(tmp_path / "cut", golden_tensors(), quantization_config=settings)
    with pytest.raises(CheckpointError, match=r"lacks transformer\.h\.0\.attn\.c_attn\.g_idx"):
        AutoModelForCausalLM.from_pretrained(folder)
