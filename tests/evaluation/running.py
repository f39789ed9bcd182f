"""A live server and runs of the command against it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwenvl.api import Settings
from qwenvl.engine import Engine
from qwenvl.evaluation.commands import evaluate
from tests.api.live import LiveServer
from tests.fake_engine import model_info
from tests.scripted_engine import ScriptedEngine


def scripted(*answers: str) -> ScriptedEngine:
    """An engine of the fake model's vocabulary, with room for a judge's question."""
    return ScriptedEngine(*answers, info=model_info(max_model_len=8192, max_images=32))


@contextmanager
def live(engine: Engine) -> Iterator[str]:
    with LiveServer(engine, Settings()) as server:
        yield f"{server.url}/v1"


def run(base_url: str, data: Path, output: Path, *arguments: str) -> int:
    """``qwenvl evaluate`` against a server: its exit code."""
    return evaluate([*arguments, "--data", str(data), "--output", str(output), "--base-url", base_url])
