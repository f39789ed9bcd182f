from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from qwenvl.api import Settings
from tests.api.live import LiveServer, in_process
from tests.fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def settings() -> Settings:
    return Settings(allow_private_addresses=True, image_timeout=5)


@pytest_asyncio.fixture
async def client(engine: FakeEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app on its engine, without a socket."""
    async with in_process(engine, settings) as http:
        yield http


@pytest.fixture
def live(engine: FakeEngine, settings: Settings) -> Iterator[LiveServer]:
    """The app on its engine, under uvicorn on a loopback port."""
    with LiveServer(engine, settings) as server:
        yield server


@pytest.fixture
def images() -> Path:
    return Path(__file__).parent.parent / "data" / "golden" / "images"
