"""Variants of the golden checkpoint: quantised, merged with an adapter, in other file formats, damaged."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qwenvl.model_executor.weights import LAYER_LINEARS, VISUAL_PREFIX
from tests.parity.golden import CHECKPOINT

GROUP = 128
NIBBLES = 8
"""4-bit values in one int32."""
ZERO = 8
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


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


def write_quantized(folder: Path, method: str) -> Path:
    """The linears of the language model in 4 bits, in the layout of a method: see :data:`METHODS`.

    Scales are powers of two, so that :func:`write_dequantized` is exact in every dtype.
    """
    pack, config = METHODS[method]
    originals = golden_tensors()
    tensors: dict[str, Tensor] = {}
    for name, weight in originals.items():
        if not is_layer_linear(name):
            tensors[name] = weight
            continue
        module = name.removesuffix("weight")
        tensors |= {f"{module}{kind}": part for kind, part in pack(*_quantize(weight)).items()}
        if method == "gptq" and f"{module}bias" not in originals:
            # Its packer adds a bias of zeros where a linear has none.
            tensors[f"{module}bias"] = torch.zeros(weight.shape[0], dtype=torch.float16)
    return write_checkpoint(folder, tensors, quantization_config=config)


def write_dequantized(folder: Path) -> Path:
    """The twin of every quantised checkpoint: the same numbers, unpacked."""
    tensors = golden_tensors()
    for name in filter(is_layer_linear, golden_tensors()):
        values_IO, scales_GO = _quantize(tensors[name])
        tensors[name] = ((values_IO - ZERO) * scales_GO.repeat_interleave(GROUP, 0)).t().contiguous().half()
    return write_checkpoint(folder, tensors)


def _quantize(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Values 0 to 15 around :data:`ZERO` (inputs, outputs), and their scales (groups, outputs)."""
    groups = weight_OI.float().t().unflatten(0, (-1, GROUP))
    scales_GO = torch.exp2(torch.ceil(torch.log2(groups.abs().amax(1) / 7)))
    values = (groups / scales_GO.unsqueeze(1)).round().clamp(-8, 7) + ZERO
    return values.flatten(0, 1).long(), scales_GO


def _pack(values: Tensor, order: Sequence[int] = range(NIBBLES)) -> Tensor:
    """Eight 4-bit values of the last axis in one int32; ``order`` says which goes where, lowest bits first."""
    nibbles = values.long().unflatten(-1, (-1, NIBBLES))
    packed = sum(nibbles[..., source] << (4 * i) for i, source in enumerate(order))
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).contiguous()


def _pack_gptq(values_IO: Tensor, scales_GO: Tensor) -> dict[str, Tensor]:
    columns = values_IO.shape[0]
    return {
        "qweight": _pack(values_IO.t()).t().contiguous(),
        # The format stores zero points less one.
        "qzeros": _pack(torch.full(scales_GO.shape, ZERO - 1)),
        "scales": scales_GO.half(),
        "g_idx": (torch.arange(columns) // GROUP).to(torch.int32),
    }


def _pack_awq(values_IO: Tensor, scales_GO: Tensor) -> dict[str, Tensor]:
    return {
        "qweight": _pack(values_IO, AWQ_ORDER),
        "qzeros": _pack(torch.full(scales_GO.shape, ZERO), AWQ_ORDER),
        "scales": scales_GO.half(),
    }


def _pack_compressed_tensors(values_IO: Tensor, scales_GO: Tensor) -> dict[str, Tensor]:
    values_OI = values_IO.t()
    return {
        "weight_packed": _pack(values_OI),
        "weight_scale": scales_GO.t().contiguous().half(),
        "weight_shape": torch.tensor(values_OI.shape),
    }


METHODS: dict[str, tuple[Callable[[Tensor, Tensor], dict[str, Tensor]], dict[str, object]]] = {
    # As in the released Qwen-VL-Chat-Int4.
    "gptq": (
        _pack_gptq,
        {
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
        },
    ),
    "awq": (
        _pack_awq,
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"},
    ),
    "compressed-tensors": (
        _pack_compressed_tensors,
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": 4,
                        "type": "int",
                        "symmetric": True,
                        "strategy": "group",
                        "group_size": GROUP,
                        "dynamic": False,
                    },
                }
            },
        },
    ),
}


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
