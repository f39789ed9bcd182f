"""The original's list helpers: prompts and answers as lists of pictures, texts, phrases and boxes."""

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from os import PathLike, fspath
from typing import Any

_TAG = re.compile(r"<(/?)(img|ref|box|quad)>")


def from_list_format(items: Sequence[Mapping[str, Any]]) -> str:
    """A prompt's text.

    Args:
        items: each ``{"image": path or URL}``, ``{"text": ..}``, ``{"ref": phrase}`` with or without ``"box"``, or
            ``{"box": ..}``. A box is one ``(x1, y1, x2, y2)`` or a list of them; four points are a quadrilateral.
            Points may be pairs, ``((x1, y1), (x2, y2))``, and all of it an array.

    Returns:
        The prompt; pictures are numbered from 1.

    Raises:
        ValueError: an item of another kind; the message names it.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise ValueError(f"a list of items is needed, not {type(items).__name__}")
    text = ""
    pictures = 0
    for position, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise ValueError(f"item {position} must be a dict, not {type(item).__name__}")
        if "image" in item:
            pictures += 1
            text += f"Picture {pictures}:<img>{_text(item, 'image', position)}</img>\n"
        elif "text" in item:
            text += _text(item, "text", position)
        elif "box" in item or "ref" in item:
            if "ref" in item:
                text += f"<ref>{_text(item, 'ref', position)}</ref>"
            text += "".join(_shape(shape, position) for shape in _shapes(item.get("box"), position))
        else:
            raise ValueError(f"item {position} must have 'image', 'text', 'ref' or 'box', and has {list(item)}")
    return text


def _text(item: Mapping[str, Any], key: str, position: int) -> str:
    value = item[key]
    if key == "image" and isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str):
        raise ValueError(f"item {position}: {key!r} must be a text, not {type(value).__name__}")
    return value


def _shapes(box: Any, position: int) -> list[list[Any]]:
    """The numbers of each box or quadrilateral of an item."""
    box = _listed(box)
    if box is None or box == []:
        return []
    if not isinstance(box, list):
        raise ValueError(f"item {position}: 'box' must be a list of numbers, not {type(box).__name__}")
    parts = [_listed(part) for part in box]
    # Numbers or points: one shape. Otherwise each part is one.
    return [box] if _are_numbers(parts) or _are_points(parts) else parts


def _shape(shape: Any, position: int) -> str:
    parts = [_listed(part) for part in shape] if isinstance(shape, list) else []
    numbers = [number for point in parts for number in point] if parts and _are_points(parts) else parts
    if not _are_numbers(numbers) or len(numbers) not in (4, 8):
        raise ValueError(f"item {position}: a box has 4 numbers and a quadrilateral 8, not {shape!r}")
    corners = ",".join(f"({numbers[i]},{numbers[i + 1]})" for i in range(0, len(numbers), 2))
    tag = "box" if len(numbers) == 4 else "quad"
    return f"<{tag}>{corners}</{tag}>"


def _listed(value: Any) -> Any:
    """Tuples and arrays as lists, numbers of arrays as Python's; others as they are."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, tuple) else value


def _are_numbers(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _are_points(values: list[Any]) -> bool:
    return all(isinstance(value, list) and len(value) == 2 and _are_numbers(value) for value in values)


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
