import asyncio
import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from qwenvl.terminal.loading import LogReader, with_progress

LOG = [
    (
        "INFO 11-30 23:52:30 [model.py:733] Resolved architecture: QwenVLForConditionalGeneration\n",
        "starting the engine",
    ),
    ("WARNING [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs\n", "starting the engine"),
    ("INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='x'\n", "starting the worker"),
    ("model-00001-of-00010.safetensors:  45%|████▌     | 4/9 [00:01<00:02]\r", "model-00001-of-00010.safetensors"),
    ("INFO [cpu_model_runner.py:68] Starting to load model x...\n", "loading the weights"),
    (
        "\rLoading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?]\r",
        "Loading safetensors checkpoint shards",
    ),
    ("Loading safetensors checkpoint shards:  50% Com", "Loading safetensors checkpoint shards"),
    ("pleted | 1/2 [00:00<?]\r", "Loading safetensors checkpoint shards"),
    ("INFO [default_loader.py:501] Loading weights took 0.02 seconds\n", "making room for conversations"),
    ("INFO Using cache directory: x for vLLM's torch.compile\n", "compiling the model"),
    ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|█| 5/5\r", "Capturing CUDA graphs"),
    ("INFO [core.py:402] init engine (profile, create kv cache, warmup model) took 3.43 s\n", "warming up"),
    ("\xff\n", "warming up"),
]


def test_stages_and_bars_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    log = LogReader(path)
    percents = []
    log.look()
    assert log.stage == "importing vLLM"
    with path.open("a", encoding="utf-8") as file:
        for text, stage in LOG:
            file.write(text)
            file.flush()
            log.look()
            assert log.stage.startswith(stage)
            percents.append(log.percent)
    assert percents == [None, None, None, 45, None, 0, 0, 50, None, None, 100, None, None]


class Shown(io.StringIO):
    """What is written, and an event for a stage in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = threading.Event()

    def write(self, text: str) -> int:
        if "starting the engine" in text:
            self.stage.set()
        return super().write(text)


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_a_bar_where_there_is_a_terminal(tmp_path: Path, *, is_terminal: bool) -> None:
    shown = Shown()
    (tmp_path / "log").write_text(LOG[0][0])

    async def until_shown() -> None:
        if is_terminal:
            await asyncio.to_thread(shown.stage.wait, 20)

    await with_progress(until_shown(), tmp_path / "log", Console(file=shown, force_terminal=is_terminal))
    assert ("starting the engine" in shown.getvalue()) == is_terminal
    assert bool(shown.getvalue()) == is_terminal


async def test_a_failure_passes_through(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await with_progress(fail(), tmp_path / "log", Console(file=io.StringIO()))
