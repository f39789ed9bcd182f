"""Everything about the data that can be found out before the first step: checked, counted, held out."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tqdm import tqdm

from qwenvl.chat import Image, Vocabulary
from qwenvl.errors import UserError
from qwenvl.finetuning.dataset import render_record
from qwenvl.finetuning.pictures import Pictures
from qwenvl.finetuning.records import DataError, Record, read_records, repeated_ids
from qwenvl.model_executor.config import VisionConfig

logger = logging.getLogger(__name__)

NAMED = 3
"""Samples that a warning names."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What conversations must fit.

    Attributes:
        vision: ``visual`` of the checkpoint; None for a text model.
        length: positions of the longest conversation, those of its images counted.
    """

    vocabulary: Vocabulary
    vision: VisionConfig | None
    length: int


def prepare(
    path: Path, requirements: Requirements, pictures: Pictures, *, look_at_pictures: bool = True
) -> list[Record]:
    """The conversations of a data file that can be trained on.

    Conversations that are too long are left out whole, and a warning counts them.

    Args:
        path: JSON list or JSON lines.
        requirements: what conversations must fit.
        pictures: where the pictures are.
        look_at_pictures: read every picture; off where another process of the same run does.

    Raises:
        DataError: something is wrong with the data, or all conversations are too long. The message names file, sample
            and field of every problem, up to :data:`~qwenvl.finetuning.records.SHOWN_PROBLEMS`.
    """
    records, problems = read_records(path)
    lengths: list[int] = []
    for record in tqdm(records, desc="checking samples", unit="sample", leave=False, disable=not look_at_pictures):
        try:
            lengths.append(_length(record, requirements))
        except UserError as error:
            problems.append(f"{record.name}: {error.message}")
    if look_at_pictures:
        problems += _bad_pictures(records, pictures)
    if problems:
        raise DataError(problems)
    if repeated := repeated_ids(records):
        logger.warning("%s: %d ids come more than once, the first is %s", path, len(repeated), repeated[0])
    return _fitting(path, records, lengths, requirements.length)


def _length(record: Record, requirements: Requirements) -> int:
    if requirements.vision is None and any(True for _ in record.pictures):
        raise UserError("holds a picture, but the model is a text model")
    rendered = render_record(record, requirements.vocabulary)
    return rendered.length(requirements.vision.n_queries if requirements.vision else 0)


def _bad_pictures(records: Sequence[Record], pictures: Pictures) -> list[str]:
    """What is wrong with pictures, by sample and turn."""
    reasons = dict(pictures.problems((place for record in records for place in record.pictures), show_progress=True))
    if not reasons:
        return []
    return [
        f"{record.name}: conversations[{i}].value: {reasons[part.image]}"
        for record in records
        for i, message in enumerate(record.messages)
        for part in message.parts
        if isinstance(part, Image) and part.image in reasons
    ]


def _fitting(path: Path, records: Sequence[Record], lengths: Sequence[int], longest: int) -> list[Record]:
    too_long = [(length, record) for record, length in zip(records, lengths, strict=True) if length > longest]
    if not too_long:
        return list(records)
    length, record = max(too_long, key=lambda one: one[0])
    if len(too_long) == len(records):
        raise DataError(
            [
                f"{path}: all {len(records)} conversations are longer than --length {longest}; "
                f"the longest, {record.name}, takes {length} positions"
            ]
        )
    named = ", ".join(one.name.removeprefix(f"{path}: ") for _, one in too_long[:NAMED])
    logger.warning(
        "%s: %d of %d conversations are longer than --length %d and left out (%s%s); the longest takes %d positions",
        path,
        len(too_long),
        len(records),
        longest,
        named,
        ", ..." if len(too_long) > NAMED else "",
        length,
    )
    return [record for record, length in zip(records, lengths, strict=True) if length <= longest]


def hold_out(records: Sequence[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Conversations to learn, and the share of them, at least one, that is kept to measure the loss on.

    Raises:
        DataError: there is nothing left to learn.
    """
    count = max(1, round(len(records) * share))
    if count >= len(records):
        raise DataError([f"--eval-share {share} of {len(records)} conversations leaves none to learn"])
    held_out = set(Random(seed).sample(range(len(records)), count))
    return (
        [record for i, record in enumerate(records) if i not in held_out],
        [record for i, record in enumerate(records) if i in held_out],
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
