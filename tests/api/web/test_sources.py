"""What the page's own sources must not do, whatever a browser would stop."""

import re
from pathlib import Path

import pytest

from qwenvl.api.web.assets import STATIC

SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
STYLES = sorted((STATIC / "css").glob("*.css"))
VENDORED = sorted((STATIC / "vendor").rglob("*.mjs"))
INDEX = (STATIC / "index.html").read_text(encoding="utf-8")

WRITES_HTML = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|parseFromString|setHTML"
    r"|srcdoc|\beval\b|new Function\b"
)
LOCALES = {language: STATIC / "js" / "locales" / f"{language}.js" for language in ("en", "zh")}


def texts_of(language: str) -> dict[str, str]:
    source = LOCALES[language].read_text(encoding="utf-8")
    return dict(re.findall(r'^  (\w+): "(.*)",$', source, flags=re.MULTILINE))


@pytest.mark.parametrize("path", [*SCRIPTS, *VENDORED], ids=lambda path: path.name)
def test_no_text_becomes_html_or_code(path: Path) -> None:
    assert not WRITES_HTML.search(path.read_text(encoding="utf-8"))


def test_nothing_stands_in_line_in_the_page() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", INDEX)
    assert not re.search(r"<script(?![^>]*\ssrc=)", INDEX)


@pytest.mark.parametrize("path", [*SCRIPTS, *STYLES, STATIC / "index.html"], ids=lambda path: path.name)
def test_no_address_outside(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", path.read_text(encoding="utf-8")))
    # A namespace, which nobody fetches.
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_the_languages_say_the_same() -> None:
    english, chinese = texts_of("en"), texts_of("zh")
    assert len(english) > 60
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_text_is_used_and_every_used_one_is_there() -> None:
    sources = INDEX + "".join(path.read_text(encoding="utf-8") for path in SCRIPTS if path.parent.name != "locales")
    used = set(re.findall(r'\bt\(\s*"(\w+)"', sources)) | set(re.findall(r'data-t(?:-\w+)?="(\w+)"', INDEX))
    known = texts_of("en").keys()
    assert used <= known
    # Others are put together: theme + auto, example_ + shapes, and the settings by their names.
    assert all(re.search(rf"\b{key}\b", sources) for key in known - used - made_up(sources))


def made_up(sources: str) -> set[str]:
    """Keys that scripts put together from a beginning and a name."""
    beginnings = re.findall(r"`(\w+)\$\{", sources)
    return {key for key in texts_of("en") if any(key.startswith(beginning) for beginning in beginnings)}
