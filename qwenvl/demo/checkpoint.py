"""The demo checkpoint: a genuine Qwen-VL in the original layout, small enough to be made when first asked for.

Its geometry is the released one (448-pixel images, 256 vectors each, heads of 128 channels, 2048 trained positions of
8192), its sizes are not. The weights are seeded noise, so it exercises every path and knows nothing.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qwenvl.chat.vocabulary import VOCABULARY_FILE, Vocabulary
from qwenvl.demo.vocabulary import corpus, train_vocabulary
from qwenvl.demo.weights import random_weights
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import checkpoint_shapes

VERSION = 2
"""Part of the directory's name: one more for every change in what is built, so that no stale copy is served."""

N_RANKS = 1280
VOCAB_SIZE = 1536
"""Ranks and special tokens, padded to a multiple of 128 as the released models' is."""

CACHE_VARIABLE = "QWENVL_CACHE"


def default_cache_dir() -> Path:
    """``$QWENVL_CACHE``, else ``$XDG_CACHE_HOME/qwenvl``, else ``~/.cache/qwenvl``."""
    if cache := os.environ.get(CACHE_VARIABLE):
        return Path(cache).expanduser()
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "qwenvl"
    return Path.home() / ".cache" / "qwenvl"


def ensure_checkpoint(cache_dir: Path | None = None) -> Path:
    """The demo checkpoint's directory; it is built there first where it is not there yet.

    It appears whole or not at all: built beside its place and renamed. Where several processes build at once, the
    first to finish wins and the others use its copy.

    Args:
        cache_dir: where to keep it; :func:`default_cache_dir` by default.

    Raises:
        CheckpointError: the cache cannot be written.
    """
    cache_dir = cache_dir or default_cache_dir()
    target = cache_dir / f"demo-v{VERSION}"
    if target.is_dir():
        return target
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=f".{target.name}-") as scratch:
            built = Path(scratch) / target.name
            _build(built)
            _move(built, target)
    except OSError as error:
        raise CheckpointError(
            f"cannot build the demo checkpoint in {cache_dir}: {error.strerror}; "
            f"{CACHE_VARIABLE} names another directory"
        ) from error
    return target


def _move(built: Path, target: Path) -> None:
    try:
        built.rename(target)
    except OSError:
        # A directory that is not empty cannot be replaced: another process was first.
        if not target.is_dir():
            raise


def _build(directory: Path) -> None:
    vocabulary = train_vocabulary(corpus(), N_RANKS)
    config = model_config(vocabulary)
    directory.mkdir()
    vocabulary.save(directory / VOCABULARY_FILE)
    for name, content in (
        ("config.json", config),
        ("generation_config.json", _generation_config(vocabulary)),
        ("tokenizer_config.json", _tokenizer_config(config)),
    ):
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    # transformers refuses a safetensors file that does not say which framework wrote it.
    save_file(_weights(QWenConfig(**config), vocabulary), directory / "model.safetensors", metadata={"format": "pt"})


def _weights(config: QWenConfig, vocabulary: Vocabulary) -> dict[str, NDArray[np.float16]]:
    weights = dict(random_weights(checkpoint_shapes(config), seed=VERSION))
    # Noise must not say control tokens, nor ids that the padding makes possible: a logit of 0 is far below the best.
    weights["lm_head.weight"][sorted(vocabulary.control_ids)] = 0.0
    weights["lm_head.weight"][vocabulary.size :] = 0.0
    return {name: weight.astype(np.float16) for name, weight in weights.items()}


def model_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """``config.json``, with the keys of a release."""
    return {
        "architectures": ["QWenLMHeadModel"],
        "attn_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "bf16": True,
        "emb_dropout_prob": 0.0,
        "fp16": False,
        "fp32": False,
        "hidden_size": 256,
        "initializer_range": 0.02,
        "intermediate_size": 1024,
        "kv_channels": 128,
        "layer_norm_epsilon": 1e-06,
        "max_position_embeddings": 8192,
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": 2,
        "num_hidden_layers": 4,
        "onnx_safe": None,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "seq_length": 2048,
        "tie_word_embeddings": False,
        "tokenizer_type": "QWenTokenizer",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.32.0",
        "use_cache": True,
        "use_dynamic_ntk": True,
        "use_flash_attn": "auto",
        "use_logn_attn": True,
        "visual": {
            "heads": 4,
            "image_size": 448,
            "image_start_id": vocabulary.image_start,
            "layers": 3,
            "mlp_ratio": 4.0,
            "output_dim": 256,
            "patch_size": 14,
            "width": 128,
        },
        "vocab_size": VOCAB_SIZE,
    }


def _generation_config(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "chat_format": "chatml",
        "eos_token_id": vocabulary.end_of_text,
        "pad_token_id": vocabulary.end_of_text,
        "max_window_size": 6144,
        "max_new_tokens": 512,
        "do_sample": True,
        "top_k": 0,
        "top_p": 0.5,
        "transformers_version": "4.31.0",
    }


def _tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    }
