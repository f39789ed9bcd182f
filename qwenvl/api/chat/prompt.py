"""Wire messages to token ids, off the event loop, and no further than the context reaches."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio.to_thread

from qwenvl.api.chat.conversation import Conversation, read_conversation, texts_of
from qwenvl.api.chat.schemas import ChatMessage, PromptFields
from qwenvl.api.chat.tools import NO_TOOLS, OfferedTools, check_tools_fit
from qwenvl.api.grounding.boxes import BoxWriter
from qwenvl.api.grounding.objects import SizeObject
from qwenvl.api.long_texts import naming, refuse_hopeless
from qwenvl.api.media.references import ImageReference
from qwenvl.api.sampling import check_prompt_fits
from qwenvl.chat import Message, PromptFormat, Role, Text, images_of, render
from qwenvl.chat.react import Calling, Start, uses_tools, write_react
from qwenvl.engine import ModelInfo
from qwenvl.errors import UserError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        token_ids: each image is a pair ``<img> </img>``.
        images: where they are, in the order of their pairs.
        length: tokens once every image has its positions.
        start: where in the form of tools the answer begins; None where the answer is plain text.
        open_text: of the last message, where that is an assistant's; an answer may go on with it.
        needs_sizes: some box is in pixels, and stands there as the longest there is until the prompt is read again
            with the sizes of its pictures.
    """

    token_ids: tuple[int, ...]
    images: tuple[ImageReference, ...]
    length: int
    start: Start | None = None
    open_text: str = ""
    needs_sizes: bool = False


@dataclass(frozen=True, slots=True)
class LastTurn:
    """How a prompt ends.

    Attributes:
        opens_answer: with the head of an assistant's message.
        continues: in the middle of the last message, an assistant's.
    """

    opens_answer: bool = True
    continues: bool = False


async def read_prompt(
    messages: Sequence[ChatMessage],
    info: ModelInfo,
    prompt_format: PromptFormat,
    *,
    max_images: int,
    last_turn: LastTurn = LastTurn(),
    offered: OfferedTools = NO_TOOLS,
    sizes: Sequence[SizeObject] | None = None,
    left_out: int = 0,
) -> Prompt:
    """Read and render the wire messages, in a thread: there may be a great many of them, and long ones.

    Args:
        messages: as the request has them.
        info: the model that they are for.
        prompt_format: how to render them.
        max_images: the server's limit; the model's own holds where it is lower.
        last_turn: how the prompt ends.
        offered: the tools that the model is told of.
        sizes: of the pictures; None where they are not loaded yet.
        left_out: pictures of the request that came before these messages.

    Raises:
        ContextLengthError: they leave no room for an answer.
        UserError: a message that this server does not take, or too many images; ``param`` is the field.
    """
    return await anyio.to_thread.run_sync(
        _read_prompt, messages, info, prompt_format, max_images, last_turn, offered, sizes, left_out
    )


def read_prompt_format(wire: PromptFields, info: ModelInfo) -> PromptFormat:
    """The format that the request names, else the checkpoint's."""
    chosen = wire.chat_template_kwargs and wire.chat_template_kwargs.chat_format
    return PromptFormat(chosen) if chosen else info.prompt_format


def read_last_turn(wire: PromptFields, messages: Sequence[ChatMessage], prompt_format: PromptFormat) -> LastTurn:
    """How the request wants its prompt to end. One that continues a message opens no other.

    Raises:
        UserError: it wants both, or to continue what is no answer.
    """
    if not wire.continue_final_message:
        return LastTurn(opens_answer=wire.add_generation_prompt is not False)
    param = "continue_final_message"
    if wire.add_generation_prompt:
        raise UserError(f"{param} and add_generation_prompt cannot both be true.", param=param, code="invalid_value")
    if prompt_format is PromptFormat.RAW or not messages or messages[-1].role != "assistant":
        raise UserError(f"{param} needs a last message with the role 'assistant'.", param=param, code="invalid_value")
    return LastTurn(opens_answer=False, continues=True)


def shown_token_ids(token_ids: tuple[int, ...], info: ModelInfo) -> list[int]:
    """The prompt as the model sees it and ``usage`` counts it: each image at its full length."""
    padding = [info.vocabulary.image_pad] * info.tokens_per_image
    shown: list[int] = []
    for token_id in token_ids:
        shown.append(token_id)
        if token_id == info.vocabulary.image_start:
            shown += padding
    return shown


def check_image_count(images: Sequence[ImageReference], info: ModelInfo, max_images: int) -> None:
    """Raise if these are more than one request may hold.

    Raises:
        UserError: names the first that is too many.
    """
    limit = min(max_images, info.max_images) if info.tokens_per_image else 0
    if images and limit == 0:
        param = images[0].param
        raise UserError(f"{param}: this model reads no images.", param=param, code="images_not_supported")
    check_server_limit(images, limit)


def check_server_limit(images: Sequence[ImageReference], limit: int) -> None:
    """Raise if these are more than ``limit``.

    Raises:
        UserError: names the first that is too many.
    """
    if len(images) <= limit:
        return
    param = images[limit].param
    raise UserError(
        f"{param}: a request may hold at most {limit} images, and this one holds {len(images)}.",
        param=param,
        code="too_many_images",
    )


def render_messages(
    messages: Sequence[ChatMessage],
    info: ModelInfo,
    prompt_format: PromptFormat,
    max_images: int,
    last_turn: LastTurn = LastTurn(),
    offered: OfferedTools = NO_TOOLS,
    sizes: Sequence[SizeObject] | None = None,
    left_out: int = 0,
) -> Prompt:
    """As :func:`read_prompt`, here and now, and the prompt may be somewhat longer than the context."""
    boxes = BoxWriter(sizes, left_out)
    conversation = read_conversation(messages, prompt_format, boxes)
    plain = [entry for entry in conversation if isinstance(entry, Message)]
    check_tools_fit(offered, plain, prompt_format, is_answer_open=last_turn.opens_answer)
    images = tuple(images_of(plain))
    check_image_count(images, info, max_images)
    refuse_hopeless([*texts_of(conversation), *offered.texts()], info, "messages")
    written = write_react(conversation, offered.tools, forced=offered.forced, continue_final=last_turn.continues)
    with naming("messages"):
        rendered = render(
            written.messages,
            info.vocabulary,
            prompt_format=prompt_format,
            add_generation_prompt=last_turn.opens_answer,
            continue_final_message=written.continue_final,
        )
    start = written.start if offered.tools or uses_tools(conversation) else None
    length = rendered.length(info.tokens_per_image)
    return Prompt(rendered.token_ids, images, length, start, _open_text(conversation), boxes.needs_sizes)


def _open_text(conversation: Conversation) -> str:
    match conversation[-1]:
        case Message(role=Role.ASSISTANT, parts=parts):
            return "".join(part.text for part in parts if isinstance(part, Text))
        case Calling(thought=thought):
            return thought
    return ""


def _read_prompt(
    messages: Sequence[ChatMessage],
    info: ModelInfo,
    prompt_format: PromptFormat,
    max_images: int,
    last_turn: LastTurn,
    offered: OfferedTools,
    sizes: Sequence[SizeObject] | None,
    left_out: int,
) -> Prompt:
    prompt = render_messages(messages, info, prompt_format, max_images, last_turn, offered, sizes, left_out)
    check_prompt_fits(prompt.length, info)
    return prompt
