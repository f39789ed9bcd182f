"""Qwen-VL on current engines: configuration, chat rendering, an OpenAI-compatible server."""

__version__ = "0.1.0"
