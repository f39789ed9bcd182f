"""``qwenvl serve`` as a newcomer meets it: the built-in checkpoint, the README's snippets, Ctrl-C, a dying engine."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk

from qwenvl.demo.scores import boxes_in, overlap
from scripts import readme_picture
from tests.parity.checkpoints import golden_tensors, write_checkpoint
from tests.server.processes import PROJECT, ServerProcess, server_process
from tests.server.streams import stream_of
from tests.test_examples import OBJECTS, RED_CIRCLE

pytestmark = pytest.mark.slow

SERVING = r"serving (\S+) on (http://127\.0\.0\.1:\d+)/v1"


async def until_running(url: str, requests: int) -> None:
    """Wait until so many requests have a place."""
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=url) as http:
        while f"qwenvl_requests_running {requests}.0" not in (await http.get("/metrics")).text:
            pass


@pytest.fixture
def built_in(tmp_path: Path) -> Iterator[tuple[ServerProcess, str, str]]:
    """The built-in checkpoint on a free port: the process, its URL, the model's name."""
    with server_process(["qwenvl.cli", "serve", "--port", "0"], tmp_path / "log") as server:
        name, url = server.wait_for(SERVING).groups()
        yield server, url, name


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_snippets_are_the_examples() -> None:
    examples = [(PROJECT / "examples" / name).read_text() for name in ("openai_sdk.py", "langchain_chat.py")]
    assert snippets() == examples


def programs() -> list[str]:
    """The README's snippets, and the examples that ask a server."""
    return snippets() + [(PROJECT / "examples" / name).read_text() for name in ("tools.py", "structured_output.py")]


def test_newcomer(built_in: tuple[ServerProcess, str, str]) -> None:
    server, url, name = built_in
    assert "the built-in small model" in server.output
    assert httpx.get(f"{url}/version").json()["qwenvl"]
    said = []
    for text in programs():
        # The port is what the test may not take for granted.
        program = text.replace("http://localhost:8000", url)
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip()
        said.append(ran.stdout)
    caption, found, *_ = said
    assert all(name in caption.lower() for name in OBJECTS)
    (box,) = boxes_in(found)
    assert overlap(box, RED_CIRCLE) > 0.5
    # The README's picture.
    detected = dict(re.findall(r"<ref>a ([^<]*)</ref>(<box>[^<]*</box>)", readme_picture.ask(f"{url}/v1")))
    assert detected.keys() == OBJECTS.keys()
    assert all(overlap(*boxes_in(detected[name]), place) > 0.5 for name, place in OBJECTS.items())

    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = stream_of(client, name, tokens=40)
        # Ctrl-C lets running answers finish.
        server.process.send_signal(signal.SIGINT)
        assert list(stream)[-1].choices[0].finish_reason == "length"
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.output


async def test_engine_dies_under_load(built_in: tuple[ServerProcess, str, str]) -> None:
    server, url, name = built_in
    core = next(
        child for child in psutil.Process(server.process.pid).children(recursive=True) if "EngineCore" in child.name()
    )

    async def ask(client: openai.AsyncOpenAI, *, stream: bool) -> None:
        answer = await client.chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=8000,
            stream=stream,
            extra_body={"ignore_eos": True},
        )
        async for _ in cast(openai.AsyncStream[ChatCompletionChunk], answer):
            pass

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        asking = [asyncio.create_task(ask(client, stream=bool(i % 2))) for i in range(16)]
        await until_running(url, len(asking))
        os.kill(core.pid, signal.SIGKILL)
        ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {end.code for end in ends if isinstance(end, openai.APIError)} == {"engine_dead"}
    assert all(isinstance(end, openai.APIError) for end in ends)
    assert await asyncio.to_thread(server.process.wait, 60) == 1
    assert "the engine died" in server.output


def test_killed(built_in: tuple[ServerProcess, str, str]) -> None:
    server, _, _ = built_in
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left


def test_stopped_while_loading(tmp_path: Path) -> None:
    with server_process(["qwenvl.cli", "serve", "--port", "0"], tmp_path / "log") as server:
        server.wait_for("EngineCore")
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(signal.SIGTERM) == 0
        _, left = psutil.wait_procs(children, timeout=20)
    assert not left
    assert "stopped before the engine was up" in server.output


def test_no_such_directory(tmp_path: Path) -> None:
    with server_process(["qwenvl.cli", "serve", str(tmp_path / "nowhere")], tmp_path / "log") as server:
        assert server.process.wait(120) == 1
    assert f"there is no directory {tmp_path / 'nowhere'}" in server.output
    assert "Traceback" not in server.output


def test_broken_checkpoint_is_told_in_a_line(tmp_path: Path) -> None:
    tensors = golden_tensors()
    del tensors["transformer.ln_f.weight"]
    folder = write_checkpoint(tmp_path / "checkpoint", tensors)
    with server_process(["qwenvl.cli", "serve", str(folder), "--port", "0"], tmp_path / "log") as server:
        assert server.process.wait(120) == 1
    assert "the checkpoint lacks the tensor transformer.ln_f.weight (256,)" in server.output
    assert "Traceback" not in server.output


def test_bad_options(tmp_path: Path) -> None:
    with server_process(["qwenvl.cli", "serve", "--port", "70000"], tmp_path / "log") as server:
        assert server.process.wait(120) == 2
    assert "--port" in server.output.splitlines()[-1]
