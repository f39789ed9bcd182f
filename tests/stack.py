"""The whole stack on the golden checkpoint, shared by all tests that need it: real engine, real sockets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.api.live import LiveServer

if TYPE_CHECKING:
    from qwenvl.engine.vllm_engine import VLLMEngine

MODEL = "golden"
START_SECONDS = 180
KV_CACHE_BYTES = 1 << 30


@dataclass(frozen=True)
class Stack:
    engine: "VLLMEngine"
    live: LiveServer

    @property
    def base_url(self) -> str:
        return f"{self.live.url}/v1"
