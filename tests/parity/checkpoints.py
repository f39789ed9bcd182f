"""Variants of the golden checkpoint: quantised, merged with an adapter, in other file formats, damaged."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qwenvl.model_executor.weights import LAYER_LINEARS, VISUAL_PREFIX
from tests.parity.golden import CHECKPOINT

GROUP = 128
NIBBLES = 8
"""4-bit values in one int32."""


def golden_tensors() -> dict[str, Tensor]:
    return load_file(CHECKPOINT / "model.safetensors")


def is_layer_linear(name: str) -> bool:
    module, _, kind = name.rpartition(".")
    return kind == "weight" and module.endswith(LAYER_LINEARS) and not name.startswith(VISUAL_PREFIX)


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], **config: object) -> Path:
    """A copy of the golden checkpoint with other tensors and some other keys in ``config.json``."""
    shutil.copytree(CHECKPOINT, folder, ignore=shutil.ignore_patterns("model.safetensors", "golden.json"))
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    original = json.loads((CHECKPOINT / "config.json").read_text())
    kept = {key: value for key, value in (original | config).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def write_gptq_pair(folder: Path) -> tuple[Path, Path]:
    """A GPTQ Int4 checkpoint in the released layout, and its dequantised twin in the original one.

    Scales are powers of two, so that the twin's weights are exact in every dtype.
    """
    packed, dense = {}, {}
    for name, weight in golden_tensors().items():
        if not is_layer_linear(name):
            packed[name] = dense[name] = weight
            continue
        module = name.removesuffix(".weight")
        quantized_IO, scales_GO = _quantize(weight.float().t())
        columns, rows = quantized_IO.shape
        dense[name] = ((quantized_IO - 8) * scales_GO.repeat_interleave(GROUP, 0)).t().contiguous().half()
        packed[f"{module}.qweight"] = _pack(quantized_IO)
        # The format stores zero points less one; with symmetric quantisation each is 8.
        packed[f"{module}.qzeros"] = _pack(torch.full((rows, columns // GROUP), 7)).t().contiguous()
        packed[f"{module}.scales"] = scales_GO.half()
        packed[f"{module}.g_idx"] = (torch.arange(columns) // GROUP).to(torch.int32)
        if f"{module}.bias" not in golden_tensors():
            packed[f"{module}.bias"] = torch.zeros(rows, dtype=torch.float16)
    quantization = {
        "bits": 4,
        "group_size": GROUP,
        "damp_percent": 0.01,
        "desc_act": False,
        "static_groups": False,
        "sym": True,
        "true_sequential": True,
        "model_name_or_path": None,
        "model_file_base_name": "model",
        "quant_method": "gptq",
    }
    return (
        write_checkpoint(folder / "int4", packed, quantization_config=quantization),
        write_checkpoint(folder / "dequantized", dense),
    )


def _quantize(weight_IO: Tensor) -> tuple[Tensor, Tensor]:
    groups = weight_IO.unflatten(0, (-1, GROUP))
    scales_GO = torch.exp2(torch.ceil(torch.log2(groups.abs().amax(1) / 7)))
    quantized = (groups / scales_GO.unsqueeze(1)).round().clamp(-8, 7) + 8
    return quantized.flatten(0, 1).long(), scales_GO


def _pack(values_IO: Tensor) -> Tensor:
    """Eight 4-bit values of the first axis in one int32, the first in the lowest bits."""
    nibbles = values_IO.long().unflatten(0, (-1, NIBBLES))
    packed = sum(nibbles[:, i] << (4 * i) for i in range(NIBBLES))
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).contiguous()


def write_adapter(folder: Path, *, rank: int = 8, alpha: int = 16, seed: int = 0) -> Path:
    """A random LoRA adapter on every linear of the language model, as PEFT writes one."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in golden_tensors().items():
        if is_layer_linear(name):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            rows, columns = weight.shape
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) * columns**-0.5
            tensors[f"{module}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.05
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["c_attn", "attn.c_proj", "w1", "w2", "mlp.c_proj"],
        "base_model_name_or_path": "golden",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_merged(folder: Path, adapter: Path) -> Path:
    """The golden checkpoint with an adapter added into its weights, in float32."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]
    deltas = load_file(adapter / "adapter_model.safetensors")
    tensors = {name: tensor.float() for name, tensor in golden_tensors().items()}
    for name in filter(is_layer_linear, tensors):
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[name] = tensors[name] + scale * deltas[f"{module}.lora_B.weight"] @ deltas[f"{module}.lora_A.weight"]
    return write_checkpoint(folder, tensors)
