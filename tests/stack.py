"""The whole stack on the golden checkpoint, shared by all tests that need it: real engine, real sockets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwenvl.engine import GenerationRequest, Step
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

    def generate(self, request: GenerationRequest) -> list[Step]:
        """Every step of one request to the engine."""
        return self.generate_all([request])[0]

    def generate_all(self, requests: Sequence[GenerationRequest]) -> list[list[Step]]:
        """Every step of several requests that run together."""

        async def steps_of(request: GenerationRequest) -> list[Step]:
            return [step async for step in self.engine.generate(request)]

        async def run() -> list[list[Step]]:
            return await asyncio.gather(*map(steps_of, requests))

        return self.live.call(run())
