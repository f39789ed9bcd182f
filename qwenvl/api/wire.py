"""What the request bodies of every surface have in common: strictness, unions by JSON type, shared parameters."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from qwenvl.errors import UserError

MAX_STOP_STRINGS = 16
MAX_N = 128
INT32_MAX = 2**31 - 1
MIN_SEED = -(2**63)
# vLLM adds the answer's index to the seed, and writes 64 bits.
MAX_SEED = 2**63 - 1 - MAX_N

# vLLM's GPU sampler has room for 1,024 biases, 1,024 allowed tokens and 128 stop tokens, the model's own included.
MAX_LOGIT_BIASES = 1024
MAX_ALLOWED_TOKENS = 1024
MAX_STOP_TOKENS = 64
# And for 128 bad words, of which each counts twice: with a space before it and without.
MAX_BAD_WORDS = 64
# So does each token of them, of which there is room for 1,024: one more, and the GPU sampler fails with all requests.
MAX_BAD_WORD_TOKENS = 512
# They are tokenised on the event loop, by vLLM.
MAX_BAD_WORD_CHARS = 128
MAX_LOGPROBS = 20
MAX_LABEL_CHARS = 512
"""In what a request is labelled with for others' bookkeeping; some answers repeat it."""


class WireModel(BaseModel):
    # Strict: "0.5" is not a number and true is not 1. Unknown fields are kept for the surface's table, which refuses
    # those of the body itself; deeper ones are ignored, as other servers have their own there.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def by_shape(names: dict[type, str]) -> Any:
    """Choose a union's branch by the JSON type, so that an error is about that branch alone. Null is let through.

    Each branch has a ``Tag`` of ``@`` and its name in ``names``; ``@null`` is the branch for null.
    """

    def choose(value: Any) -> str | None:
        if value is None:
            return "@null"
        return next((f"@{name}" for kind, name in names.items() if isinstance(value, kind)), None)

    wanted = " or ".join(names.values())
    return Discriminator(choose, custom_error_type="shape_type", custom_error_message=f"must be {wanted}")


class ImageUrl(WireModel):
    """``detail`` is accepted and ignored: the model reads every image at one size."""

    url: str
    detail: str | None = None


ImageSource = Annotated[
    Annotated[str, Tag("@a URL")] | Annotated[ImageUrl, Tag("@an object with a url")] | Annotated[None, Tag("@null")],
    by_shape({str: "a URL", dict: "an object with a url"}),
]


class ChatTemplateOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    chat_format: Literal["chatml", "raw"] | None = None


class StreamOptions(WireModel):
    """``include_obfuscation`` is accepted and ignored: it asks for padding, which no answer here has."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class StreamFields(WireModel):
    stream: bool | None = None
    stream_options: StreamOptions | None = None


def check_stream_options(wire: StreamFields) -> None:
    """Raise unless the options are for a stream.

    Raises:
        UserError: they are for none, or one of them is vLLM's and not ours.
    """
    if wire.stream_options is None:
        return
    if not wire.stream:
        raise UserError("stream_options needs stream to be true.", param="stream_options", code="invalid_value")
    if wire.stream_options.continuous_usage_stats:
        param = "stream_options.continuous_usage_stats"
        raise UserError(f"{param} is not supported by this server.", param=param, code="unsupported_parameter")


StopString = Annotated[str, Field(min_length=1)]

StopStrings = Annotated[
    Annotated[StopString, Tag("@a string")]
    | Annotated[list[StopString], Tag("@a list of strings"), Field(max_length=MAX_STOP_STRINGS)]
    | Annotated[None, Tag("@null")],
    by_shape({str: "a string", list: "a list of strings"}),
]

TokenId = Annotated[int, Field(ge=0, le=INT32_MAX)]


BadWord = Annotated[str, Field(min_length=1, max_length=MAX_BAD_WORD_CHARS)]

Label = Annotated[str, Field(max_length=MAX_LABEL_CHARS)]


class SamplingFields(WireModel):
    """Sampling parameters that every generating route takes. A field that is null counts as one that is not there."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=INT32_MAX)
    min_p: float | None = Field(None, ge=0, le=1)
    stop: StopStrings = None
    stop_token_ids: list[TokenId] | None = Field(None, max_length=MAX_STOP_TOKENS)
    include_stop_str_in_output: bool | None = None
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    n: int | None = Field(None, ge=1, le=MAX_N)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=MAX_LOGIT_BIASES)
    allowed_token_ids: list[TokenId] | None = Field(None, max_length=MAX_ALLOWED_TOKENS)
    bad_words: list[BadWord] | None = Field(None, max_length=MAX_BAD_WORDS)
    min_tokens: int | None = Field(None, ge=0, le=INT32_MAX)
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    prompt_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)


class ServingFields(WireModel):
    """What vLLM lets a request say of how it is served, and of what its answer shows."""

    cache_salt: str | None = Field(None, min_length=1, max_length=1024)
    priority: int | None = Field(None, ge=0, le=INT32_MAX)
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/+=-]{1,128}$")] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None


class IgnoredFields(WireModel):
    """Accepted on every generating surface and without effect: an answer would be the same with them."""

    user: Label | None = None
    session_id: Label | None = None
    # The vocabulary has no special tokens to add to a text, and no spaces to put between those it has.
    add_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    stream_interval: int | None = Field(None, ge=1)
    # vLLM heeds these on its rendering routes alone.
    return_token_offsets: bool | None = None
    mm_payload: Literal["tensors", "none"] | None = None
    return_mm_kwargs: bool | None = None
