"""Self-attention of the transformers model.

Shape suffixes: B prompts, L positions, E hidden channels, H heads, K channels of a head, D half of K.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.rotary import rotate

Rotary = tuple[Tensor, Tensor, Tensor]
"""Cosines (B, L, 1, D), sines (B, L, 1, D) and log-n factors (B, L, 1, 1), float32."""


class QWenAttention(nn.Module):
    """Multi-head attention; ``c_attn`` stacks q, k and v, each with all heads."""

    is_causal = True
    num_key_value_groups = 1  # read by the attention functions of transformers

    def __init__(self, config: QWenConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.attention_size)
        self.c_proj = nn.Linear(config.attention_size, config.hidden_size, bias=not config.no_bias)

    def forward(
        self, x_BLE: Tensor, rotary: Rotary, mask: Tensor | None, past_key_values: Cache | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        cos_BL1D, sin_BL1D, logn_BL11 = rotary
        query_BLHK, key_BLHK, value_BLHK = (
            part.unflatten(-1, (-1, self.config.kv_channels)) for part in self.c_attn(x_BLE).chunk(3, dim=-1)
        )
        query_BLHK = (rotate(query_BLHK, cos_BL1D, sin_BL1D) * logn_BL11).to(value_BLHK.dtype)
        key_BLHK = rotate(key_BLHK, cos_BL1D, sin_BL1D).to(value_BLHK.dtype)
        query, key, value = (x.transpose(1, 2) for x in (query_BLHK, key_BLHK, value_BLHK))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        attended_BLHK, weights = attend(
            self, query, key, value, mask, dropout=0.0, scaling=self.config.kv_channels**-0.5, **kwargs
        )
        return self.c_proj(attended_BLHK.flatten(2)), weights


def eager_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Attention in the open, with its weights: for ``attn_implementation="eager"``."""
    scores = query @ key.transpose(-1, -2) * kwargs["scaling"]
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).transpose(1, 2), weights
