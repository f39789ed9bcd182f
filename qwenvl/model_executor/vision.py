"""The visual encoder of Qwen-VL: a ViT and a cross-attention resampler, as one plain PyTorch module.

Parameters carry the checkpoint's names below ``transformer.visual``, so a state dict loads as it is. Serving and
training share this module; it knows neither vLLM nor transformers.

Shape suffixes: B images, C colour channels, H and W pixels, L patches, Q queries, E tower channels, F output channels,
N heads, K channels of a head.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from qwenvl.model_executor.config import VisionConfig
from qwenvl.model_executor.image_processor import normalize

EPSILON = 1e-6
TRAINED_GRID = 16
"""Side of the grid of stored position embeddings, in patches, whatever the image size."""


def attend(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
    """Softmax attention without a mask, in the form that runs fastest on the device at hand.

    On CPUs two matrix products beat the fused kernel in bfloat16, and lose by far in float32 and float16;
    ``benchmarks/vision_attention.py`` measures it, ``benchmarks/results`` has the figures.
    """
    if query_BNLK.device.type == "cpu" and query_BNLK.dtype == torch.bfloat16:
        scores = (query_BNLK * query_BNLK.shape[-1] ** -0.5) @ key_BNLK.transpose(-1, -2)
        return scores.softmax(dim=-1) @ value_BNLK
    return F.scaled_dot_product_attention(query_BNLK, key_BNLK, value_BNLK)


def resize_grid(table_LE: Tensor, length: int) -> Tensor:
    """Resize a square grid of position embeddings to ``length`` positions: bicubic, in float32."""
    if table_LE.shape[0] == length:
        return table_LE
    side, new_side = int(table_LE.shape[0] ** 0.5), int(length**0.5)
    grid_1EHW = rearrange(table_LE.float(), "(h w) e -> 1 e h w", h=side)
    grid_1EHW = F.interpolate(grid_1EHW, size=(new_side, new_side), mode="bicubic", align_corners=False)
    return rearrange(grid_1EHW, "1 e h w -> (h w) e").to(table_LE.dtype)


class SelfAttention(nn.Module):
    """Self-attention over patches. The rows of ``in_proj`` are grouped by head: q, k and v of head 0, then head 1."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BLE: Tensor) -> Tensor:
        qkv = rearrange(self.in_proj(x_BLE), "b l (n k) -> b n l k", n=self.heads)
        attended_BNLK = attend(*qkv.chunk(3, dim=-1))
        return self.out_proj(rearrange(attended_BNLK, "b n l k -> b l (n k)"))


class MLP(nn.Module):
    """Two layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x_BLE: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x_BLE)))


class Block(nn.Module):
    """One pre-norm layer of the tower."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width, eps=EPSILON)
        self.attn = SelfAttention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width, eps=EPSILON)
        self.mlp = MLP(config.width, config.mlp_width)

    def forward(self, x_BLE: Tensor) -> Tensor:
        x_BLE = x_BLE + self.attn(self.ln_1(x_BLE))
        return x_BLE + self.mlp(self.ln_2(x_BLE))


class Blocks(nn.Module):
    """The tower's layers, under the name the checkpoint gives them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, x_BLE: Tensor) -> Tensor:
        for block in self.resblocks:
            x_BLE = block(x_BLE)
        return x_BLE


class CrossAttention(nn.Module):
    """Multi-head cross-attention with the parameter names of ``torch.nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query_QF: Tensor, key_BLF: Tensor, value_BLF: Tensor) -> Tensor:
        inputs = (query_QF.unsqueeze(0), key_BLF, value_BLF)
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query_1NQK, key_BNLK, value_BNLK = (
            rearrange(F.linear(x, weight, bias), "b l (n k) -> b n l k", n=self.heads)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        attended_BNQK = attend(query_1NQK.expand(key_BLF.shape[0], -1, -1, -1), key_BNLK, value_BNLK)
        return self.out_proj(rearrange(attended_BNQK, "b n q k -> b q (n k)"))


class Resampler(nn.Module):
    """Learned queries that read the patches into a fixed number of vectors."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.output_dim
        self.query = nn.Parameter(torch.randn(config.n_queries, width) * 0.02)
        # Stored in the checkpoint and never trained: a two-dimensional sine-cosine table.
        self.pos_embed = nn.Parameter(
            sincos_grid(config.n_queries, width).to(torch.get_default_dtype()), requires_grad=False
        )
        # The original leaves the projection out where it would map a width to itself.
        self.kv_proj = nn.Identity() if config.width == width else nn.Linear(config.width, width, bias=False)
        self.attn = CrossAttention(width, config.resampler_heads)
        self.ln_q = nn.LayerNorm(width, eps=EPSILON)
        self.ln_kv = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x_BLE: Tensor) -> Tensor:
        value_BLF = self.ln_kv(self.kv_proj(x_BLE))
        key_BLF = value_BLF + resize_grid(self.pos_embed, value_BLF.shape[1])
        return self.attn(self.ln_q(self.query) + self.pos_embed, key_BLF, value_BLF)


class VisionTransformer(nn.Module):
    """Pixels to the vectors that stand for an image in the prompt."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size, bias=False)
        self.positional_embedding = nn.Parameter(torch.randn(TRAINED_GRID**2, config.width) * config.width**-0.5)
        self.ln_pre = nn.LayerNorm(config.width, eps=EPSILON)
        self.transformer = Blocks(config)
        self.attn_pool = Resampler(config)
        self.ln_post = nn.LayerNorm(config.output_dim, eps=EPSILON)
        self.proj = nn.Parameter(torch.randn(config.output_dim, config.output_dim) * config.output_dim**-0.5)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights, and so of the output."""
        return self.proj.dtype

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels_BCHW: ``uint8`` as from :func:`~qwenvl.model_executor.image_processor.resize_image`, or floating
                point and normalised already.

        Returns:
            (B, n_queries, output_dim), in the dtype of the weights.
        """
        if not pixels_BCHW.is_floating_point():
            pixels_BCHW = normalize(pixels_BCHW)
        x_BLE = rearrange(self.conv1(pixels_BCHW.to(self.dtype)), "b e h w -> b (h w) e")
        x_BLE = x_BLE + resize_grid(self.positional_embedding, x_BLE.shape[1])
        x_BLE = self.transformer(self.ln_pre(x_BLE))
        return self.ln_post(self.attn_pool(x_BLE)) @ self.proj


def sincos_grid(length: int, width: int) -> Tensor:
    """Sine-cosine positions of a square grid, float32 (length, width).

    The first half of the channels encodes the column, the second half the row; each half is sines then cosines over
    ``10000 ** -(i / (width / 4))``, as in MAE.
    """
    side = int(length**0.5)
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    axis = torch.outer(torch.arange(side, dtype=torch.float64), frequencies)
    axis = torch.cat([axis.sin(), axis.cos()], dim=1)
    columns = axis.unsqueeze(0).expand(side, side, -1)
    rows = axis.unsqueeze(1).expand(side, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(length, width).float()
