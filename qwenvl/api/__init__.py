"""The OpenAI-compatible HTTP API. It sees the engine through ``qwenvl.engine.protocol`` alone."""

from qwenvl.api.app import create_app
from qwenvl.api.settings import Settings

__all__ = ["Settings", "create_app"]
