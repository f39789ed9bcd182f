"""A conversation to token ids, off the event loop, and no further than the context reaches."""

import unicodedata

import anyio.to_thread

from qwenvl.api.conversation import Conversation
from qwenvl.api.sampling import check_prompt_fits
from qwenvl.chat import PromptFormat, Rendered, Text, images_of, render
from qwenvl.engine import ModelInfo
from qwenvl.errors import ContextLengthError, UserError


def check_image_count(conversation: Conversation, info: ModelInfo, max_images: int) -> None:
    """Raise where there are more images than the model or this server takes.

    Raises:
        UserError: ``param`` is the first image too many.
    """
    limit = min(max_images, info.max_images) if info.tokens_per_image else 0
    images = list(images_of(conversation))
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


async def tokenise(conversation: Conversation, info: ModelInfo, prompt_format: PromptFormat) -> Rendered:
    """Render a conversation in a thread.

    Raises:
        ContextLengthError: it leaves no room for an answer.
    """
    rendered = await anyio.to_thread.run_sync(_tokenise, conversation, info, prompt_format)
    check_prompt_fits(rendered.length(info.tokens_per_image), info)
    return rendered


def shown_token_ids(token_ids: tuple[int, ...], info: ModelInfo) -> list[int]:
    """The prompt as the model sees it and ``usage`` counts it: each image at its full length."""
    padding = [info.vocabulary.image_pad] * info.tokens_per_image
    shown: list[int] = []
    for token_id in token_ids:
        shown.append(token_id)
        if token_id == info.vocabulary.image_start:
            shown += padding
    return shown


def _tokenise(conversation: Conversation, info: ModelInfo, prompt_format: PromptFormat) -> Rendered:
    _refuse_hopeless(conversation, info)
    return render(conversation, info.vocabulary, prompt_format=prompt_format)


def _refuse_hopeless(conversation: Conversation, info: ModelInfo) -> None:
    """Refuse, before the slow part, a text that could not fit if all its tokens were the longest there is."""
    # Measured as the tokenizer sees it: normalising can shorten a text to a third.
    n_bytes = sum(
        len(unicodedata.normalize("NFC", part.text).encode())
        for message in conversation
        for part in message.parts
        if isinstance(part, Text)
    )
    at_least = n_bytes // info.vocabulary.longest_token
    if at_least > info.max_model_len:
        raise ContextLengthError(
            f"This model's maximum context length is {info.max_model_len} tokens. However, your messages hold "
            f"{n_bytes} bytes of text, which are more than {at_least} tokens. Please reduce the length of the messages."
        )
