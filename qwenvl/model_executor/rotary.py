"""Rotary positions of Qwen: dynamic NTK by prompt length, log-n by position.

The original fixes a rotary base for a whole request when it sees the prompt: alpha is 1 for prompts up to the
training length s, 3 up to 2 s, 7 up to 4 s and so on. We number these steps as buckets: bucket b has alpha
``2 ** (b + 1) - 1``. A bucket is all the language model needs to know of a request, so one table holds the cosines
and sines of every position under every bucket, row ``bucket * length + position``, and a request's positions are
offset by ``bucket * length`` once. That keeps alpha through decode, chunked prefill and mixed batches at no cost.

Shape suffixes: T tokens, D half of a head's channels, H heads, K channels of a head.
"""

import math

import torch
from torch import Tensor

from qwenvl.model_executor.config import QWenConfig


def ntk_bucket(prompt_length: int, train_length: int) -> int:
    """Dynamic-NTK bucket of a prompt: ``max(0, ceil(log2(prompt_length / train_length)))``, without rounding."""
    return (max(1, -(-prompt_length // train_length)) - 1).bit_length()


def ntk_alpha(bucket: int) -> int:
    """The original's alpha for a bucket: 1, 3, 7, 15, .."""
    return 2 ** (bucket + 1) - 1


def prompt_bucket(config: QWenConfig, prompt_length: int) -> int:
    """Bucket of a prompt under ``config``; always 0 where dynamic NTK is off."""
    return ntk_bucket(prompt_length, config.train_length) if config.use_dynamic_ntk else 0


def inverse_frequencies(config: QWenConfig, bucket: int) -> Tensor:
    """Inverse frequencies (D,) float32, with the NTK-scaled base of a bucket."""
    size = config.kv_channels
    base = config.rotary_emb_base * ntk_alpha(bucket) ** (size / (size - 2))
    return 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float32, device="cpu") / size))


def logn_scale(config: QWenConfig, length: int) -> Tensor:
    """Factor on the query at each position (length,) float32; all ones where log-n is off."""
    if not config.use_logn_attn:
        return torch.ones(length, dtype=torch.float32, device="cpu")
    positions = torch.arange(1, length + 1, dtype=torch.float64, device="cpu")
    return (positions.log() / math.log(config.train_length)).clamp(min=1.0).float()


def rotary_table(config: QWenConfig, length: int) -> Tensor:
    """Cosines, sines and log-n factors of every position under every bucket a prompt can fall into.

    Args:
        config: heads, base and training length.
        length: context limit in tokens.

    Returns:
        float32, shape (buckets * length, 2 D + 1): per row D cosines, D sines, one log-n factor.
    """
    positions = torch.arange(length, dtype=torch.float32, device="cpu")
    logn = logn_scale(config, length).unsqueeze(1)
    rows = []
    for bucket in range(prompt_bucket(config, length) + 1):
        angles = torch.outer(positions, inverse_frequencies(config, bucket))
        rows.append(torch.cat([angles.cos(), angles.sin(), logn], dim=1))
    return torch.cat(rows)


def rotate(x_THK: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotate heads in float32; the first half of the channels pairs with the second. Returns float32 (T, H, K)."""
    first_THD, second_THD = x_THK.float().chunk(2, dim=-1)
    return torch.cat([first_THD * cos_T1D - second_THD * sin_T1D, second_THD * cos_T1D + first_THD * sin_T1D], dim=-1)
