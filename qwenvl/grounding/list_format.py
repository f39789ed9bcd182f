"""The original's list helpers: prompts and answers as lists of pictures, texts, phrases and boxes."""

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

_TAG = re.compile(r"<(/?)(img|ref|box|quad)>")


def from_list_format(items: Sequence[Mapping[str, Any]]) -> str:
    """A prompt's text.

    Args:
        items: each ``{"image": path or URL}``, ``{"text": ..}``, ``{"ref": phrase}`` with or without ``"box"``, or
            ``{"box": ..}``. A box is one ``(x1, y1, x2, y2)`` or a list of them; four points are a quadrilateral.

    Returns:
        The prompt; pictures are numbered from 1.

    Raises:
        ValueError: an item of another kind.
    """
    text = ""
    pictures = 0
    for position, item in enumerate(items):
        if "image" in item:
            pictures += 1
            text += f"Picture {pictures}:<img>{item['image']}</img>\n"
        elif "text" in item:
            text += item["text"]
        elif "box" in item or "ref" in item:
            if "ref" in item:
                text += f"<ref>{item['ref']}</ref>"
            text += "".join(map(_shape, _each(item.get("box", ()))))
        else:
            raise ValueError(f"item {position} must have 'image', 'text', 'ref' or 'box', and has {sorted(item)}")
    return text


def _each(box: Sequence[Any]) -> Sequence[Sequence[int]]:
    if not box:
        return ()
    return [box] if isinstance(box[0], Real) else box


def _shape(numbers: Sequence[int]) -> str:
    if len(numbers) not in (4, 8):
        raise ValueError(f"a box has 4 numbers and a quadrilateral 8, not {len(numbers)}")
    corners = ",".join(f"({numbers[i]},{numbers[i + 1]})" for i in range(0, len(numbers), 2))
    tag = "box" if len(numbers) == 4 else "quad"
    return f"<{tag}>{corners}</{tag}>"


def to_list_format(text: str) -> list[dict[str, str]]:
    """The pieces of a prompt or an answer: ``{"text": ..}``, ``{"image": ..}``, ``{"ref": ..}``, ``{"box": ..}``,
    ``{"quad": ..}``, each with what is between its tags. What is not a whole piece is text.
    """
    items: list[dict[str, str]] = []
    # Where each kind of tag closes, from the last to the first: every one is looked at once.
    closings: dict[str, list[int]] = {}
    tags = list(_TAG.finditer(text))
    for tag in reversed(tags):
        if tag[1]:
            closings.setdefault(tag[2], []).append(tag.start())
    position = 0
    for tag in tags:
        if tag[1] or tag.start() < position:
            continue
        ends = closings.get(tag[2], [])
        while ends and ends[-1] < tag.end():
            ends.pop()
        if not ends:
            continue
        if position < tag.start():
            items.append({"text": text[position : tag.start()]})
        items.append({"image" if tag[2] == "img" else tag[2]: text[tag.end() : ends[-1]]})
        position = ends[-1] + len(f"</{tag[2]}>")
    if position < len(text):
        items.append({"text": text[position:]})
    return items


def boxes_with_refs(text: str) -> list[dict[str, Any]]:
    """Every box of an answer as ``{"box": (x1, y1, x2, y2)}``, with ``"ref"`` where its phrase stands before it.

    As the original has it: of several boxes of a phrase only the first has the phrase. Boxes that are none are left
    out, where the original raises.
    """
    found: list[dict[str, Any]] = []
    before: dict[str, str] = {}
    for item in to_list_format(text):
        if "box" in item:
            numbers = tuple(map(int, re.findall(r"\d{1,9}", item["box"])))
            if len(numbers) == 4:
                found.append({"box": numbers} | ({"ref": before["ref"].strip()} if "ref" in before else {}))
        before = item
    return found
