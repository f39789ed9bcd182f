"""The tensors of an original checkpoint: their names, their shapes, and the names to pass over."""

import re
from collections.abc import Iterator

from qwenvl.model_executor.config import QWenConfig, VisionConfig
from qwenvl.model_executor.vision import TRAINED_GRID

VISUAL_PREFIX = "transformer.visual."

LAYER_LINEARS = ("attn.c_attn", "attn.c_proj", "mlp.w1", "mlp.w2", "mlp.c_proj")
"""The linears of a language-model layer: what quantisation replaces and what LoRA adapts."""

IGNORED = re.compile(r"((^|\.)(rotary_emb\.inv_freq|attn\.masked_bias|attn\.bias)$)|(^base_model\.)")
"""Buffers that some checkpoints carry, all of them recomputed, and adapters that trainers leave beside the weights."""

Shapes = dict[str, tuple[int, ...]]


def checkpoint_shapes(config: QWenConfig) -> Shapes:
    """Name and shape of every tensor of an unquantised checkpoint, in the original layout."""
    shapes: Shapes = {"transformer.wte.weight": (config.vocab_size, config.hidden_size)}
    for i in range(config.num_hidden_layers):
        shapes |= {f"transformer.h.{i}.{name}": shape for name, shape in _layer(config)}
    shapes["transformer.ln_f.weight"] = (config.hidden_size,)
    if config.vision is not None:
        shapes |= {VISUAL_PREFIX + name: shape for name, shape in _visual(config.vision)}
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, config.hidden_size)
    return shapes


def _layer(config: QWenConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, attention, mlp = config.hidden_size, config.attention_size, config.mlp_size
    yield "ln_1.weight", (hidden,)
    yield "ln_2.weight", (hidden,)
    yield "attn.c_attn.weight", (3 * attention, hidden)
    yield "attn.c_attn.bias", (3 * attention,)
    yield "attn.c_proj.weight", (hidden, attention)
    yield "mlp.w1.weight", (mlp, hidden)
    yield "mlp.w2.weight", (mlp, hidden)
    yield "mlp.c_proj.weight", (hidden, mlp)
    if not config.no_bias:
        yield "attn.c_proj.bias", (hidden,)
        yield "mlp.w1.bias", (mlp,)
        yield "mlp.w2.bias", (mlp,)
        yield "mlp.c_proj.bias", (hidden,)


def _visual(vision: VisionConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, output = vision.width, vision.output_dim
    yield "conv1.weight", (width, 3, vision.patch_size, vision.patch_size)
    yield "positional_embedding", (TRAINED_GRID**2, width)
    yield from _norm("ln_pre", width)
    for i in range(vision.layers):
        block = f"transformer.resblocks.{i}"
        yield from _norm(f"{block}.ln_1", width)
        yield from _norm(f"{block}.ln_2", width)
        yield from _linear(f"{block}.attn.in_proj", 3 * width, width)
        yield from _linear(f"{block}.attn.out_proj", width, width)
        yield from _linear(f"{block}.mlp.c_fc", vision.mlp_width, width)
        yield from _linear(f"{block}.mlp.c_proj", width, vision.mlp_width)
    yield "attn_pool.query", (vision.n_queries, output)
    yield "attn_pool.pos_embed", (vision.n_queries, output)
    if width != output:
        yield "attn_pool.kv_proj.weight", (output, width)
    yield "attn_pool.attn.in_proj_weight", (3 * output, output)
    yield "attn_pool.attn.in_proj_bias", (3 * output,)
    yield from _linear("attn_pool.attn.out_proj", output, output)
    yield from _norm("attn_pool.ln_q", output)
    yield from _norm("attn_pool.ln_kv", output)
    yield from _norm("ln_post", output)
    yield "proj", (output, output)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
