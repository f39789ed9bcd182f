"""Adapters that are given at the start are looked at before anything of the engine is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qwenvl.engine import AdapterSource
from qwenvl.errors import CheckpointError
from tests.parity.checkpoints import write_adapter
from tests.parity.golden import CHECKPOINT

pytestmark = pytest.mark.slow


def unfit(folder: Path) -> Path:
    path = write_adapter(folder) / "adapter_model.safetensors"
    save_file({name.replace("w1", "w9"): tensor for name, tensor in load_file(path).items()}, path)
    return folder


@pytest.mark.parametrize(
    ("name", "make", "options", "complaint"),
    [
        ("a", lambda folder: folder, {}, "adapter 'a': there is no folder"),
        ("a", unfit, {}, r"adapter 'a': .*adapter_model\.safetensors: tensor .*w9.* is none of an adapter"),
        ("a", lambda folder: write_adapter(folder, rank=24), {}, r"adapter 'a': .*config\.json: rank 24 is above"),
        ("golden", write_adapter, {"served_model_name": ["x", "golden"]}, "has the name of the model"),
    ],
)
async def test_refused_before_the_engine_is_loaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path], Path],
    options: dict[str, Any],
    complaint: str,
) -> None:
    from vllm import AsyncEngineArgs

    from qwenvl.engine.vllm_engine import VLLMEngine

    folder = make(tmp_path / "adapter")
    args = AsyncEngineArgs(str(CHECKPOINT), enable_lora=True, **options)
    engine = VLLMEngine(args, [AdapterSource(name, folder)])
    monkeypatch.setattr(engine, "_load", None)
    with pytest.raises(CheckpointError, match=complaint) as refused:
        await engine.start()
    # The copy that was looked at is nobody's business.
    assert "qwenvl-adapters-" not in str(refused.value)
    await engine.stop()
