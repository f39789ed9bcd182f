"""A checkpoint and data that train in seconds: all that matters is there, and small."""

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from safetensors.torch import save_file

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import checkpoint_shapes
from tests.parity.golden import CHECKPOINT

IMAGE_SIZE = 56
N_QUERIES = 16


def write_tiny(folder: Path, chat_format: str = "chatml") -> Path:
    """A visual model with the golden checkpoint's vocabulary, of 0.6 million parameters."""
    folder.mkdir()
    vocabulary = Vocabulary.from_file(CHECKPOINT / VOCABULARY_FILE)
    vocabulary.save(folder / VOCABULARY_FILE)
    config = json.loads((CHECKPOINT / "config.json").read_text()) | {
        "hidden_size": 128,
        "kv_channels": 64,
        "intermediate_size": 512,
        "visual": {
            "heads": 2,
            "image_size": IMAGE_SIZE,
            "image_start_id": vocabulary.image_start,
            "layers": 2,
            "mlp_ratio": 2.0,
            "n_queries": N_QUERIES,
            "output_dim": 128,
            "patch_size": 14,
            "width": 64,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text((CHECKPOINT / "tokenizer_config.json").read_text())
    generation = json.loads((CHECKPOINT / "generation_config.json").read_text()) | {"chat_format": chat_format}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: _noise(name, shape, generator).half() for name, shape in checkpoint_shapes(QWenConfig(**config)).items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def _noise(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name.endswith("bias"):
        return torch.zeros(shape)
    if ".ln_" in name:
        return torch.ones(shape)
    return torch.randn(shape, generator=generator) * prod(shape[1:]) ** -0.5


def write_pictures(folder: Path) -> None:
    """Squares of one colour: ``red.png``, ``green.png``, ``blue.png``."""
    for name in ("red", "green", "blue"):
        PIL.Image.new("RGB", (40, 30), name).save(folder / f"{name}.png")


def turn(role: str, value: str) -> dict[str, str]:
    return {"from": role, "value": value}


COLOURS: tuple[dict[str, Any], ...] = tuple(
    {
        "id": f"colour-{name}",
        "conversations": [
            turn("user", f"Picture 1: <img>{name}.png</img>\nWhich colour?"),
            turn("assistant", f"It is {name}."),
        ],
    }
    for name in ("red", "green", "blue")
)


def write_data(path: Path, samples: Sequence[Mapping[str, Any]] = COLOURS) -> Path:
    path.write_text(json.dumps(list(samples), ensure_ascii=False))
    return path
