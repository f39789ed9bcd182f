"""Adapters on their way to the engine. What is given at the start is looked at before anything of it is loaded."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from vllm.lora.request import LoRARequest

from qwenvl.engine import AdapterSource
from qwenvl.engine.adapter_copy import CONFIG_FILE
from qwenvl.engine.adapters import AdapterLoadError
from qwenvl.engine.checkpoint import read_config
from qwenvl.engine.vllm_adapters import VLLMAdapters
from qwenvl.errors import CheckpointError, EngineDeadError, EngineError, UserError
from tests.parity.checkpoints import write_adapter
from tests.parity.golden import CHECKPOINT

SERVED = read_config(CHECKPOINT / "config.json")


class Core:
    """Answers as the engine's processes do, and can be told to wait, or to fail at loading."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}
        self.error: Exception | None = None
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ask(self, method: str, argument: LoRARequest | int) -> object:
        self.asked.set()
        await self.may_answer.wait()
        if isinstance(argument, int):
            assert method == "remove_lora"
            return self.held.pop(argument, None)
        assert method == "add_lora"
        if self.error is not None:
            raise self.error
        assert (Path(argument.lora_path) / CONFIG_FILE).is_file()
        self.held[argument.lora_int_id] = argument.lora_name
        return True


class Loading:
    """Adapters over a core, and a folder of one to load."""

    def __init__(self, core: Core, folder: Path, capacity: int) -> None:
        self.core = core
        self.folder = folder
        self.adapters = VLLMAdapters([], capacity, 8, core.ask)
        self.adapters.prepare(SERVED, ["model"])

    async def load(self, name: str, *, replace: bool = False) -> None:
        await self.adapters.load(AdapterSource(name, self.folder), ["model"], inside=None, replace=replace)


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that copies are made in."""
    (folder := tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def loading(tmp_path: Path, copies: Path) -> Loading:
    return Loading(Core(), write_adapter(tmp_path / "adapter"), capacity=2)


async def test_copies_go_when_the_engine_has_read_them(loading: Loading, copies: Path) -> None:
    await asyncio.gather(loading.load("a"), loading.load("b"))
    await loading.load("a", replace=True)
    assert len(loading.core.held) == 2
    assert not os.listdir(copies)
    await loading.adapters.unload("a")
    await loading.adapters.unload("b")
    assert not loading.core.held


async def test_the_engine_never_holds_more_than_one_past_the_limit(loading: Loading) -> None:
    await loading.load("a")
    await loading.load("b")
    with loading.adapters.used("a"):
        await loading.load("a", replace=True)
        assert len(loading.core.held) == 3
        for name in ("a", "b"):
            with pytest.raises(UserError, match="1 earlier ones are still in use"):
                await loading.load(name, replace=True)
    await loading.load("b", replace=True)


async def test_names_in_the_engine_are_of_this_process_alone(loading: Loading) -> None:
    other = Loading(Core(), loading.folder, capacity=1)
    await loading.load("a")
    await other.load("a")
    assert loading.core.held.keys() == other.core.held.keys()
    assert set(loading.core.held.values()).isdisjoint(other.core.held.values())


async def test_a_load_that_nobody_waits_for(loading: Loading, copies: Path) -> None:
    loading.core.may_answer.clear()
    asking = asyncio.create_task(loading.load("a"))
    await loading.core.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(UserError, match="'a' is being loaded just now"):
        await loading.load("a")
    with pytest.raises(UserError, match="There is no adapter 'b'"):
        await loading.adapters.unload("b")
    loading.core.may_answer.set()
    await loading.adapters.stop()
    assert list(loading.adapters.adapters) == ["a"]
    assert not os.listdir(copies)


@pytest.mark.parametrize(
    ("error", "kind", "complaint"),
    [
        (Exception("what the worker says"), AdapterLoadError, "'a' could not be loaded: .* what the worker says"),
        (TimeoutError(), AdapterLoadError, "'a' could not be loaded: the engine did not answer within 120 s"),
        (EngineDeadError("gone"), EngineDeadError, "gone"),
    ],
)
async def test_an_engine_that_fails(
    loading: Loading, copies: Path, error: Exception, kind: type[Exception], complaint: str
) -> None:
    loading.core.error = error
    with pytest.raises(kind, match=complaint):
        await loading.load("a")
    assert not loading.adapters.adapters
    assert not os.listdir(copies)


async def test_a_place_is_free_after_a_failure(loading: Loading) -> None:
    loading.core.error = EngineError("not now")
    with pytest.raises(EngineError):
        await loading.load("a")
    loading.core.error = None
    for name in ("a", "b"):
        await loading.load(name)


async def test_no_place_for_copies(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setattr(tempfile, "tempdir", "/nowhere")
        with pytest.raises(AdapterLoadError, match=r"'a' could not be loaded: no temporary folder .* TMPDIR"):
            await loading.load("a")
    await loading.load("a")


def unfit(folder: Path) -> Path:
    path = write_adapter(folder) / "adapter_model.safetensors"
    save_file({name.replace("w1", "w9"): tensor for name, tensor in load_file(path).items()}, path)
    return folder


@pytest.mark.slow
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
    copies: Path,
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
    assert "qwenvl-adapter-" not in str(refused.value)
    await engine.stop()
    assert not os.listdir(copies)
