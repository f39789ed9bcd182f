import json
from pathlib import Path
from typing import Any

import pytest

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from tests.parity.golden import CHECKPOINT

ORIGINAL: dict[str, Any] = json.loads((CHECKPOINT / "config.json").read_text())


def test_original_file() -> None:
    config = QWenConfig.from_pretrained(CHECKPOINT)
    assert config.architectures == ["QwenVLForConditionalGeneration"]
    assert (config.train_length, config.max_position_embeddings, config.mlp_size, config.head_dim) == (
        2048,
        8192,
        512,
        128,
    )
    # vLLM takes the smaller of the two for the context limit.
    assert not hasattr(config, "seq_length")
    assert config.vision is not None
    assert (config.vision.n_queries, config.vision.grid, config.vision.mlp_width) == (256, 32, 315)


def test_saved_files_keep_the_original_keys(tmp_path: Path) -> None:
    QWenConfig.from_pretrained(CHECKPOINT).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    for key, value in ORIGINAL.items():
        if key not in ("transformers_version", "torch_dtype"):
            assert saved[key] == value, key
    assert saved["torch_dtype"] == "float16"
    assert QWenConfig.from_pretrained(tmp_path).train_length == 2048


def test_text_model() -> None:
    config = QWenConfig(**{key: value for key, value in ORIGINAL.items() if key != "visual"})
    assert config.vision is None
    assert config.architectures == ["QWenLMHeadModel"]


def test_n_queries_are_honoured() -> None:
    config = QWenConfig(**ORIGINAL | {"visual": ORIGINAL["visual"] | {"n_queries": 64}})
    assert config.vision is not None
    assert config.vision.n_queries == 64


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 0, "hidden_size must be a positive integer, not 0"),
        ("num_attention_heads", "2", "num_attention_heads must be a positive integer"),
        ("kv_channels", 127, "kv_channels must be even"),
        ("layer_norm_epsilon", "x", "layer_norm_epsilon must be a positive number, not 'x'"),
        ("use_logn_attn", "false", "use_logn_attn must be true or false"),
        ("visual", 5, "visual must be an object"),
        ("visual.mlp_ratio", "4", r"visual\.mlp_ratio must be a positive number"),
        ("rotary_pct", 0.25, "rotary_pct must be 1.0"),
        ("seq_length", None, "seq_length must be a positive integer"),
        ("visual.width", None, r"visual\.width is missing"),
        ("visual.patch_size", 13, r"visual\.image_size must be a multiple"),
        ("visual.output_dim", 128, r"visual\.output_dim must be hidden_size"),
        ("visual.output_dim", 100, r"visual\.output_dim must be a multiple of 128"),
        ("visual.heads", 5, r"visual\.width must be a multiple of visual\.heads"),
        ("visual.n_queries", 200, r"visual\.n_queries must be a square"),
    ],
)
def test_bad_values_are_named(key: str, value: object, message: str) -> None:
    section, _, name = key.rpartition(".")
    changed = dict(ORIGINAL["visual"]) if section else dict(ORIGINAL)
    if value is None and section:
        del changed[name]
    else:
        changed[name] = value
    with pytest.raises(CheckpointError, match=f"config.json: {message}"):
        QWenConfig(**(ORIGINAL | {"visual": changed} if section else changed))
