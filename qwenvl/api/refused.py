"""Parameters that other servers know and this one does not.

Silence would change what an answer means, so they are refused by name; a value that asks for nothing is let through.
"""

from collections.abc import Callable, Mapping
from typing import Any

from qwenvl.errors import UserError


def _always(value: Any) -> bool:
    return True


def _unless(*neutral: Any) -> Callable[[Any], bool]:
    return lambda value: value not in neutral


def _if_filled(value: Any) -> bool:
    return bool(value)


def _asks_for_audio(value: Any) -> bool:
    return bool(value != ["text"])


def _asks_for_structure(value: Any) -> bool:
    return bool(not isinstance(value, dict) or value.get("type") != "text")


REFUSED: Mapping[str, Callable[[Any], bool]] = {
    # OpenAI's
    "audio": _always,
    "function_call": _unless("none"),
    "functions": _if_filled,
    "logit_bias": _if_filled,
    "modalities": _asks_for_audio,
    "moderation": _always,
    "prediction": _always,
    "response_format": _asks_for_structure,
    "tool_choice": _unless("none"),
    "tools": _if_filled,
    "web_search_options": _always,
    # vLLM's
    "add_generation_prompt": _unless(True),
    "allowed_token_ids": _if_filled,
    "bad_words": _if_filled,
    "chat_template": _always,
    "continue_final_message": _unless(False),
    "echo": _unless(False),
    "include_stop_str_in_output": _unless(False),
    "min_p": _unless(0),
    "min_tokens": _unless(0),
    "prompt_logprobs": _always,
    "skip_special_tokens": _unless(True),
    "stop_token_ids": _if_filled,
    "structured_outputs": _always,
    "truncate_prompt_tokens": _always,
    "use_beam_search": _unless(False),
}
"""Each parameter, and whether a value that is not null asks for something."""


def refuse_unsupported(fields: Mapping[str, Any]) -> None:
    """Raise for the first field that asks for what this server does not do.

    Raises:
        UserError: names the parameter.
    """
    for name, asks in REFUSED.items():
        value = fields.get(name)
        if value is not None and asks(value):
            raise UserError(
                f"{name} is not supported by this server. Leave it out.", param=name, code="unsupported_parameter"
            )
