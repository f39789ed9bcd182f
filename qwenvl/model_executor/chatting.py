"""What ``model.chat`` and ``model.chat_stream`` say to the model: ChatML within a window, pictures by path."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from qwenvl.chat import Message, PromptFormat, Role, Text, Vocabulary, images_of, read_parts, render_chatml
from qwenvl.errors import ContextLengthError, UserError
from qwenvl.model_executor.config import QWenConfig

MAX_WINDOW_SIZE = 6144
"""Tokens, where ``generation_config.json`` has no ``max_window_size``."""

MAX_NEW_TOKENS = 512
"""Likewise for the answer's length, where transformers would stop after 20."""

History = Sequence[tuple[str, str]]
"""Past queries and answers, oldest first."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation for the model.

    Attributes:
        token_ids: with every image's positions, their ids ``<imgpad>``.
        locations: paths and URLs of the images in order.
    """

    token_ids: list[int]
    locations: tuple[str, ...]


def chat_prompt(
    config: QWenConfig, vocabulary: Vocabulary, query: str, history: History | None, system: str, window: int
) -> ChatPrompt:
    """The prompt of a conversation.

    Queries are data: of all that looks like a special token, grounding tags and pictures, ``<img>path or URL</img>``,
    are read. Past answers name no pictures.

    Args:
        config: the model's.
        vocabulary: the checkpoint's.
        query: what is asked now.
        history: what was said; its oldest turns are left out, whole, from where system text and turns take ``window``
            tokens. As in the original, the query does not count.
        system: the system text.
        window: in tokens.

    Raises:
        ContextLengthError: the prompt does not fit the model's context.
        UserError: a query's tags are not whole, or a turn is no pair of texts.
    """
    if config.vision is None:
        vocabulary = vocabulary.without_grounding()
    positions = config.vision.n_queries if config.vision is not None else 0
    opening: Message[str] = Message.of(Role.SYSTEM, system)

    def length(*messages: Message[str]) -> int:
        rendered = render_chatml([opening, *messages], vocabulary, add_generation_prompt=False, announce_pictures=False)
        return rendered.length(positions)

    kept: list[Message[str]] = []
    without_turns = size = length()
    for user, assistant in reversed(_turns(config, history)):
        size += length(user, assistant) - without_turns
        if size >= window:
            break
        kept = [user, assistant, *kept]
    messages = [opening, *kept, _question(config, query, "query")]
    rendered = render_chatml(messages, vocabulary, announce_pictures=False)
    if rendered.length(positions) >= config.max_position_embeddings:
        raise ContextLengthError(
            f"the conversation takes {rendered.length(positions)} tokens, and the model's context is "
            f"{config.max_position_embeddings}: shorten the query, or lower max_window_size",
            param="query",
        )
    filling = {vocabulary.image_start: [vocabulary.image_pad] * positions}
    token_ids = [filled for i in rendered.token_ids for filled in (i, *filling.get(i, ()))]
    return ChatPrompt(token_ids, tuple(images_of(messages)))


def _turns(config: QWenConfig, history: History | None) -> list[tuple[Message[str], Message[str]]]:
    turns: list[tuple[Message[str], Message[str]]] = []
    for i, turn in enumerate(history or ()):
        is_pair = isinstance(turn, tuple | list) and len(turn) == 2
        if not is_pair or not all(isinstance(text, str) for text in turn):
            raise UserError(f"history[{i}] must be a query and its answer, two texts", param="history")
        query, answer = turn
        turns.append((_question(config, query, f"history[{i}]"), Message.of(Role.ASSISTANT, answer)))
    return turns


def _question(config: QWenConfig, query: str, name: str) -> Message[str]:
    if not isinstance(query, str):
        raise UserError(f"{name} must be a text; tokenizer.from_list_format writes one of pictures and texts")
    try:
        return Message(Role.USER, read_parts(query) if config.vision is not None else (Text(query),))
    except UserError as error:
        raise UserError(f"{name}: {error.message}", param=name) from error


def chat_options(
    vocabulary: Vocabulary, given: GenerationConfig | None, default: GenerationConfig, options: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """The window in tokens, and options of ``generate``.

    Args:
        vocabulary: whose stop tokens end an answer, besides those of the configuration.
        given: the caller's own ``generation_config``.
        default: the model's.
        options: the caller's further options; ``max_window_size`` is one of them.

    Raises:
        UserError: the checkpoint is not one that chats.
    """
    chosen = given if given is not None else default
    chat_format = _original_key(chosen, default, "chat_format", PromptFormat.CHATML)
    if chat_format != PromptFormat.CHATML:
        raise UserError(
            f"generation_config.json says chat_format {chat_format!r}: this is a base model, which completes text. "
            "Use model.generate, or a chat model such as Qwen/Qwen-VL-Chat"
        )
    options = dict(options)
    window = options.pop("max_window_size", None)
    if window is None:
        window = _original_key(chosen, default, "max_window_size", MAX_WINDOW_SIZE)
    named = options.pop("eos_token_id", chosen.eos_token_id)
    ends = named if isinstance(named, Iterable) else [] if named is None else [named]
    options["eos_token_id"] = sorted({*vocabulary.stop_ids, *map(int, ends)})
    if chosen.pad_token_id is None:
        options.setdefault("pad_token_id", vocabulary.end_of_text)
    if chosen.max_new_tokens is None and chosen.max_length is None and "max_length" not in options:
        options.setdefault("max_new_tokens", MAX_NEW_TOKENS)
    return window, options | {"generation_config": given, "return_dict_in_generate": False}


def _original_key(chosen: GenerationConfig, default: GenerationConfig, key: str, otherwise: Any) -> Any:
    """A key of the original's that transformers does not know; a config of the caller's own may lack it."""
    values = (getattr(config, key, None) for config in (chosen, default))
    return next((value for value in values if value is not None), otherwise)
