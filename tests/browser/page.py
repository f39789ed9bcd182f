"""The page as a person meets it: what is there to click, to type into and to read."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import PIL.Image
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

T = TypeVar("T")

PATIENCE = 20
DESKTOP, PHONE = (1280, 860), (360, 740)


class Page:
    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, *, size: tuple[int, int] = DESKTOP, language: str = "en-US", scheme: str = "light") -> None:
        """Load the page in a window of a size, as a person of some language who likes light or dark pages."""
        agent = self.driver.execute_script("return navigator.userAgent")
        self.cdp("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        width, height = size
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.driver.get(self.url)
        self.until_ready()

    def reload(self) -> None:
        self.driver.refresh()
        self.until_ready()

    def until_ready(self) -> None:
        self.until(lambda: self.run("return document.documentElement.dataset.ready") == "true")

    # Doing

    def type(self, text: str) -> None:
        self.one("#question").send_keys(text)

    def send(self, text: str) -> None:
        self.type(text)
        self.one("#send").click()

    def attach(self, *files: Path) -> None:
        before = len(self.all("#attached li"))
        self.one("#files").send_keys("\n".join(map(str, files)))
        self.until(lambda: len(self.all("#attached li")) == before + len(files))

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_together(self, modifier: str, key: str) -> None:
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def hover(self, element: WebElement) -> None:
        ActionChains(self.driver).move_to_element(element).perform()

    def click(self, selector: str) -> None:
        """Click what may show itself only under the pointer."""
        element = self.one(selector)
        self.hover(element)
        element.click()

    def fill(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    # Looking

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def answer(self) -> str:
        """What the last answer says."""
        answers = self.all(".assistant .text")
        return answers[-1].text if answers else ""

    def until(self, condition: Callable[[], T]) -> T:
        """Wait for something about the page to become true. A part that was drawn anew meanwhile is looked at again."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: condition())

    def until_answered(self, count: int = 1) -> None:
        """Wait until so many answers are there and none is being written."""
        self.until(lambda: len(self.all(".assistant .actions")) >= count and not self.all(".streaming"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """The value of the body of an async function."""
        wrapped = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})(...arguments)"
        return self.driver.execute_async_script(f"{wrapped}.then(done, (error) => done(String(error)))", *arguments)

    def cdp(self, command: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def screenshot(self) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")

    def place_of(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the window."""
        place = self.run(
            "const p = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [p.left, p.top, p.width, p.height]",
            selector,
        )
        left, top, width, height = map(float, place)
        return left, top, width, height

    # Afterwards

    def console(self) -> list[dict[str, Any]]:
        """What the console said since it was last asked."""
        return list(self.driver.get_log("browser"))

    def addresses(self) -> list[str]:
        """What the page asked any network for since it was last asked; not what its policy kept from leaving."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        stopped = {
            message["params"]["requestId"]
            for message in messages
            if message["method"] == "Network.loadingFailed" and message["params"].get("blockedReason") == "csp"
        }
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent" and message["params"]["requestId"] not in stopped
        ]

    def outside(self) -> list[str]:
        """Addresses among these that are not of this server."""
        own = urlsplit(self.url).netloc
        return [
            url
            for url in self.addresses()
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own
        ]


def as_data(content: bytes) -> str:
    return base64.b64encode(content).decode()


def near(pixel: Sequence[int], colour: Sequence[int], tolerance: int = 12) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))
