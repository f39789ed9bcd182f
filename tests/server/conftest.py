"""The whole stack on the golden checkpoint, shared by the tests: real engine, real sockets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.parity.conftest import KV_CACHE_BYTES
from tests.parity.golden import CHECKPOINT, DATA

if TYPE_CHECKING:
    from qwenvl.engine.vllm_engine import VLLMEngine

MODEL = "golden"
START_SECONDS = 180


@dataclass(frozen=True)
class Stack:
    engine: "VLLMEngine"
    live: LiveServer

    @property
    def base_url(self) -> str:
        return f"{self.live.url}/v1"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The API before vLLM, in chunks of 512 tokens so that long prompts are prefilled in parts."""
    from vllm import AsyncEngineArgs

    from qwenvl.engine.vllm_engine import VLLMEngine

    engine = VLLMEngine(
        AsyncEngineArgs(
            model=str(CHECKPOINT),
            served_model_name=[MODEL, "alias"],
            dtype="float32",
            enforce_eager=True,
            kv_cache_memory_bytes=KV_CACHE_BYTES,
            max_num_batched_tokens=512,
            max_num_seqs=32,
        )
    )
    settings = Settings(allow_private_addresses=True, drain_timeout=5)
    with LiveServer(engine, settings, patience=START_SECONDS) as live:
        yield Stack(engine, live)


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def images() -> Path:
    return DATA / "images"
