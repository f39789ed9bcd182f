"""A small Qwen-VL checkpoint that needs no download: same layout, same code paths, weights of no use yet."""

from qwenvl.demo.checkpoint import ensure_checkpoint

__all__ = ["ensure_checkpoint"]
