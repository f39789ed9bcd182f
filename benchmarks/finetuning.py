"""What fine-tuning takes: memory computed for a checkpoint's sizes, speed and memory measured on a small one.

``python -m benchmarks.finetuning --output benchmarks/results/<date>-<machine>-finetuning.json``
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import PIL.Image

from benchmarks.environment import describe
from qwenvl.demo.checkpoint import built_in_checkpoint
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import LAYER_LINEARS, VISUAL_PREFIX, checkpoint_shapes

RELEASED = {
    "image_size": 448,
    "patch_size": 14,
    "width": 1664,
    "layers": 48,
    "heads": 16,
    "mlp_ratio": 4.9231,
    "output_dim": 4096,
    "image_start_id": 151857,
}
LORA_TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.w1", "mlp.w2")
RESAMPLER = tuple(f"{VISUAL_PREFIX}{name}" for name in ("attn_pool", "ln_post", "proj"))
RANK = 64

TRAINED = 16
"""Bytes for each number that is learned, in every method: its float32 value, its gradient and AdamW's two moments."""
PACKED = 0.5 + 4.5 / 128
"""Bytes for each number in 4 bits, groups of 128: itself, a float32 scale and a zero point."""

METHODS = ("lora", "qlora (Int4)", "qlora (NF4)", "full", "full, tower too")


def memory(config: QWenConfig, method: str, length: int) -> dict[str, float]:
    """GiB on one GPU that nothing is shared with, for one conversation at a time in bfloat16 with checkpointing."""
    sizes = {name: prod(shape) for name, shape in checkpoint_shapes(config).items()}
    everything = sum(sizes.values())
    if method.startswith("full"):
        frozen = sum(
            size
            for name, size in sizes.items()
            if name.startswith(VISUAL_PREFIX) and not (name.startswith(RESAMPLER) or method.endswith("too"))
        )
        learned, weights = everything - frozen, 4.0 * frozen
    else:
        learned = _adapter_size(config)
        packed = sum(size for name, size in sizes.items() if _is_packed(name, method))
        weights = 2.0 * (everything - packed) + PACKED * packed
    parts = {
        "weights that stay": weights,
        "learned, with gradients and AdamW": float(TRAINED * learned),
        "activations": _activations(config, length),
    }
    return {name: size / 2**30 for name, size in (parts | {"total": sum(parts.values())}).items()}


def _adapter_size(config: QWenConfig) -> int:
    shapes = checkpoint_shapes(config)
    layer = sum(RANK * sum(shapes[f"transformer.h.0.{name}.weight"]) for name in LORA_TARGETS)
    return layer * config.num_hidden_layers


def _is_packed(name: str, method: str) -> bool:
    if method == "lora":
        return False
    if name.startswith("transformer.h."):
        return name.endswith(tuple(f"{linear}.weight" for linear in LAYER_LINEARS))
    # bitsandbytes packs the linears of the tower too.
    return "NF4" in method and ".resblocks." in name and name.endswith(("_proj.weight", "c_fc.weight"))


def _activations(config: QWenConfig, length: int) -> float:
    """Bytes: every layer's input, all of one layer while it is computed again, and the logits of the loss.

    An estimate: kernels and the allocator take theirs.
    """
    hidden, mlp = config.hidden_size, config.mlp_size
    inputs = 2 * config.num_hidden_layers * hidden
    layer = 2 * (8 * hidden + 4 * mlp)
    # In bfloat16, in float32, and their gradient.
    logits = 10 * config.vocab_size
    return float(length * (inputs + layer + logits))


def measure(method: str, steps: int, batch_size: int) -> dict[str, Any]:
    """A short run on the built-in checkpoint, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = _write_data(folder)
        options = {
            "data": data,
            "output": folder / "out",
            "method": method,
            "max-steps": steps,
            "batch-size": batch_size,
            "accumulation": 1,
            "save-steps": steps + 1,
            "learning-rate": 1e-4,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "qwenvl.cli", "finetune", str(built_in_checkpoint()), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        summary = json.loads((folder / "out" / "training" / "summary.json").read_text(encoding="utf-8"))
    # The first step starts everything up.
    first, last = (entry for entry in summary["log"] if entry["step"] in (1, steps) and "loss" in entry)
    seconds = last["train_runtime"] - first["train_runtime"]
    return {
        "method": method,
        "seconds_per_step": seconds / (steps - 1),
        "tokens_per_second": (last["num_input_tokens_seen"] - first["num_input_tokens_seen"]) / seconds,
        "peak_memory_mib": summary["peak_memory"] / 2**20,
        "device": summary["device"],
    }


def _write_data(folder: Path) -> Path:
    """Sixteen conversations about a picture each."""
    samples: list[dict[str, Any]] = []
    for i in range(16):
        PIL.Image.new("RGB", (320, 240), (16 * i, 128, 255 - 16 * i)).save(folder / f"{i}.png")
        question = {"from": "user", "value": f"Picture 1: <img>{i}.png</img>\nWhich number is it?"}
        samples.append({"id": str(i), "conversations": [question, {"from": "assistant", "value": f"Number {i}."}]})
    path = folder / "data.json"
    path.write_text(json.dumps(samples), encoding="utf-8")
    return path


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=2048, help="positions of the conversation memory is computed for")
    parser.add_argument("--steps", type=int, default=10, help="of each measured run")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--output", type=Path, help="result file")
    args = parser.parse_args(argv)
    config = QWenConfig(visual=RELEASED)
    computed = {method: memory(config, method, args.length) for method in METHODS}
    print(f"computed, in GiB, Qwen-VL as released, one conversation of {args.length} positions:")
    for method, parts in computed.items():
        print(f"  {method:16}", "  ".join(f"{name} {size:.1f}" for name, size in parts.items()))
    measured = [measure(method, args.steps, args.batch_size) for method in ("lora", "qlora", "full")]
    print(f"measured on the built-in checkpoint, {args.batch_size} conversations a step:")
    for row in measured:
        print(
            f"  {row['method']:16} {row['seconds_per_step']:.2f} s a step, {row['tokens_per_second']:.0f} tokens/s, "
            f"peak {row['peak_memory_mib']:.0f} MiB ({row['device']})"
        )
    if args.output:
        result: dict[str, Any] = {"environment": describe(), "settings": {"length": args.length, "steps": args.steps}}
        result |= {"computed_gib": computed, "measured": measured}
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
