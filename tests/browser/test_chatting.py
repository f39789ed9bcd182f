"""Asking and being answered: streams, stopping, asking again, and what is left when something fails."""

import asyncio
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from qwenvl.api import Settings
from qwenvl.engine import AdapterSource
from tests.browser.paced_engine import PacedEngine
from tests.browser.serving import Serve


def test_an_answer_comes_while_it_is_written(serve: Serve) -> None:
    engine = PacedEngine("The first words, and then the last ones.")
    engine.hold(after=12)
    chat = serve(engine=engine)
    chat.page.send("Go on")
    chat.page.until(lambda: chat.page.answer().startswith("The first"))
    assert "last" not in chat.page.answer()
    assert chat.page.one("#stop").is_displayed()
    assert chat.page.one(".assistant").get_attribute("aria-busy") == "true"
    chat.release()
    chat.page.until_answered()
    assert chat.page.answer() == "The first words, and then the last ones."
    assert chat.page.texts(".user .bubble") == ["Go on"]
    assert chat.page.one(".facts").text.startswith("tiny · ")
    assert chat.page.one("#send").is_displayed()


@pytest.mark.parametrize("by_key", [False, True], ids=["button", "escape"])
def test_stop(serve: Serve, by_key: bool) -> None:
    engine = PacedEngine("One, two, three, four, five.")
    engine.hold(after=8)
    chat = serve(engine=engine)
    chat.page.send("Count")
    chat.page.until(lambda: "One" in chat.page.answer())
    if by_key:
        chat.page.press(Keys.ESCAPE)
    else:
        chat.page.one("#stop").click()
    chat.page.until_answered()
    assert chat.page.texts(".remark") == ["Stopped."]
    assert chat.page.answer().startswith("One")
    chat.page.until(lambda: engine.aborted)
    # What there is stays, and the model is told of it.
    chat.release()
    chat.page.send("Go on")
    chat.page.until_answered(2)
    assert "One" in chat.asked()


def test_answer_again(serve: Serve) -> None:
    chat = serve("The first answer.", "The second answer.")
    chat.page.send("Hello")
    chat.page.until_answered()
    chat.page.click("[aria-label='Answer again']")
    chat.page.until(lambda: chat.page.answer() == "The second answer.")
    assert len(chat.page.all(".turn")) == 2
    assert "first answer" not in chat.asked()


def test_edit_a_question(serve: Serve, picture: Path) -> None:
    chat = serve("Answer one.", "Answer two.", "Answer three.")
    chat.page.attach(picture)
    chat.page.send("Wrong question")
    chat.page.until_answered()
    chat.page.send("Another")
    chat.page.until_answered(2)
    chat.page.click("[aria-label='Edit']")
    field = chat.page.one(".editor textarea")
    assert field.get_attribute("value") == "Wrong question"
    chat.page.fill(".editor textarea", "Right question")
    field.send_keys(Keys.ENTER)
    chat.page.until(lambda: chat.page.answer() == "Answer three.")
    assert chat.page.texts(".user .bubble") == ["Right question"]
    assert "Wrong" not in chat.asked()
    assert len(chat.engine.requests[-1].images) == 1


def test_an_edit_can_be_left(serve: Serve) -> None:
    chat = serve("Answer.")
    chat.page.send("Question")
    chat.page.until_answered()
    chat.page.click("[aria-label='Edit']")
    chat.page.fill(".editor textarea", "Something else")
    chat.page.press(Keys.ESCAPE)
    assert chat.page.texts(".user .bubble") == ["Question"]
    assert not chat.page.all(".editor")


def test_copy(serve: Serve) -> None:
    chat = serve("It **is** a circle.")
    chat.page.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    chat.page.send("What is it?")
    chat.page.until_answered()
    chat.page.click(".assistant [aria-label='Copy']")
    chat.page.until(lambda: chat.page.all("[aria-label='Copied']"))
    assert chat.page.run_async("return await navigator.clipboard.readText()") == "It **is** a circle."


def test_clear_asks_first(serve: Serve) -> None:
    chat = serve("Answer.")
    chat.page.send("Question")
    chat.page.until_answered()
    chat.page.one("#clear").click()
    chat.page.one("#confirm-no").click()
    assert len(chat.page.all(".turn")) == 2
    chat.page.one("#clear").click()
    chat.page.one("#confirm-yes").click()
    chat.page.until(lambda: not chat.page.all(".turn"))
    assert not chat.page.all(".conversation")
    assert chat.page.one("#welcome").is_displayed()


def test_enter_sends_and_shift_enter_starts_a_line(serve: Serve) -> None:
    chat = serve("Answer.")
    chat.page.type("First")
    chat.page.press_together(Keys.SHIFT, Keys.ENTER)
    chat.page.type("Second")
    chat.page.press(Keys.ENTER)
    chat.page.until_answered()
    assert chat.page.texts(".user .bubble") == ["First\nSecond"]


def test_enter_belongs_to_an_input_method_while_it_composes(serve: Serve) -> None:
    chat = serve("回答。")
    chat.page.one("#question").click()
    chat.page.cdp("Input.imeSetComposition", text="ni hao", selectionStart=6, selectionEnd=6)
    chat.page.run(
        "document.getElementById('question').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))"
    )
    assert not chat.page.all(".turn")
    chat.page.cdp("Input.insertText", text="你好")
    chat.page.press(Keys.ENTER)
    chat.page.until_answered()
    assert chat.page.texts(".user .bubble") == ["你好"]
    assert chat.page.answer() == "回答。"


def test_nothing_is_sent_while_an_answer_comes(serve: Serve) -> None:
    engine = PacedEngine("Slow answer.", "Next.")
    engine.hold(after=3)
    chat = serve(engine=engine)
    chat.page.send("First")
    chat.page.until(lambda: chat.page.answer())
    chat.page.type("Second")
    chat.page.press(Keys.ENTER)
    assert chat.page.one("#question").get_attribute("value") == "Second"
    chat.release()
    chat.page.until_answered()
    chat.page.press(Keys.ENTER)
    chat.page.until_answered(2)
    assert chat.page.texts(".user .bubble") == ["First", "Second"]


def test_the_end_stays_in_sight_unless_the_reader_scrolls(serve: Serve) -> None:
    engine = PacedEngine("\n\n".join(f"Paragraph {i}." for i in range(60)))
    engine.hold(after=500)
    chat = serve(engine=engine)
    from_end = "const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight"
    chat.page.send("Go on")
    chat.page.until(lambda: "Paragraph 25" in chat.page.answer())
    chat.page.until(lambda: chat.page.run(from_end) < 5)
    chat.page.run("document.getElementById('scroll').scrollTop = 0")
    chat.page.until(lambda: chat.page.one("#to-end").is_displayed())
    chat.release()
    chat.page.until_answered()
    assert chat.page.run("return document.getElementById('scroll').scrollTop") == 0
    chat.page.one("#to-end").click()
    chat.page.until(lambda: chat.page.run(from_end) < 5)


def test_settings_go_into_the_request(serve: Serve) -> None:
    chat = serve("Answer.")
    chat.page.one("#open-settings").click()
    for name, value in {"temperature": "0.5", "top_p": "0.9", "max_tokens": "9", "seed": "7"}.items():
        chat.page.fill(f"#{name}", value)
    chat.page.fill("#top_k", "-5")
    assert chat.page.one("#top_k").get_attribute("aria-invalid") == "true"
    chat.page.fill("#instructions", "Be brief.")
    chat.page.press(Keys.ESCAPE)
    chat.page.send("Hello")
    chat.page.until_answered()
    sampling = chat.engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.5, 0.9, 9, 7)
    assert "Be brief." in chat.asked()
    assert chat.page.texts(".remark") == ["The answer reached its token limit."] or chat.page.answer() == "Answer."
    chat.page.reload()
    chat.page.one("#open-settings").click()
    assert chat.page.one("#temperature").get_attribute("value") == "0.5"
    chat.page.one("#settings .button").click()
    assert chat.page.one("#temperature").get_attribute("value") == ""


def test_an_error_is_shown_and_nothing_is_lost(serve: Serve, picture: Path, allowed_noise: list[str]) -> None:
    allowed_noise.append("400 (Bad Request)")
    chat = serve(settings=Settings(max_images=1), engine=PacedEngine("Fine."))
    chat.page.attach(picture, picture)
    chat.page.send("Two pictures")
    chat.page.until_answered()
    failure = chat.page.one(".failure").text
    assert failure.startswith("No answer\n")
    assert "image" in failure
    assert chat.page.texts(".user .bubble") == ["Two pictures"]
    assert len(chat.page.all(".user .picture")) == 2
    chat.page.click("[aria-label='Edit']")
    assert chat.page.one(".editor textarea").get_attribute("value") == "Two pictures"


def test_a_server_that_dies_breaks_the_answer_off(serve: Serve) -> None:
    engine = PacedEngine("Some words that never end.")
    engine.hold(after=10)
    chat = serve(engine=engine)
    chat.page.send("Hello")
    chat.page.until(lambda: chat.page.answer())
    chat.live.call_soon(lambda: asyncio.ensure_future(engine.die()))
    chat.page.until_answered()
    assert chat.page.one(".failure").text.startswith("The answer broke off\n")
    assert chat.page.answer()


def test_a_key_is_asked_for_and_kept_for_the_tab(serve: Serve, allowed_noise: list[str]) -> None:
    allowed_noise.append("401 (Unauthorized)")
    chat = serve("Welcome.", settings=Settings.model_validate({"api_keys": ("secret",)}))
    assert "API key" in chat.page.one("#notice").text
    chat.page.send("Let me in")
    chat.page.until_answered()
    chat.page.one(".failure .button").click()
    chat.page.one("#api-key").send_keys("secret", Keys.ENTER)
    chat.page.until(lambda: not chat.page.one("#notice").is_displayed())
    assert chat.page.one("#model").get_attribute("value") == "tiny"
    chat.page.all(".failure .button")[1].click()
    chat.page.until(lambda: chat.page.answer() == "Welcome.")
    assert chat.page.run("return [sessionStorage.length, localStorage.getItem('qwenvl.key')]") == [1, None]
    chat.page.one("#open-settings").click()
    chat.page.one("#remember").click()
    assert chat.page.run("return localStorage.getItem('qwenvl.key')") == "secret"
    chat.page.fill("#api-key", Keys.DELETE)
    chat.page.press(Keys.ESCAPE)
    chat.page.until(lambda: chat.page.run("return localStorage.getItem('qwenvl.key')") is None)


def test_models_and_adapters(serve: Serve, adapter: Path) -> None:
    chat = serve(engine=Adapted("Answer.", folder=adapter))
    assert chat.page.texts("#model optgroup option") == ["tiny", "alias/tiny", "flowers"]
    chat.page.one("#model").send_keys("flowers")
    chat.page.send("Hello")
    chat.page.until_answered()
    assert chat.engine.requests[-1].adapter == "flowers"
    chat.page.reload()
    assert chat.page.one("#model").get_attribute("value") == "flowers"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "flowers"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 4}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


class Adapted(PacedEngine):
    """Serves an adapter from its start."""

    def __init__(self, *answers: str, folder: Path) -> None:
        super().__init__(*answers)
        self._folder = folder

    async def start(self) -> None:
        await super().start()
        await self.load_adapter(AdapterSource("flowers", self._folder))
