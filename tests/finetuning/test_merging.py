"""Adapters made part of their models: the same logits, in a checkpoint that everything loads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from qwenvl.errors import CheckpointError, UserError
from qwenvl.finetuning.merging import merge
from tests.finetuning.checkpoints import write_tiny
from tests.parity.checkpoints import golden_tensors, write_adapter, write_checkpoint, write_quantized
from tests.parity.conftest import answer_ids, greedy_answers, open_llm
from tests.parity.golden import CHECKPOINT, STEPS, cases

pytestmark = pytest.mark.slow

PROMPT = torch.tensor([cases()[0].token_ids])


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random, of the golden checkpoint."""
    folder = write_adapter(tmp_path_factory.mktemp("adapters") / "adapter")
    # As in every adapter that is written by qwenvl finetune; mlp.c_proj is a name of the visual encoder's, too.
    change_config(folder, base_model_name_or_path=str(CHECKPOINT), exclude_modules=r"transformer\.visual\..*")
    return folder


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def copy(adapter: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(PROMPT).logits


def adapted_logits(base: Path, adapter: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, str(adapter)))


def assert_alike(merged: Path, expected: torch.Tensor, tolerance: float) -> None:
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    assert float((logits(model) - expected).abs().max()) < tolerance
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    assert float((logits(base) - expected).abs().max()) > 1


def test_a_merged_checkpoint_answers_as_its_adapter_did(adapter: Path, tmp_path: Path) -> None:
    """In transformers, and in vLLM."""
    tensors = {name: tensor.float() for name, tensor in golden_tensors().items()}
    base = write_checkpoint(tmp_path / "base", tensors, torch_dtype="float32", fp16=False)
    output = tmp_path / "merged"
    merge(adapter, output, str(base))
    assert_alike(output, adapted_logits(CHECKPOINT, adapter), tolerance=1e-3)
    assert not (output / ".unfinished").exists()
    assert AutoTokenizer.from_pretrained(output).decode(list(cases()[0].answer_ids)) == cases()[0].answer_text
    texts = [case for case in cases() if len(case.image_names) <= 1 and case.prompt_length < 1000][:3]
    model = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32).eval()
    with open_llm(output) as llm:
        served = [answer_ids(output) for output in greedy_answers(llm, texts)]
    for case, answer in zip(texts, served, strict=True):
        if not case.image_names:
            ids = torch.tensor([case.token_ids])
            generated = model.generate(ids, do_sample=False, max_new_tokens=STEPS, eos_token_id=None, pad_token_id=0)
            assert tuple(generated[0, -STEPS:].tolist()) == answer


def test_packed_weights_are_unpacked(adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    packed = write_quantized(tmp_path / "packed", "gptq")
    merge(adapter, tmp_path / "merged", str(packed))
    # It is stored in float16.
    assert_alike(tmp_path / "merged", adapted_logits(packed, adapter), tolerance=0.1)
    assert {tensor.dtype for tensor in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.float16}
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    assert f"was trained on {CHECKPOINT} and is merged into {packed}" in caplog.text
    assert "packed in 4 bits: it is unpacked" in caplog.text


def test_a_base_model_becomes_a_chat_model(adapter: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    copy(CHECKPOINT, base)
    generation = base / "generation_config.json"
    generation.write_text(json.dumps(json.loads(generation.read_text()) | {"chat_format": "raw"}))
    merge(adapter, tmp_path / "merged", str(base))
    saved = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert saved == json.loads((CHECKPOINT / "generation_config.json").read_text())


def test_embeddings_that_were_trained_whole(adapter: Path, tmp_path: Path) -> None:
    folder = copy(adapter, tmp_path / "whole")
    change_config(folder, modules_to_save=["wte", "lm_head"])
    path = folder / "adapter_model.safetensors"
    golden = load_file(CHECKPOINT / "model.safetensors")
    whole = {f"base_model.model.{name}": -golden[name] for name in ("transformer.wte.weight", "lm_head.weight")}
    save_file(load_file(path) | whole, path, {"format": "pt"})
    merge(folder, tmp_path / "merged")
    saved = load_file(tmp_path / "merged" / "model.safetensors")
    assert saved.keys() == golden.keys()
    assert torch.equal(saved["lm_head.weight"], -golden["lm_head.weight"])


def test_what_does_not_fit_is_refused_by_name(adapter: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other")
    with pytest.raises(UserError, match=r"h\.0\.attn\.c_attn\.lora_A\.weight has shape \(8, 256\) and does not fit"):
        merge(adapter, tmp_path / "merged", str(other))
    stranger = copy(adapter, tmp_path / "stranger")
    path = stranger / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors["base_model.model.transformer.h.1.mlp.w2.lora_B.weight"]
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"lacks base_model\.model\.transformer\.h\.1\.mlp\.w2\.lora_B\.weight"):
        merge(stranger, tmp_path / "merged")
    save_file({"base_model.model.model.q_proj.lora_A.weight": torch.zeros(8, 256)}, path)
    with pytest.raises(UserError, match=r"q_proj\.lora_A\.weight is for a tensor that the model does not have"):
        merge(stranger, tmp_path / "merged")
    path.write_bytes(b"cut")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors cannot be read"):
        merge(stranger, tmp_path / "merged")
    change_config(stranger, peft_type="IA3")
    with pytest.raises(UserError, match="peft_type must be 'LORA'"):
        merge(stranger, tmp_path / "merged")
    change_config(stranger, peft_type="LORA", base_model_name_or_path=None)
    with pytest.raises(UserError, match="names no base model: give it by --base"):
        merge(stranger, tmp_path / "merged")
    with pytest.raises(CheckpointError, match="cannot load"):
        merge(adapter, tmp_path / "merged", str(tmp_path / "none"))
    with pytest.raises(UserError, match="is not empty"):
        merge(adapter, other)
    assert not (tmp_path / "merged").exists()
