"""Fixtures for all tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.parity.golden import CHECKPOINT
from tests.stack import KV_CACHE_BYTES, MODEL, START_SECONDS, Stack

# How long an example takes says something about the machine alone.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that a test starts finds no files and batches of an earlier one, least of all those at home."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / f"data-{uuid4().hex}"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
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
    data = tmp_path_factory.mktemp("data")
    settings = Settings(allow_private_addresses=True, drain_timeout=5, data_dir=data)
    with LiveServer(engine, settings, patience=START_SECONDS) as live:
        yield Stack(engine, live)


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Adapters by name: of every linear, and of the official ones in another form."""
    from tests.parity.adapters import EVERY, write_peft_adapter

    root = tmp_path_factory.mktemp("adapters")
    options = {"use_rslora": True, "rank_pattern": {"w1": 6}, "alpha_pattern": {"attn.c_proj": 4}}
    return {
        "every": write_peft_adapter(root / "every", targets=EVERY, seed=1),
        "team/official:2": write_peft_adapter(root / "official", seed=2, r=4, lora_alpha=8, **options),
    }


@pytest.fixture(scope="session")
def lora_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that :func:`adapted` loads adapters from."""
    return tmp_path_factory.mktemp("loadable")


@pytest.fixture(scope="session")
def adapted(adapters: Mapping[str, Path], lora_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The API before vLLM with adapters from the start, and a folder to load others from. Its admin key is "admin"."""
    from qwenvl.engine.arguments import engine_args, serve_parser
    from qwenvl.engine.vllm_engine import VLLMEngine

    settings = Settings(
        lora=tuple(f"{name}={folder}" for name, folder in adapters.items()),
        lora_dir=lora_dir,
        data_dir=tmp_path_factory.mktemp("data"),
        api_keys=("any",),
        admin_keys=("admin",),
        drain_timeout=5,
    )
    options = {"model": str(CHECKPOINT), "served-model-name": MODEL, "dtype": "float32", "max-lora-rank": "8"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    namespace = serve_parser("serve").parse_args(
        [*arguments, "--enforce-eager", "--kv-cache-memory-bytes=256M", "--max-num-batched-tokens=512"]
    )
    engine = VLLMEngine(engine_args(namespace, adapters=settings.lora, loads_adapters=True), settings.lora)
    with LiveServer(engine, settings, patience=START_SECONDS) as live:
        yield Stack(engine, live)
