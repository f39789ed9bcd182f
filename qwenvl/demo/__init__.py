"""A small Qwen-VL checkpoint that needs no download: same layout, same code paths, weights of no use yet."""

from qwenvl.demo.checkpoint import built_in_checkpoint

__all__ = ["built_in_checkpoint"]
