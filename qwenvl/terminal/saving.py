"""The last answer, drawn on its picture and written to a file."""

import asyncio
from itertools import count
from pathlib import Path

import PIL.Image

from qwenvl.errors import UserError
from qwenvl.grounding import Finding, draw_findings, parse
from qwenvl.terminal.conversation import Conversation

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
DEFAULT_STEM = "answer"


async def save_answer(conversation: Conversation, name: str, own: set[Path]) -> Path:
    """Draw what the last answer found, at the picture's full size.

    Args:
        conversation: with an answer and a picture.
        name: of the file, which says its format too; empty for one that is not taken.
        own: files that may be written over; the new one is added.

    Raises:
        UserError: there is nothing to draw, or the file cannot be written; the message names it.
        ImageError: the picture cannot be had.
    """
    path = _free_path() if not name else _checked(name, own)
    findings = _findings(conversation)
    picture = conversation.latest_picture
    if picture is None:
        raise UserError("there is no picture to draw on; /image adds one")
    await asyncio.to_thread(_write, await picture.upright(), findings, path)
    own.add(path.absolute())
    return path


def _findings(conversation: Conversation) -> tuple[Finding, ...]:
    if not conversation.turns:
        raise UserError("there is no answer to draw yet")
    findings = parse(conversation.turns[-1].answer).findings
    if not any(finding.boxes or finding.quads for finding in findings):
        raise UserError("the last answer has no boxes to draw; ask where something is")
    return findings


def _free_path() -> Path:
    names = (f"{DEFAULT_STEM}{'' if i == 1 else f'-{i}'}.png" for i in count(1))
    return next(path for path in map(Path, names) if not path.exists())


def _checked(name: str, own: set[Path]) -> Path:
    path = Path(name)
    if path.parts[:1] and path.parts[0].startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise UserError(f"cannot write {name}: {error}") from error
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"cannot write {name}: its name must end in {', '.join(FORMATS)}")
    # The picture that was asked about is a likely slip.
    if path.exists() and path.absolute() not in own:
        raise UserError(f"cannot write {name}: there is such a file already")
    return path


def _write(image: PIL.Image.Image, findings: tuple[Finding, ...], path: Path) -> None:
    try:
        draw_findings(image, findings).save(path, FORMATS[path.suffix.lower()], quality=95)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
