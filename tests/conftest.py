"""Fixtures for all tests."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.parity.golden import CHECKPOINT
from tests.stack import KV_CACHE_BYTES, MODEL, START_SECONDS, Stack


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that a test starts finds no files and batches of an earlier one, least of all those at home."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / f"data-{uuid4().hex}"))


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
            scheduling_policy="priority",
        )
    )
    settings = Settings(allow_private_addresses=True, drain_timeout=5)
    with LiveServer(engine, settings, patience=START_SECONDS) as live:
        yield Stack(engine, live)
