"""A live server and its page, as the tests hold them; and pictures to ask it about."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from tests.api.live import LiveServer
from tests.browser.paced_engine import PacedEngine
from tests.browser.page import Page


@dataclass
class Served:
    """A server whose answers a test has written, and its page."""

    engine: PacedEngine
    live: LiveServer
    page: Page

    def release(self) -> None:
        """Let out what :meth:`PacedEngine.hold` holds."""
        self.live.call_soon(self.engine.release)

    def asked(self, index: int = -1) -> str:
        """What the engine was asked, as text with control tokens."""
        return self.engine.info.vocabulary.decode(self.engine.requests[index].token_ids)


Serve = Callable[..., Served]


def drawn(path: Path, size: tuple[int, int], colour: tuple[int, int, int] = (255, 255, 255)) -> Path:
    image = PIL.Image.new("RGB", size, colour)
    PIL.ImageDraw.Draw(image).rectangle((0, 0, size[0] // 10, size[1] // 10), fill=(0, 0, 0))
    image.save(path)
    return path
