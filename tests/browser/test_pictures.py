"""How pictures come in: picked, dropped, pasted, and what is done to them first."""

from pathlib import Path

import PIL.Image

from tests.browser.page import Page, as_data, near
from tests.browser.serving import Serve, drawn


def test_several_are_picked(serve: Serve, tmp_path: Path) -> None:
    files = [drawn(tmp_path / f"{name}.png", (60, 40), colour) for name, colour in COLOURS.items()]
    chat = serve("Three pictures.")
    chat.page.attach(*files[:2])
    chat.page.attach(files[2])
    chat.page.one("[aria-label='Remove green.png']").click()
    chat.page.send("What are they?")
    chat.page.until_answered()
    images = chat.engine.requests[-1].images
    assert [
        near(image.convert("RGB").getpixel((300, 300)), COLOURS[name])
        for image, name in zip(images, ("red", "blue"), strict=True)
    ] == [True, True]
    assert not chat.page.all("#attached li")


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def test_a_picture_alone_is_a_question(serve: Serve, picture: Path) -> None:
    chat = serve("A white picture.")
    assert not chat.page.one("#send").is_enabled()
    chat.page.attach(picture)
    chat.page.one("#send").click()
    chat.page.until_answered()
    assert len(chat.engine.requests[-1].images) == 1


def test_pictures_are_dropped(serve: Serve, tmp_path: Path) -> None:
    chat = serve("Two.")
    files = [str(drawn(tmp_path / f"{i}.png", (30, 30))) for i in range(2)]
    drag(chat.page, "dragEnter", files)
    drag(chat.page, "dragOver", files)
    chat.page.until(lambda: chat.page.one("#drop-zone").is_displayed())
    drag(chat.page, "drop", files)
    chat.page.until(lambda: len(chat.page.all("#attached li")) == 2)
    assert not chat.page.one("#drop-zone").is_displayed()
    chat.page.send("How many?")
    chat.page.until_answered()
    assert len(chat.engine.requests[-1].images) == 2


def drag(page: Page, kind: str, files: list[str]) -> None:
    """What a file manager does over the window."""
    page.cdp(
        "Input.dispatchDragEvent",
        type=kind,
        x=700,
        y=400,
        data={"items": [], "files": files, "dragOperationsMask": 1},
    )


def test_a_drag_that_leaves_leaves_nothing(serve: Serve, picture: Path) -> None:
    chat = serve("Nothing.")
    drag(chat.page, "dragEnter", [str(picture)])
    drag(chat.page, "dragOver", [str(picture)])
    chat.page.until(lambda: chat.page.one("#drop-zone").is_displayed())
    # The protocol's dragCancel tells the page nothing.
    chat.page.run(
        "const files = new DataTransfer(); files.items.add(new File(['x'], 'x.png'));"
        "document.body.dispatchEvent(new DragEvent('dragleave', {dataTransfer: files, bubbles: true}))"
    )
    chat.page.until(lambda: not chat.page.one("#drop-zone").is_displayed())
    assert not chat.page.all("#attached li")


def test_a_picture_is_pasted(serve: Serve, picture: Path) -> None:
    chat = serve("A white picture.")
    paste(chat.page, {"image/png": as_data(picture.read_bytes())})
    chat.page.until(lambda: len(chat.page.all("#attached li")) == 1)
    chat.page.send("What is it?")
    chat.page.until_answered()
    assert len(chat.engine.requests[-1].images) == 1


def test_text_is_pasted_as_text(serve: Serve) -> None:
    chat = serve("Fine.")
    paste(chat.page, {"text/plain": as_data(b"some words")})
    chat.page.until(lambda: chat.page.one("#question").get_attribute("value") == "some words")
    assert not chat.page.all("#attached li")


def paste(page: Page, contents: dict[str, str]) -> None:
    """Put something on the clipboard, and press Ctrl+V as a person does."""
    page.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    written = page.run_async(
        """
        const parts = Object.entries(given[0]).map(([type, content]) =>
          [type, new Blob([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], { type })]);
        await navigator.clipboard.write([new ClipboardItem(Object.fromEntries(parts))]);
        document.getElementById("question").focus();
        return "written";
        """,
        contents,
    )
    assert written == "written"
    page.cdp(
        "Input.dispatchKeyEvent",
        type="keyDown",
        key="v",
        code="KeyV",
        modifiers=2,
        windowsVirtualKeyCode=86,
        commands=["paste"],
    )


def test_a_large_picture_is_made_smaller_and_the_page_says_so(serve: Serve, tmp_path: Path) -> None:
    chat = serve("Large.")
    chat.page.attach(drawn(tmp_path / "large.png", (3000, 1500)))
    assert chat.page.one("#composer-note").text == "large.png was 3000 × 1500 and is sent at 2048 × 1024."
    chat.page.send("How large?")
    chat.page.until_answered()
    shown = chat.page.one(".user .picture img")
    assert (shown.get_dom_attribute("width"), shown.get_dom_attribute("height")) == ("2048", "1024")


def test_a_photo_is_shown_upright_and_boxed_upright(serve: Serve, tmp_path: Path) -> None:
    photo = PIL.Image.new("RGB", (300, 200), (255, 255, 255))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned to the right by the viewer
    photo.save(tmp_path / "photo.jpg", exif=exif)
    chat = serve("<ref>edge</ref><box>(0,0),(1000,500)</box>")
    chat.page.attach(tmp_path / "photo.jpg")
    chat.page.send("Where?")
    chat.page.until_answered()
    _, _, width, height = chat.page.place_of(".stage")
    assert abs(width / height - 200 / 300) < 0.01


def test_what_is_no_picture_is_said(serve: Serve, tmp_path: Path) -> None:
    chat = serve("Fine.")
    (tmp_path / "fake.png").write_bytes(b"no picture")
    chat.page.one("#files").send_keys(str(tmp_path / "fake.png"))
    chat.page.until(lambda: chat.page.one("#composer-note").text)
    assert chat.page.one("#composer-note").text == "fake.png is no picture that this browser can read."
    assert not chat.page.all("#attached li")


def test_a_kind_that_only_browsers_read_is_sent_as_png(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "drawing.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="60"><rect width="80" height="60" fill="red"/></svg>'
    )
    chat = serve("Red.")
    chat.page.attach(tmp_path / "drawing.svg")
    chat.page.send("Which colour?")
    chat.page.until_answered()
    assert not chat.page.all(".failure")
    assert near(chat.engine.requests[-1].images[0].convert("RGB").getpixel((224, 224)), (255, 0, 0))
