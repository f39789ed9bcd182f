"""Seeded noise in the shape of a checkpoint, scaled so that logits differ and no dtype overflows."""

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from qwenvl.model_executor.vision import sincos_grid

Array = NDArray[np.float64]

# What a tensor is, told by the end of its name; the first match counts. Matrices named by none get 1 / sqrt(columns).
CONSTANTS = {
    "ln_1.weight": 1.0,
    "ln_2.weight": 1.0,
    "ln_f.weight": 1.0,
    "ln_pre.weight": 1.0,
    "ln_q.weight": 1.0,
    "ln_kv.weight": 1.0,
    "ln_post.weight": 1.0,
    "bias": 0.0,
}
SCALES = {
    "wte.weight": 0.5,
    "positional_embedding": 0.5,
    "attn_pool.query": 1.0,
    # Sharper than 1 / sqrt(256): which patch and which token is looked at should matter to the answer.
    "c_attn.weight": 0.09,
    "in_proj_weight": 0.18,
    # With 256 channels of unit size the logits spread by about 3: neither one word for ever nor all words alike.
    "lm_head.weight": 0.2,
}


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Iterator[tuple[str, Array]]:
    """Name and values of each tensor; each has a seed of its own, so that their order does not matter."""
    for name, shape in shapes.items():
        yield name, _tensor(name, shape, np.random.default_rng([seed, *name.encode()]))


def _tensor(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if name.endswith("attn_pool.pos_embed"):
        return sincos_grid(*shape).numpy().astype(np.float64)
    for ending, value in CONSTANTS.items():
        if name.endswith(ending):
            return np.full(shape, value)
    scale = next((scale for ending, scale in SCALES.items() if name.endswith(ending)), prod(shape[1:]) ** -0.5)
    return generator.normal(0.0, scale, shape)
