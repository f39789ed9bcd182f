"""Pictures inside a prompt's token ids, as the original carries them: the bytes of a path, each byte an id.

A picture takes ``<img>``, ``n_queries`` positions and ``</img>``. The positions hold the UTF-8 bytes of the picture's
path or URL as ids 0 to 255, then ``<imgpad>`` to the end, or ``<imgpad>`` alone where the pixels come another way. The
three tokens follow each other in the vocabulary.

Who opens what is written so chose to: the tokenizer writes it for the operator's own scripts, and ``generate`` of the
transformers model reads it. Training, forward passes and servers never do.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import regex

from qwenvl.chat.vocabulary import IMAGE_END, IMAGE_PAD, IMAGE_START
from qwenvl.errors import CheckpointError, UserError

DEFAULT_POSITIONS = 256
"""Of the original, where ``visual`` of ``config.json`` names no ``n_queries``."""

_BYTES = range(1, 256)
"""Ids that stand for bytes of a path; no path has a byte 0."""

_PICTURE = regex.compile(rf"{IMAGE_START}((?:(?!</?img>|{IMAGE_PAD}).)+){IMAGE_END}", regex.DOTALL)


def pictures_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where each written picture of ``text`` starts and ends, and its path or URL without white space around it.

    Tags without a partner are no written pictures, nor are those with nothing or padding between them.
    """
    for match in _PICTURE.finditer(text):
        if location := match[1].strip():
            yield match.start(), match.end(), location


def write_picture(location: str, image_start: int, positions: int) -> list[int]:
    """Token ids of a picture, both tags included.

    Raises:
        UserError: ``location`` is longer than the positions, or no text that UTF-8 has bytes for, or has a byte 0.
    """
    try:
        content = location.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the picture's path {location!r} cannot be written in UTF-8: rename the file, or pass pixel_values"
        ) from error
    if b"\0" in content:
        raise UserError(f"the picture's path holds a NUL character: {location[:80]!r}")
    if len(content) > positions:
        shown = location if len(location) <= 80 else f"{location[:80]}..."
        raise UserError(
            f"the picture's path takes {len(content)} bytes, and an image has {positions} positions: {shown}. Give a "
            f"shorter path, or {positions} times {IMAGE_PAD} in its place and the picture as pixel_values; model.chat "
            "takes a path or data: URL of any length"
        )
    padding = [image_start + 2] * (positions - len(content))
    return [image_start, *content, *padding, image_start + 1]


def spans_in(token_ids: Sequence[int], image_start: int, positions: int) -> Iterator[tuple[int, int]]:
    """First and past-the-last index of every whole picture, tags included, that holds a path or nothing but padding."""
    length, begin = positions + 2, 0
    while (begin := _index(token_ids, image_start, begin)) >= 0:
        span = token_ids[begin : begin + length]
        if len(span) == length and span[-1] == image_start + 1 and _content(span, image_start) is not None:
            yield begin, begin + length
            begin += length
        else:
            begin += 1


def location_in(span: Sequence[int], image_start: int) -> str | None:
    """The path or URL that a whole picture's ids hold, tags included; None where they hold none."""
    content = _content(span, image_start)
    try:
        return content.decode() or None if content is not None else None
    except UnicodeDecodeError:
        return None


def _index(token_ids: Sequence[int], token_id: int, start: int) -> int:
    try:
        return token_ids.index(token_id, start)
    except ValueError:
        return -1


def _content(span: Sequence[int], image_start: int) -> bytes | None:
    """The bytes before the padding; None where there is anything else."""
    pad = image_start + 2
    inner = list(span[1:-1])
    size = inner.index(pad) if pad in inner else len(inner)
    if any(token_id != pad for token_id in inner[size:]) or any(token_id not in _BYTES for token_id in inner[:size]):
        return None
    return bytes(inner[:size])


def positions_beside(vocab_file: Path) -> int:
    """Positions of an image by the ``config.json`` beside a vocabulary; 0 for a text model's.

    Raises:
        CheckpointError: it is no JSON, or ``visual.n_queries`` no positive integer.
    """
    path = vocab_file.parent / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DEFAULT_POSITIONS
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    visual = config.get("visual") if isinstance(config, dict) else None
    if not isinstance(visual, dict):
        return 0
    positions = visual.get("n_queries", DEFAULT_POSITIONS)
    if not isinstance(positions, int) or isinstance(positions, bool) or positions < 1:
        raise CheckpointError(f"{path}: visual.n_queries must be a positive integer, not {positions!r}")
    return positions
