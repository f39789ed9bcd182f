"""Take the pictures of ``docs/web.md``: ``python -m scripts.web_screenshots [BASE_URL]``.

Wants Chromium with its driver, and a server of the built-in model, ``make serve`` by default. What that model does not
say, such as tables, comes from a server of the tests.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, Keys

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.browser.chromium import chromium
from tests.browser.paced_engine import PacedEngine
from tests.browser.page import DESKTOP, PHONE, Page

FOLDER = Path(__file__).parent.parent / "docs" / "images"
COLOURS = 256

MARKDOWN = """## Three shapes

The picture shows **three shapes** on a light ground:

| shape | colour | place |
| --- | --- | --- |
| circle | red | top left |
| square | blue | top right |
| triangle | green | below |

1. The circle and the square are of *about* the same size.
2. The triangle is the largest:

```python
largest = max(shapes, key=lambda shape: shape.area)
```

> What an answer says of `<script>` or `<img>` stays text, and so does the rest of this"""


# The cursor of an answer blinks for ever.
AT_REST = "return document.getAnimations().every((moving) => moving.effect.getTiming().iterations > 1)"


class Camera:
    def __init__(self, driver: Chrome, url: str) -> None:
        self.page = Page(driver, f"{url}/")

    def shoot(self, name: str) -> None:
        """The window as it is, once all that moves has come to rest."""
        page = self.page
        page.until(lambda: page.run(AT_REST))
        picture = page.screenshot().quantize(COLOURS)
        picture.save(FOLDER / f"web-{name}.png", optimize=True)

    def example(self, number: int) -> None:
        self.page.all(".example")[number].click()
        self.page.until_answered()

    def light(self, number: int) -> None:
        self.page.hover(self.page.all(".text mark")[number])

    def forget(self) -> None:
        """Leave no conversation to the next picture."""
        self.page.run("localStorage.clear(); sessionStorage.clear(); indexedDB.deleteDatabase('qwenvl')")
        self.page.driver.get("about:blank")


def with_the_model(camera: Camera) -> None:
    page = camera.page
    page.open(size=DESKTOP)
    camera.shoot("welcome")
    camera.example(0)
    camera.light(1)
    camera.shoot("boxes")
    page.one("#open-settings").click()
    camera.shoot("settings")
    page.fill("#max_tokens", "8192")
    page.one("#settings-done").click()
    page.send("And now a longer answer than there is room for, please.")
    page.until_answered(2)
    camera.shoot("error")
    camera.forget()
    page.open(size=DESKTOP, scheme="dark")
    camera.example(1)
    page.send("What colour is the heart?")
    page.until_answered(2)
    camera.shoot("dark")
    camera.forget()
    page.open(size=DESKTOP, language="zh-CN")
    camera.example(0)
    camera.shoot("chinese")
    camera.forget()
    for name, language, scheme in (("phone", "en-US", "light"), ("phone-dark", "zh-CN", "dark")):
        page.open(size=PHONE, language=language, scheme=scheme)
        camera.shoot(f"{name}-welcome")
        camera.example(0)
        page.hover(page.one("#question"))
        camera.shoot(name)
        camera.forget()


def with_a_script(camera: Camera) -> None:
    page = camera.page
    page.open(size=DESKTOP)
    files = sorted((Path(__file__).parent.parent / "examples").glob("*.png")) * 2
    page.attach(*files)
    page.type("Compare these two pictures.")
    camera.shoot("attached")
    data = {"items": [], "files": [str(files[0])], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        page.cdp("Input.dispatchDragEvent", type=kind, x=700, y=400, data=data)
    page.until(lambda: page.one("#drop-zone").is_displayed())
    camera.shoot("drop")
    page.run("document.getElementById('drop-zone').classList.remove('open')")
    page.press(Keys.ENTER)
    page.until(lambda: "the rest" in page.answer())
    camera.shoot("streaming")


@contextmanager
def held_server() -> Iterator[str]:
    """A server that stops in the middle of its answer, for as long as it is looked at."""
    engine = PacedEngine(MARKDOWN + " of it.")
    engine.hold(after=len(engine.info.vocabulary.encode_ordinary(MARKDOWN)))
    with LiveServer(engine, Settings()) as live:
        yield live.url


def photograph(driver: Chrome, url: str, take: Callable[[Camera], None]) -> None:
    take(Camera(driver, url))
    driver.get("about:blank")


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder, "profile"), Path(folder)) as driver:
        photograph(driver, url, with_the_model)
        with held_server() as held:
            photograph(driver, held, with_a_script)


if __name__ == "__main__":
    main()
