"""Wire parameters to sampling options, within what the model, the engine and the operator allow."""

from collections.abc import Mapping
from typing import TypeVar

from qwenvl.api.wire import SamplingFields
from qwenvl.engine import ModelInfo, SamplingOptions, Structure
from qwenvl.errors import ContextLengthError, UserError

ValueT = TypeVar("ValueT")


def read_sampling(
    wire: SamplingFields,
    info: ModelInfo,
    *,
    prompt_tokens: int,
    max_n: int,
    max_tokens: Mapping[str, int | None],
    logprobs: int | None = None,
    structure: Structure | None = None,
) -> SamplingOptions:
    """How to sample, with the model's own defaults where the request names nothing.

    Args:
        wire: the request's sampling parameters.
        info: the model that answers.
        prompt_tokens: length of the prompt, images at their full length.
        max_n: the server's limit of answers.
        max_tokens: what the request says of the answer's length, by the name of the field that says it.
        logprobs: alternatives to report for each token of the answer, as :class:`SamplingOptions` has it.
        structure: what the answer must look like.

    Raises:
        ContextLengthError: prompt and answer do not fit the context.
        UserError: two parameters contradict each other, or one passes a limit of this server.
    """
    defaults = info.defaults
    n = _or(wire.n, 1)
    if n > max_n:
        raise UserError(f"n must be at most {max_n} on this server, not {n}.", param="n", code="invalid_value")
    top_k = _or(wire.top_k, defaults.top_k)
    return SamplingOptions(
        temperature=_or(wire.temperature, defaults.temperature),
        top_p=_or(wire.top_p, defaults.top_p),
        top_k=0 if top_k == -1 else min(top_k, info.vocab_size),
        max_tokens=_read_max_tokens(max_tokens, info, prompt_tokens),
        n=n,
        stop=_read_stop(wire.stop),
        seed=wire.seed,
        presence_penalty=_or(wire.presence_penalty, 0.0),
        frequency_penalty=_or(wire.frequency_penalty, 0.0),
        repetition_penalty=_or(wire.repetition_penalty, defaults.repetition_penalty),
        logprobs=logprobs,
        structure=structure,
        ignore_eos=bool(wire.ignore_eos),
    )


def check_prompt_fits(prompt_tokens: int, info: ModelInfo) -> None:
    """Raise unless the prompt leaves room for one token of an answer.

    Raises:
        ContextLengthError: it does not.
    """
    if prompt_tokens >= info.max_model_len:
        raise ContextLengthError(
            f"This model's maximum context length is {info.max_model_len} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens, which leaves no room for an answer. Please reduce the length of the messages."
        )


def _read_max_tokens(named: Mapping[str, int | None], info: ModelInfo, prompt_tokens: int) -> int:
    check_prompt_fits(prompt_tokens, info)
    left = info.max_model_len - prompt_tokens
    wanted = {name: value for name, value in named.items() if value is not None}
    if len(set(wanted.values())) > 1:
        raise UserError(
            f"{' and '.join(wanted)} name different limits. Give one of them.",
            param=next(iter(wanted)),
            code="invalid_value",
        )
    for name, value in wanted.items():
        if value > left:
            raise ContextLengthError(
                f"This model's maximum context length is {info.max_model_len} tokens. However, you requested "
                f"{prompt_tokens + value} tokens ({prompt_tokens} in the messages, {value} in the completion). "
                "Please reduce the length of the messages or completion.",
                param=name,
            )
        return value
    return min(_or(info.defaults.max_tokens, left), left)


def _read_stop(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def read_logprobs(logprobs: bool | None, top_logprobs: int | None, info: ModelInfo) -> int | None:
    """Alternatives to report for each token, of the two parameters that OpenAI's chat has for it.

    Raises:
        UserError: they contradict each other, or pass the engine's limit.
    """
    top = _or(top_logprobs, 0)
    if not logprobs:
        if top:
            raise UserError("top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value")
        return None
    if top > info.max_logprobs:
        raise UserError(
            f"top_logprobs must be at most {info.max_logprobs} on this server, not {top}.",
            param="top_logprobs",
            code="invalid_value",
        )
    return top


def _or(value: ValueT | None, default: ValueT) -> ValueT:
    return default if value is None else value
