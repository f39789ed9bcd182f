"""The small model before it is trained: its vocabulary, its sizes, and where its resampler looks at first."""

import json
from pathlib import Path
from random import Random

import regex
import torch

from qwenvl.chat import VOCABULARY_FILE, Text, Vocabulary
from qwenvl.demo.conversations import random_sample
from qwenvl.demo.scenes import Mix
from qwenvl.demo.vocabulary import corpus, train_vocabulary
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.vision import VisionTransformer, sincos_grid

N_RANKS = 1024

VOCAB_SIZE = 1280
"""Ranks and special tokens, padded to a multiple of 128 as the released models' is."""

_CAPITALS = regex.compile(r"[A-Z]{2,}|\b[A-Z]\b")


def demo_vocabulary() -> Vocabulary:
    """The small model's vocabulary, learned from the corpus and from conversations about scenes.

    Words in capitals, which are read off pictures, are kept out: each letter stays a token of its own, so that a word
    never seen can be spelled.
    """
    rng = Random(0)
    said = [
        _CAPITALS.sub("", part.text)
        for _ in range(3000)
        for message in random_sample(rng, Mix(), 6).messages
        for part in message.parts
        if isinstance(part, Text)
    ]
    return train_vocabulary("\n".join([corpus() * 3, *said]), N_RANKS)


def small_config(vocabulary: Vocabulary) -> QWenConfig:
    """Sizes of the small model: 6.4 million parameters, 12.8 MB in bfloat16; what two cores can train in hours."""
    return QWenConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        kv_channels=64,
        intermediate_size=1536,
        train_length=2048,
        max_position_embeddings=8192,
        visual={
            "image_size": 224,
            "patch_size": 14,
            "width": 192,
            "layers": 4,
            "heads": 3,
            "mlp_ratio": 4.0,
            "output_dim": 256,
            "n_queries": 64,
            "image_start_id": vocabulary.image_start,
        },
    )


@torch.no_grad()
def place_queries(visual: VisionTransformer) -> None:
    """Let each query of the resampler start out at its own place, and each patch know where it is.

    At the usual initialisation the resampler attends to all patches alike, has no residual, and so gives the same
    vector for every query: telling them apart is what takes long to learn. Here queries are nearly pure position, and
    the projections of queries and keys pass the fast channels of the position table on, enlarged.
    """
    pool, width = visual.attn_pool, visual.config.output_dim
    visual.positional_embedding.copy_(sincos_grid(len(visual.positional_embedding), visual.config.width))
    pool.query.normal_(std=0.02)
    pool.ln_q.weight.fill_(0.1)
    head_size = width // visual.config.resampler_heads
    fast = head_size // 8
    quarter = width // 4
    # Sines, cosines of columns, then of rows: the first channels of each are the fastest.
    channels = torch.cat([torch.arange(start, start + fast) for start in range(0, width, quarter)])
    # What is seen there must not drown where it is.
    pool.ln_kv.weight[channels] = 0.1
    for part in range(2):
        weight = pool.attn.in_proj_weight[part * width : (part + 1) * width]
        weight.normal_(std=0.02)
        for head in range(visual.config.resampler_heads):
            rows = head * head_size + torch.arange(len(channels))
            weight[rows, channels] += 3.0


def write_side_files(directory: Path, config: QWenConfig, vocabulary: Vocabulary) -> None:
    """What a release has beside its weights and its ``config.json``."""
    vocabulary.save(directory / VOCABULARY_FILE)
    files = {
        "generation_config.json": {
            "chat_format": "chatml",
            "eos_token_id": vocabulary.end_of_text,
            "pad_token_id": vocabulary.end_of_text,
            "max_window_size": 6144,
            "max_new_tokens": 512,
            "do_sample": True,
            "top_k": 0,
            "top_p": 0.3,
        },
        "tokenizer_config.json": {
            "model_max_length": config.max_position_embeddings,
            "tokenizer_class": "QWenTokenizer",
            "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
        },
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
