"""Prompts that a person or a data file wrote out, pictures between their tags: for offline use and training.

A server never reads pictures out of text: whoever wrote it would choose what the server opens.
"""

import regex

from qwenvl.chat.messages import Image, Part, Text
from qwenvl.chat.vocabulary import IMAGE_END, IMAGE_START
from qwenvl.errors import UserError

_PICTURE = regex.compile(f"{IMAGE_START}(.*?){IMAGE_END}", regex.DOTALL)


def read_parts(text: str) -> tuple[Part[str], ...]:
    """The parts of ``text``: words, and pictures as the path or URL between ``<img>`` and ``</img>``.

    Raises:
        UserError: a tag is not closed or not opened, or there is nothing between the two.
    """
    parts: list[Part[str]] = []
    position = 0
    for match in _PICTURE.finditer(text):
        parts += _words(text[position : match.start()])
        location = match[1].strip()
        if not location:
            raise UserError("a picture has no path or URL between <img> and </img>")
        if IMAGE_START in location:
            raise UserError("an <img> is not closed: another follows before </img>")
        parts.append(Image(location))
        position = match.end()
    return (*parts, *_words(text[position:]))


def _words(text: str) -> list[Part[str]]:
    for tag, missing in ((IMAGE_START, "closed"), (IMAGE_END, "opened")):
        if tag in text:
            raise UserError(f"{tag} is not {missing}: a picture is <img>path or URL</img>")
    return [Text(text)] if text else []
