"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.parity.golden import CHECKPOINT
from tests.stack import KV_CACHE_BYTES, MODEL, START_SECONDS, Stack


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
