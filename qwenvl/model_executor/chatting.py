"""What ``model.chat`` and ``model.chat_stream`` say to the model: ChatML within a window, pictures by path."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from qwenvl.chat import (
    DEFAULT_SYSTEM,
    Message,
    PromptFormat,
    Role,
    Text,
    Vocabulary,
    images_of,
    read_parts,
    render_chatml,
)
from qwenvl.errors import ContextLengthError, UserError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.history import History, turns_of

MAX_WINDOW_SIZE = 6144
"""Tokens, where ``generation_config.json`` has no ``max_window_size``."""

MAX_NEW_TOKENS = 512
"""Likewise for the answer's length, where transformers would stop after 20."""


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
    config: QWenConfig, vocabulary: Vocabulary, query: str, history: History | None, system: str | None, window: int
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
        system: the system text; None for the default one.
        window: in tokens.

    Raises:
        ContextLengthError: the prompt does not fit the model's context.
        UserError: a query's tags are not whole, a turn is no pair of texts, or the system text is none.
    """
    if config.vision is None:
        vocabulary = vocabulary.without_grounding()
    positions = config.vision.n_queries if config.vision is not None else 0
    if not isinstance(system, str | None):
        raise UserError(f"system must be a text, not {type(system).__name__}", param="system")
    opening: Message[str] = Message.of(Role.SYSTEM, DEFAULT_SYSTEM if system is None else system)

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
    return [
        (_question(config, query, f"history[{i}]"), Message.of(Role.ASSISTANT, answer))
        for i, (query, answer) in enumerate(turns_of(history))
    ]


def _question(config: QWenConfig, query: str, name: str) -> Message[str]:
    if not isinstance(query, str):
        raise UserError(f"{name} must be a text; tokenizer.from_list_format writes one of pictures and texts")
    try:
        return Message(Role.USER, read_parts(query) if config.vision is not None else (Text(query),))
    except UserError as error:
        raise UserError(f"{name}: {error.message}", param=name) from error


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a chat is generated with.

    Attributes:
        window: for the system text and past turns, in tokens.
        generation: all of it; nothing is left for transformers to fill in from the model's own.
        others: of ``generate``, and no part of its configuration: ``logits_processor`` and the like.
    """

    window: int
    generation: GenerationConfig
    others: dict[str, Any]

    def bounded(self, prompt_length: int) -> GenerationConfig:
        """The configuration for a prompt: ``max_length``, which counts it, gives way to ``max_new_tokens``.

        Raises:
            ContextLengthError: the prompt takes ``max_length`` already.
        """
        bounded = copy.deepcopy(self.generation)
        if bounded.max_new_tokens is None:
            if bounded.max_length <= prompt_length:
                raise ContextLengthError(
                    f"the conversation takes {prompt_length} tokens, and max_length, which counts them, is "
                    f"{bounded.max_length}: raise it, or give max_new_tokens, which does not",
                    param="max_length",
                )
            bounded.max_new_tokens = bounded.max_length - prompt_length
            bounded.max_length = None
        return bounded

    def refuse_several(self, method: str, *names: str) -> None:
        """Refuse what leaves no single answer.

        Raises:
            UserError: one of the options ``names`` is more than 1.
        """
        for name in names:
            if (getattr(self.generation, name) or 1) > 1:
                raise UserError(f"{method} gives one answer: {name} must be 1", param=name)


def chat_options(
    vocabulary: Vocabulary, given: GenerationConfig | None, default: GenerationConfig, options: dict[str, Any]
) -> ChatOptions:
    """Options of a chat out of those of its caller and of its checkpoint.

    Args:
        vocabulary: whose stop tokens end an answer, besides those of the configuration.
        given: the caller's own ``generation_config``, in place of the model's: what it leaves open is as transformers
            has it without one.
        default: the model's.
        options: the caller's further options, which have the last word; ``max_window_size`` is one of them.

    Raises:
        UserError: the checkpoint is not one that chats.
    """
    chosen = copy.deepcopy(given if given is not None else default)
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
    # Of both limits on the answer's length, the one that the caller names here.
    limits = [name for name in ("max_new_tokens", "max_length") if options.get(name) is not None]
    if limits:
        chosen.max_new_tokens = chosen.max_length = None
    others = chosen.update(**options)
    if chosen.max_new_tokens is not None:
        chosen.max_length = None
    elif chosen.max_length is None:
        chosen.max_new_tokens = MAX_NEW_TOKENS
    named = chosen.eos_token_id
    ends = named if isinstance(named, Iterable) else [] if named is None else [named]
    chosen.eos_token_id = sorted({*vocabulary.stop_ids, *map(int, ends)})
    if chosen.pad_token_id is None:
        chosen.pad_token_id = vocabulary.end_of_text
    chosen.return_dict_in_generate = False
    defaults = chosen._get_default_generation_params()
    chosen.update(defaults_only=True, **{name: value for name, value in defaults.items() if name != "max_length"})
    return ChatOptions(window, chosen, others)


def _original_key(chosen: GenerationConfig, default: GenerationConfig, key: str, otherwise: Any) -> Any:
    """A key of the original's that transformers does not know; a config of the caller's own may lack it."""
    values = (getattr(config, key, None) for config in (chosen, default))
    return next((value for value in values if value is not None), otherwise)
