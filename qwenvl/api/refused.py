"""What each surface does with parameters that it does not honour: refused by name, or accepted without effect.

Silence would change what an answer means, so what other servers know and this one does not is refused; a value that
asks for nothing is let through. A name that nobody knows is refused as OpenAI does it: it is a slip of the pen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwenvl.api.chat.schemas import IgnoredChatFields
from qwenvl.api.wire import IgnoredFields
from qwenvl.errors import UserError

Asks = Callable[[Any], bool]

_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Surface:
    """The parameters of one kind of request beside those that are honoured, which are the rest of its wire fields.

    Attributes:
        refused: each name, and whether a value that is not null asks for something.
        ignored: fields of the wire type that have no effect.
        instead: what to use in place of some of the refused ones.
    """

    refused: Mapping[str, Asks]
    ignored: frozenset[str]
    instead: Mapping[str, str] = field(default_factory=dict)

    def check(self, unread: Mapping[str, Any] | None) -> None:
        """Raise for the first field that the wire type does not have and that cannot be let through.

        Args:
            unread: the fields of the body that are none of the wire type's: its ``model_extra``.

        Raises:
            UserError: names the parameter.
        """
        for name, value in (unread or {}).items():
            asks = self.refused.get(name)
            if asks is None:
                shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
                raise UserError(f"Unknown parameter: {shown!r}.", param=shown, code="unknown_parameter")
            if value is not None and asks(value):
                instead = self.instead.get(name)
                advice = f"Use {instead}." if instead else "Leave it out."
                raise UserError(
                    f"{name} is not supported by this server. {advice}", param=name, code="unsupported_parameter"
                )


def always(value: Any) -> bool:
    """Every value asks for something."""
    return True


def unless(*neutral: Any) -> Asks:
    """Every value but these asks for something."""
    return lambda value: not any(type(value) is type(known) and value == known for known in neutral)


def if_filled(value: Any) -> bool:
    """Every value that is not empty asks for something."""
    return bool(value)


REFUSED_EVERYWHERE: Mapping[str, Asks] = {
    "ec_transfer_params": always,
    "guided_choice": always,
    "guided_decoding_backend": always,
    "guided_grammar": always,
    "guided_json": always,
    "guided_regex": always,
    "guided_whitespace_pattern": always,
    "kv_transfer_params": always,
    "length_penalty": unless(1, 1.0),
    "logits_processors": if_filled,
    "logprob_token_ids": if_filled,
    "repetition_detection": always,
    "routed_experts_prompt_start": unless(0),
    "thinking_token_budget": unless(-1),
    "truncate_prompt_tokens": always,
    "truncation_side": always,
    "use_beam_search": unless(False),
    "vllm_xargs": if_filled,
    "watermarking": unless(False),
}
"""VLLM's, of this version and of older ones."""

_INSTEAD: Mapping[str, str] = {
    "guided_choice": "structured_outputs.choice",
    "guided_grammar": "structured_outputs.grammar",
    "guided_json": "structured_outputs.json",
    "guided_regex": "structured_outputs.regex",
}

CHAT = Surface(
    refused={
        # OpenAI's
        "audio": always,
        "modalities": unless(["text"]),
        "moderation": always,
        "store": unless(False),
        "web_search_options": always,
        # vLLM's
        "best_of": unless(1),
        "chat_template": always,
        "documents": if_filled,
        "media_io_kwargs": if_filled,
        "mm_processor_kwargs": if_filled,
        "return_prompt_text": unless(False),
        **REFUSED_EVERYWHERE,
    },
    ignored=frozenset(IgnoredChatFields.model_fields),
    instead=_INSTEAD,
)
"""``POST /v1/chat/completions``."""

COMPLETIONS = Surface(
    refused={
        "suffix": if_filled,
        "media_io_kwargs": if_filled,
        "mm_processor_kwargs": if_filled,
        "prompt_embeds": always,
        **REFUSED_EVERYWHERE,
    },
    ignored=frozenset(IgnoredFields.model_fields),
    instead=_INSTEAD,
)
"""``POST /v1/completions``."""

GROUNDING = Surface(refused={}, ignored=frozenset({"user"}))
"""``POST /v1/grounding``."""

TOKENIZE = Surface(
    refused={
        "chat_template": always,
        "media_io_kwargs": if_filled,
        "mm_processor_kwargs": if_filled,
    },
    ignored=frozenset({"add_special_tokens"}),
)
"""``POST /tokenize``."""

DETOKENIZE = Surface(refused={}, ignored=frozenset())
"""``POST /detokenize``."""

LOAD_ADAPTER = Surface(refused={"is_3d_lora_weight": unless(False)}, ignored=frozenset())
"""``POST /v1/load_lora_adapter``."""

UNLOAD_ADAPTER = Surface(refused={}, ignored=frozenset({"lora_int_id"}))
"""``POST /v1/unload_lora_adapter``."""
