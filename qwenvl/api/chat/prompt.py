"""Wire messages to token ids, off the event loop, and no further than the context reaches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio.to_thread

from qwenvl.api.chat.conversation import Conversation, ImageReference, read_conversation
from qwenvl.api.chat.schemas import ChatMessage
from qwenvl.api.sampling import check_prompt_fits
from qwenvl.chat import PromptFormat, Text, images_of, render
from qwenvl.engine import ModelInfo
from qwenvl.errors import ContextLengthError, UserError

NFC_SHRINKS = 4
"""Most times that NFC shortens a text, in bytes: 3.5, rounded up. U+1FBE U+0308 U+0301, 7 bytes, are U+0390, 2."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that leaves room for an answer.

    Attributes:
        token_ids: each image is a pair ``<img> </img>``.
        images: where they are, in the order of their pairs.
        length: tokens once every image has its positions.
    """

    token_ids: tuple[int, ...]
    images: tuple[ImageReference, ...]
    length: int


async def read_prompt(
    messages: Sequence[ChatMessage], info: ModelInfo, prompt_format: PromptFormat, *, max_images: int
) -> Prompt:
    """Read and render the wire messages, in a thread: there may be a great many of them, and long ones.

    Args:
        messages: as the request has them.
        info: the model that they are for.
        prompt_format: how to render them.
        max_images: the server's limit; the model's own holds where it is lower.

    Raises:
        ContextLengthError: they leave no room for an answer.
        UserError: a message that this server does not take, or too many images; ``param`` is the field.
    """
    return await anyio.to_thread.run_sync(_read_prompt, messages, info, prompt_format, max_images)


def shown_token_ids(token_ids: tuple[int, ...], info: ModelInfo) -> list[int]:
    """The prompt as the model sees it and ``usage`` counts it: each image at its full length."""
    padding = [info.vocabulary.image_pad] * info.tokens_per_image
    shown: list[int] = []
    for token_id in token_ids:
        shown.append(token_id)
        if token_id == info.vocabulary.image_start:
            shown += padding
    return shown


def _read_prompt(
    messages: Sequence[ChatMessage], info: ModelInfo, prompt_format: PromptFormat, max_images: int
) -> Prompt:
    conversation = read_conversation(messages, prompt_format)
    images = tuple(images_of(conversation))
    _check_image_count(images, info, max_images)
    _refuse_hopeless(conversation, info)
    with _naming("messages"):
        rendered = render(conversation, info.vocabulary, prompt_format=prompt_format)
    length = rendered.length(info.tokens_per_image)
    check_prompt_fits(length, info)
    return Prompt(rendered.token_ids, images, length)


def _check_image_count(images: Sequence[ImageReference], info: ModelInfo, max_images: int) -> None:
    limit = min(max_images, info.max_images) if info.tokens_per_image else 0
    if len(images) <= limit:
        return
    param = images[limit].param
    if limit == 0:
        raise UserError(f"{param}: this model reads no images.", param=param, code="images_not_supported")
    raise UserError(
        f"{param}: a request may hold at most {limit} images, and this one holds {len(images)}.",
        param=param,
        code="too_many_images",
    )


def _refuse_hopeless(conversation: Conversation, info: ModelInfo) -> None:
    """Refuse, before the slow part, a text that could not fit if all its tokens were the longest there is."""
    texts = [
        (i, part.text) for i, message in enumerate(conversation) for part in message.parts if isinstance(part, Text)
    ]
    # What to normalise is bounded first; then the text is measured as the tokenizer sees it.
    _refuse_longer(sum(len(text.encode()) for _, text in texts), info, shrinks=NFC_SHRINKS)
    n_bytes = 0
    for i, text in texts:
        with _naming(f"messages[{i}].content"):
            n_bytes += len(info.vocabulary.normalize(text).encode())
    _refuse_longer(n_bytes, info)


def _refuse_longer(n_bytes: int, info: ModelInfo, *, shrinks: int = 1) -> None:
    at_least = n_bytes // (shrinks * info.vocabulary.longest_token)
    if at_least > info.max_model_len:
        raise ContextLengthError(
            f"This model's maximum context length is {info.max_model_len} tokens. However, your messages hold "
            f"{n_bytes} bytes of text, which are more than {at_least} tokens. Please reduce the length of the messages."
        )


@contextmanager
def _naming(param: str) -> Iterator[None]:
    """Name the field of a refusal that names none: the vocabulary knows of texts, not of requests."""
    try:
        yield
    except UserError as error:
        if error.param is not None:
            raise
        message = f"{param}: {error.message.removesuffix('.')}."
        raise UserError(message, param=param, code=error.code or "invalid_value") from error
