from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.browser.chromium import chromium
from tests.browser.paced_engine import PacedEngine
from tests.browser.page import Page
from tests.browser.serving import Serve, Served, drawn

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile"), downloads) as driver:
        yield driver


@pytest.fixture
def allowed_noise() -> list[str]:
    """Parts of console messages that a test causes on purpose."""
    return []


@pytest.fixture
def visit(driver: Chrome, allowed_noise: list[str]) -> Iterator[Callable[[str], Page]]:
    """Makes a page of a server's address. Whatever a test does, the console stays quiet and all requests at home."""
    pages: list[Page] = []

    def visit(url: str) -> Page:
        pages.append(Page(driver, f"{url}/"))
        pages[-1].console()
        pages[-1].addresses()
        return pages[-1]

    yield visit
    for page in pages:
        said = [entry["message"] for entry in page.console()]
        assert not [message for message in said if not any(noise in message for noise in allowed_noise)]
        assert not page.outside()


@pytest.fixture
def serve(driver: Chrome, visit: Callable[[str], Page]) -> Iterator[Serve]:
    """Starts a server that gives these answers, one after the other, and opens its page.

    ``engine`` is another engine, ``settings`` are the server's, and all else is :meth:`Page.open`'s.
    """
    with ExitStack() as servers:

        def serve(
            *answers: str, engine: PacedEngine | None = None, settings: Settings | None = None, **how: Any
        ) -> Served:
            engine = engine or PacedEngine(*answers)
            live = servers.enter_context(LiveServer(engine, settings or Settings()))
            served = Served(engine, live, visit(live.url))
            served.page.open(**how)
            return served

        yield serve
        # A page that is left open keeps its connections, and its server waits for them.
        driver.get("about:blank")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A white picture of 400 x 200 with a black corner at the top left."""
    return drawn(tmp_path / "white.png", (400, 200))
