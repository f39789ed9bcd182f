"""Request bodies of ``POST /v1/completions``: types and ranges."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from qwenvl.api.structure import StructureFields
from qwenvl.api.wire import (
    MAX_LOGPROBS,
    IgnoredFields,
    ImageUrl,
    SamplingFields,
    ServingFields,
    StreamFields,
    TokenId,
    by_shape,
)

MAX_PROMPTS = 256
MAX_IMAGES = 1024
DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

_WANTED = "a string, a list of strings, a list of token ids or a list of such lists"

Prompt = str | list[int]


def _prompt_shape(value: Any) -> str | None:
    """The branch by the JSON type of the prompt, or of its first element."""
    if isinstance(value, str):
        return "@a string"
    if isinstance(value, list):
        kind = type(value[0]) if value else str
        return {str: "@strings", int: "@token ids", list: "@lists of token ids"}.get(kind)
    return None


class CompletionRequest(SamplingFields, StructureFields, StreamFields, ServingFields, IgnoredFields):
    """``POST /v1/completions``."""

    model: str
    prompt: Annotated[
        Annotated[str, Tag("@a string")]
        | Annotated[list[str], Tag("@strings"), Field(max_length=MAX_PROMPTS, fail_fast=True)]
        | Annotated[list[TokenId], Tag("@token ids"), Field(fail_fast=True)]
        | Annotated[list[list[TokenId]], Tag("@lists of token ids"), Field(max_length=MAX_PROMPTS, fail_fast=True)],
        Discriminator(_prompt_shape, custom_error_type="shape_type", custom_error_message=f"must be {_WANTED}"),
    ]
    images: (
        list[
            Annotated[
                Annotated[str, Tag("@a URL")] | Annotated[ImageUrl, Tag("@an object with a url")],
                by_shape({str: "a URL", dict: "an object with a url"}),
            ]
        ]
        | None
    ) = Field(None, max_length=MAX_IMAGES)

    max_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1)

    def prompts(self) -> list[tuple[Prompt, str]]:
        """Each prompt, and the field that holds it."""
        prompt = self.prompt
        if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
            return [(prompt, "prompt")]
        return [(one, f"prompt[{i}]") for i, one in enumerate(prompt)]  # type: ignore[misc]
