"""Parameters of the Responses API that are not honoured, and what is done with each."""

from collections.abc import Mapping

from qwenvl.api.refused import REFUSED_EVERYWHERE, Asks, Surface, always, if_filled, unless
from qwenvl.api.responses.schemas import LOGPROBS, CreateResponseRequest, IgnoredResponseFields
from qwenvl.errors import UserError

RESPONSES = Surface(
    refused={
        # OpenAI's
        "access_programs": always,
        "background": unless(False),
        "background_options": always,
        "context_management": if_filled,
        "conversation": always,
        "image": unless({}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
        "moderation": always,
        "prompt": always,
        # OpenAI's, of chat completions
        "functions": if_filled,
        "logprobs": unless(False),
        "max_completion_tokens": always,
        "max_tokens": always,
        "messages": always,
        "response_format": always,
        # vLLM's
        "enable_response_messages": unless(False),
        "media_io_kwargs": if_filled,
        "mm_processor_kwargs": if_filled,
        "previous_input_messages": if_filled,
        "return_token_ids": unless(False),
        "return_tokens_as_token_ids": unless(False),
        **REFUSED_EVERYWHERE,
    },
    ignored=frozenset(IgnoredResponseFields.model_fields),
    instead={
        "functions": "tools",
        "guided_choice": "structured_outputs.choice",
        "guided_grammar": "structured_outputs.grammar",
        "guided_json": "structured_outputs.json",
        "guided_regex": "structured_outputs.regex",
        "logprobs": f"include with '{LOGPROBS}'",
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "messages": "input",
        "response_format": "text.format",
    },
)
"""``POST /v1/responses``."""

REFUSED_FIELDS: Mapping[str, Asks] = {"n": unless(1), "prompt_logprobs": always}
"""Sampling parameters of other surfaces that a response has no place for."""

INCLUDABLE = (LOGPROBS, "message.input_image.image_url", "reasoning.encrypted_content")
"""Pictures' addresses are always there, and there is no reasoning to encrypt."""


def check_parameters(wire: CreateResponseRequest) -> None:
    """Refuse what asks for something that this server does not do.

    Raises:
        UserError: names the parameter.
    """
    RESPONSES.check(wire.model_extra)
    for name, asks in REFUSED_FIELDS.items():
        value = getattr(wire, name)
        if value is not None and asks(value):
            raise UserError(
                f"{name} is not supported for responses. Leave it out.", param=name, code="unsupported_parameter"
            )
    for i, name in enumerate(wire.include or ()):
        if name not in INCLUDABLE:
            raise UserError(
                f"include[{i}] must be one of {', '.join(INCLUDABLE)}: this server has nothing else to include.",
                param=f"include[{i}]",
                code="invalid_value",
            )
    if wire.stream_options is not None and not wire.stream:
        raise UserError("stream_options needs stream to be true.", param="stream_options", code="invalid_value")
