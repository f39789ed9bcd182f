"""Conversation to token ids, for serving and for training alike.

ChatML, with role names and contents encoded apart and joined as ids::

    <|im_start|> "system" nl SYSTEM <|im_end|>
    nl <|im_start|> "user" nl TEXT <|im_end|>
    nl <|im_start|> "assistant" nl ANSWER <|im_end|>
    nl <|im_start|> "assistant" nl                      (the open turn, when an answer is wanted)

Control tokens enter a prompt from here and nowhere else: what users and models wrote goes through
:meth:`Vocabulary.encode_text`, which knows the six grounding tags and no other special token. Text parts are joined
before they are encoded, so a tag split over two parts is still only text or a grounding tag.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qwenvl.chat.messages import DEFAULT_SYSTEM, Image, Message, Part, Role, Text
from qwenvl.chat.vocabulary import Vocabulary


class PromptFormat(StrEnum):
    """Named as ``chat_format`` in ``generation_config.json``."""

    CHATML = "chatml"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation.

    Attributes:
        token_ids: the prompt; each image is the pair ``<img> </img>``, between which the model puts its image tokens.
        label_spans: half-open ranges of ``token_ids`` to learn from: each answer and its ``<|im_end|>``.
        n_images: how many such pairs ``token_ids`` holds.
    """

    token_ids: tuple[int, ...]
    label_spans: tuple[tuple[int, int], ...]
    n_images: int

    def length(self, tokens_per_image: int) -> int:
        """Tokens of the prompt once every image has its ``tokens_per_image`` positions."""
        return len(self.token_ids) + self.n_images * tokens_per_image


def render_chatml(
    messages: Sequence[Message[Any]],
    vocabulary: Vocabulary,
    *,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    announce_pictures: bool = True,
) -> Rendered:
    """Render a conversation as ChatML.

    A conversation that does not begin with a system message gets the default one. Pictures are announced as
    ``Picture N:``, N counting from 1 within each message.

    Args:
        messages: at least one message, oldest first.
        vocabulary: the checkpoint's vocabulary.
        add_generation_prompt: open an assistant turn at the end.
        continue_final_message: leave the last message, an assistant's, open instead: the model goes on with it.
        announce_pictures: off where the text says ``Picture N:`` itself, as what :func:`read_parts` reads does.
    """
    if not messages or messages[0].role is not Role.SYSTEM:
        messages = [Message.of(Role.SYSTEM, DEFAULT_SYSTEM), *messages]

    token_ids: list[int] = []
    label_spans: list[tuple[int, int]] = []
    for i, message in enumerate(messages):
        if token_ids:
            token_ids += vocabulary.newline
        token_ids += _turn_start(message.role, vocabulary)
        start = len(token_ids)
        parts = _announce_pictures(message.parts) if announce_pictures else message.parts
        token_ids += _encode_parts(parts, vocabulary)
        if not (continue_final_message and i == len(messages) - 1):
            token_ids.append(vocabulary.im_end)
        if message.role is Role.ASSISTANT:
            label_spans.append((start, len(token_ids)))
    if add_generation_prompt and not continue_final_message:
        token_ids += vocabulary.newline
        token_ids += _turn_start(Role.ASSISTANT, vocabulary)
    return Rendered(tuple(token_ids), tuple(label_spans), _count_images(messages))


def render_raw(messages: Sequence[Message[Any]], vocabulary: Vocabulary) -> Rendered:
    """Render a base-model prompt: contents one after the other, pictures bare, no roles and no ChatML.

    The base model continues such a text, e.g. a picture followed by ``Generate the caption in English:``.
    """
    parts = [part for message in messages for part in message.parts]
    return Rendered(tuple(_encode_parts(parts, vocabulary)), (), _count_images(messages))


def render(
    messages: Sequence[Message[Any]],
    vocabulary: Vocabulary,
    *,
    prompt_format: PromptFormat = PromptFormat.CHATML,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> Rendered:
    """Render a conversation in either format. A raw prompt has no turns, so none to open or to leave open."""
    if prompt_format is PromptFormat.RAW:
        return render_raw(messages, vocabulary)
    return render_chatml(
        messages,
        vocabulary,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
    )


def _turn_start(role: Role, vocabulary: Vocabulary) -> list[int]:
    return [vocabulary.im_start, *vocabulary.encode_ordinary(role.value), *vocabulary.newline]


def _announce_pictures(parts: Sequence[Part[Any]]) -> list[Part[Any]]:
    announced: list[Part[Any]] = []
    number = 0
    for part in parts:
        if isinstance(part, Image):
            number += 1
            announced += [Text(f"Picture {number}:"), part, Text("\n")]
        else:
            announced.append(part)
    return announced


def _encode_parts(parts: Sequence[Part[Any]], vocabulary: Vocabulary) -> list[int]:
    token_ids: list[int] = []
    pending: list[str] = []

    def flush() -> None:
        token_ids.extend(vocabulary.encode_text("".join(pending)))
        pending.clear()

    for part in parts:
        if isinstance(part, Text):
            pending.append(part.text)
        else:
            flush()
            token_ids.extend((vocabulary.image_start, vocabulary.image_end))
    flush()
    return token_ids


def _count_images(messages: Sequence[Message[Any]]) -> int:
    return sum(isinstance(part, Image) for message in messages for part in message.parts)
