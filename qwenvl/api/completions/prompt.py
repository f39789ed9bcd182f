"""Prompts of completions to token ids.

Nothing is put around a prompt. In a text, ``<img></img>`` or a bare ``<img>`` stands for the next of the request's
images where it has any, and is ordinary text where it has none; nothing else in a text is a control token. Token ids
are taken as they are: whoever writes them can write control tokens, but each image must have its pair.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import anyio.to_thread

from qwenvl.api.chat.prompt import Prompt, check_image_count
from qwenvl.api.completions.schemas import CompletionRequest
from qwenvl.api.long_texts import naming, refuse_hopeless
from qwenvl.api.media.references import ImageReference
from qwenvl.api.sampling import check_prompt_fits
from qwenvl.api.validation import shorten
from qwenvl.chat import Image, Message, Role, Text, render_raw
from qwenvl.engine import ModelInfo
from qwenvl.errors import UserError

_PLACEHOLDER = re.compile("<img>(?:</img>)?")


@dataclass(slots=True)
class _Images:
    """The request's images, given out in order."""

    references: Sequence[ImageReference]
    used: int = 0

    def take(self, count: int) -> tuple[ImageReference, ...]:
        """As many of the next as there are, up to ``count``."""
        taken = tuple(self.references[self.used : self.used + count])
        self.used += count
        return taken


async def read_prompts(wire: CompletionRequest, info: ModelInfo, *, max_images: int) -> list[Prompt]:
    """Every prompt of the request, read in a thread.

    Args:
        wire: the request.
        info: the model that they are for.
        max_images: the server's limit for the whole request; the model's own holds where it is lower.

    Raises:
        ContextLengthError: one leaves no room for an answer.
        UserError: one is empty, holds ids that are none, or the placeholders and images are not the same number.
    """
    return await anyio.to_thread.run_sync(_read_prompts, wire, info, max_images)


def _read_prompts(wire: CompletionRequest, info: ModelInfo, max_images: int) -> list[Prompt]:
    if not wire.prompt:
        raise UserError("prompt must not be empty.", param="prompt", code="invalid_value")
    images = _Images(tuple(_references(wire)))
    check_image_count(images.references, info, max_images)
    prompts = []
    for prompt, param in wire.prompts():
        if isinstance(prompt, str):
            read = _read_text(prompt, param, images, info)
        else:
            read = _read_ids(prompt, param, images, info)
        check_prompt_fits(read.length, info, param)
        prompts.append(read)
    if images.used != len(images.references):
        raise UserError(
            f"images holds {len(images.references)}, and the prompts have places for {images.used}: write <img></img> "
            "where each image belongs.",
            param="images",
            code="invalid_value",
        )
    return prompts


def _references(wire: CompletionRequest) -> Iterator[ImageReference]:
    for i, image in enumerate(wire.images or ()):
        if isinstance(image, str):
            yield ImageReference(image, f"images[{i}]")
        else:
            yield ImageReference(image.url, f"images[{i}].url")


def _read_text(text: str, param: str, images: _Images, info: ModelInfo) -> Prompt:
    if not text:
        raise UserError(f"{param} must not be empty.", param=param, code="invalid_value")
    pieces = _PLACEHOLDER.split(text) if images.references else [text]
    if images.references and any("</img>" in piece for piece in pieces):
        raise UserError(
            f"{param}: an image is named in images, not in the text. Write <img></img> with nothing in between.",
            param=param,
            code="invalid_value",
        )
    refuse_hopeless([(param, piece) for piece in pieces], info, param)
    taken = images.take(len(pieces) - 1)
    parts: list[Text | Image[None]] = [Text(pieces[0])]
    for piece in pieces[1:]:
        parts += [Image(None), Text(piece)]
    with naming(param):
        rendered = render_raw([Message(Role.USER, tuple(parts))], info.vocabulary)
    return Prompt(rendered.token_ids, taken, rendered.length(info.tokens_per_image))


def _read_ids(token_ids: Sequence[int], param: str, images: _Images, info: ModelInfo) -> Prompt:
    if not token_ids:
        raise UserError(f"{param} must not be empty.", param=param, code="invalid_value")
    check_prompt_fits(len(token_ids), info, param)
    outside = next((i for i, token_id in enumerate(token_ids) if token_id >= info.vocab_size), None)
    if outside is not None:
        _refuse_id(param, outside, f"must be at most {info.vocab_size - 1}, not {shorten(str(token_ids[outside]))}")
    n_images = _count_pairs(token_ids, param, info)
    taken = images.take(n_images)
    return Prompt(tuple(token_ids), taken, len(token_ids) + n_images * info.tokens_per_image)


def _count_pairs(token_ids: Sequence[int], param: str, info: ModelInfo) -> int:
    """How many images the ids have places for: ``<img>`` with ``</img>`` right behind it."""
    vocabulary = info.vocabulary
    if not info.tokens_per_image:
        return 0
    for i, token_id in enumerate(token_ids):
        if token_id == vocabulary.image_pad:
            _refuse_id(param, i, "is <imgpad>, which the server puts between <img> and </img> itself")
        if token_id == vocabulary.image_start and token_ids[i + 1 : i + 2] != [vocabulary.image_end]:
            _refuse_id(param, i, "is <img>, and </img> must come right after it")
        if token_id == vocabulary.image_end and (i == 0 or token_ids[i - 1] != vocabulary.image_start):
            _refuse_id(param, i, "is </img>, and <img> must come right before it")
    return list(token_ids).count(vocabulary.image_start)


def _refuse_id(param: str, index: int, reason: str) -> None:
    field = f"{param}[{index}]"
    raise UserError(f"{field} {reason}.", param=field, code="invalid_value")
