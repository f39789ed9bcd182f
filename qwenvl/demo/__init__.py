"""A small Qwen-VL that comes with the package, needs no download, and sees; how it is made, asked and taught more."""

from qwenvl.demo.checkpoint import built_in_checkpoint

__all__ = ["built_in_checkpoint"]
