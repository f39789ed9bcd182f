"""Languages, colours, sizes, and the conversations that a browser keeps."""

from pathlib import Path

import pytest
from selenium.webdriver import Keys

from tests.browser.paced_engine import PacedEngine
from tests.browser.page import DESKTOP, PHONE, Page, near
from tests.browser.serving import Serve


@pytest.mark.parametrize(
    ("language", "tag", "welcome"),
    [
        ("en-US", "en", "What shall we look at?"),
        ("zh-CN", "zh-CN", "想看点什么？"),
        ("fr-FR", "en", "What shall we look at?"),
    ],
)
def test_the_language_is_the_browsers(serve: Serve, language: str, tag: str, welcome: str) -> None:
    page = serve("Fine.", language=language).page
    assert page.one("html").get_dom_attribute("lang") == tag
    assert page.one("h1").text == welcome


def test_the_language_can_be_changed_and_stays(serve: Serve) -> None:
    chat = serve("Fine.")
    chat.page.send("Hello")
    chat.page.until_answered()
    chat.page.one("#language").click()
    assert chat.page.one("#question").get_dom_attribute("placeholder") == "就图片提问……"
    assert chat.page.one(".assistant [title='重新回答']")
    assert "个词元" in chat.page.one(".facts").text
    chat.page.reload()
    assert chat.page.one("html").get_dom_attribute("lang") == "zh-CN"
    chat.page.one("#language").click()
    assert chat.page.one("#new-chat").text == "New chat"


def test_no_text_is_left_in_another_language(serve: Serve) -> None:
    chat = serve("好的。", language="zh-CN")
    chat.page.send("你好")
    chat.page.until_answered()
    chat.page.one("#open-settings").click()
    shown = chat.page.run(
        "return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility())"
        ".flatMap((e) => [e.getAttribute('aria-label'), e.title, e.placeholder,"
        " e.children.length || e.tagName === 'OPTION' ? '' : e.textContent])"
        ".filter((text) => text && /[a-z]{3}/.test(text))"
    )
    assert {text for text in shown if "Enter" not in text} <= {
        "qwenvl",
        "EN",
        "Switch to English",
        "tiny",
        chat.page.one(".facts").text,
    }


def test_light_and_dark(serve: Serve) -> None:
    page = serve("Fine.", scheme="dark").page
    assert is_dark(page)
    page.one("#theme").click()
    assert not is_dark(page)
    page.reload()
    assert not is_dark(page)
    page.one("#theme").click()
    assert is_dark(page)
    page.one("#theme").click()
    page.open(scheme="light")
    assert not is_dark(page)


def is_dark(page: Page) -> bool:
    corner = page.screenshot().getpixel((700, 70))
    assert isinstance(corner, tuple)
    return near(corner, (22, 22, 26))


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_it_fits_a_phone(serve: Serve, language: str) -> None:
    chat = serve("A long word: " + "x" * 200 + "\n\n```\n" + "y" * 200 + "\n```\n", size=PHONE, language=language)
    assert fits(chat.page)
    chat.page.send("z" * 200)
    chat.page.until_answered()
    assert fits(chat.page)
    chat.page.one("#open-settings").click()
    assert fits(chat.page)
    chat.page.press(Keys.ESCAPE)
    assert not chat.page.one("#new-chat").is_displayed()
    chat.page.one("#open-sidebar").click()
    chat.page.until(lambda: chat.page.one("#new-chat").is_displayed())
    chat.page.until(lambda: chat.page.place_of("#sidebar")[0] == 0)
    chat.page.one("#new-chat").click()
    chat.page.until(lambda: chat.page.one("#welcome").is_displayed() and not chat.page.one("#new-chat").is_displayed())


FITS = """
const all = [...document.querySelectorAll("button, select, textarea")];
const shown = all.filter((node) => node.checkVisibility({ visibilityProperty: true }));
const places = shown.map((node) => node.getBoundingClientRect());
const widths = [document.documentElement, document.getElementById("scroll")].map((node) => node.scrollWidth);
return widths.every((width) => width <= innerWidth) && places.every((p) => p.left >= 0 && p.right <= innerWidth);
"""


def fits(page: Page) -> bool:
    """Nothing is wider than the window, and no control stands outside of it."""
    return bool(page.run(FITS))


def test_conversations_are_kept(serve: Serve) -> None:
    chat = serve("Answer one.", "Answer two.")
    chat.page.send("First question")
    chat.page.until_answered()
    chat.page.one("#new-chat").click()
    chat.page.until(lambda: not chat.page.all(".turn"))
    chat.page.send("Second question")
    chat.page.until_answered()
    chat.page.until(lambda: chat.page.texts(".conversation") == ["Second question", "First question"])
    chat.page.reload()
    assert chat.page.one("#welcome").is_displayed()
    chat.page.all(".conversation")[1].click()
    chat.page.until(lambda: chat.page.answer() == "Answer one.")
    chat.page.until(lambda: chat.page.one("[aria-current]").text == "First question")
    chat.page.click("[aria-label='Delete “Second question”']")
    chat.page.until(lambda: chat.page.texts(".conversation") == ["First question"])
    assert chat.page.answer() == "Answer one."
    chat.page.one("#clear-all").click()
    chat.page.one("#confirm-yes").click()
    chat.page.until(lambda: not chat.page.all(".conversation"))
    chat.page.reload()
    assert not chat.page.all(".conversation")


def test_an_answer_that_is_left_is_kept_as_far_as_it_came(serve: Serve) -> None:
    engine = PacedEngine("Some words and more.", "Other.")
    engine.hold(after=9)
    chat = serve(engine=engine)
    chat.page.send("First question")
    chat.page.until(lambda: "Some" in chat.page.answer())
    chat.page.one("#new-chat").click()
    chat.page.until(lambda: not chat.page.all(".turn") and chat.page.one("#send").is_displayed())
    chat.page.one(".conversation").click()
    chat.page.until(lambda: chat.page.texts(".remark") == ["Stopped."])
    assert chat.page.answer().startswith("Some")


def test_a_conversation_that_is_deleted_while_it_goes_on_stays_deleted(serve: Serve) -> None:
    engine = PacedEngine("Some words and more.")
    engine.hold(after=9)
    chat = serve(engine=engine)
    chat.page.send("First question")
    chat.page.until(lambda: "Some" in chat.page.answer())
    chat.page.one("#clear-all").click()
    chat.page.one("#confirm-yes").click()
    chat.page.until(lambda: not chat.page.all(".turn") and chat.page.one("#send").is_displayed())
    chat.page.reload()
    assert not chat.page.all(".conversation")


def test_a_browser_without_room_still_chats(serve: Serve) -> None:
    chat = serve("Answer.")
    chat.page.run("IDBObjectStore.prototype.put = () => { throw new DOMException('no room', 'QuotaExceededError') }")
    chat.page.send("Question")
    chat.page.until_answered()
    assert chat.page.answer() == "Answer."
    assert "no room" in chat.page.one("#notice").text


def test_what_was_typed_survives_a_reload(serve: Serve) -> None:
    page = serve("Fine.").page
    page.type("Half a thou")
    page.reload()
    assert page.one("#question").get_attribute("value") == "Half a thou"


def test_an_example_is_asked(serve: Serve) -> None:
    chat = serve("<ref>a red circle</ref><box>(80,100),(400,420)</box>")
    chat.page.one(".example").click()
    chat.page.until_answered()
    assert chat.page.texts(".user .bubble") == ["Detect everything in the picture."]
    assert len(chat.engine.requests[-1].images) == 1
    assert chat.page.all(".boxes polygon")


def test_everything_is_reached_by_keyboard(serve: Serve) -> None:
    chat = serve("Fine.", size=DESKTOP)
    reached = set()
    for _ in range(16):
        chat.page.press(Keys.TAB)
        reached.add(chat.page.run("return document.activeElement.id || document.activeElement.className"))
    assert {"attach", "new-chat", "model", "language", "theme", "open-settings", "example", "question"} <= reached
    chat.page.run("document.getElementById('open-settings').focus()")
    chat.page.press(Keys.ENTER)
    assert chat.page.one("#settings").is_displayed()
    chat.page.press(Keys.ESCAPE)
    assert chat.page.run("return document.activeElement.id") == "open-settings"


def test_buttons_and_fields_have_names(serve: Serve, picture: Path) -> None:
    chat = serve("<ref>edge</ref><box>(0,0),(500,500)</box>")
    chat.page.attach(picture)
    chat.page.send("Where?")
    chat.page.until_answered()
    chat.page.one("#open-settings").click()
    nodes = chat.page.cdp("Accessibility.getFullAXTree")["nodes"]
    nameless = [
        node
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in ("button", "textbox", "combobox", "checkbox", "spinbutton", "image")
        and not node.get("name", {}).get("value")
    ]
    assert not nameless


def test_answers_are_told_to_who_listens(serve: Serve) -> None:
    chat = serve("One sentence. Another one.")
    chat.page.send("Say")
    chat.page.until_answered()
    chat.page.until(lambda: "Another one." in (chat.page.one("#live").get_attribute("textContent") or ""))
