from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from qwenvl.api import Settings
from tests.api.batches.inputs import sdk
from tests.api.live import LiveServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", max_file_bytes=100_000, max_files=5, batch_concurrency=4)


@pytest.fixture
def ai(live: LiveServer) -> Iterator[openai.OpenAI]:
    with sdk(live) as client:
        yield client
