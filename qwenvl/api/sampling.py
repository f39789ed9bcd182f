"""Wire parameters to sampling options, within what the model, the engine and the operator allow."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from qwenvl.api.validation import shorten
from qwenvl.api.wire import MAX_BAD_WORD_TOKENS, SamplingFields
from qwenvl.engine import ModelInfo, SamplingOptions, Structure
from qwenvl.errors import ContextLengthError, UserError

ValueT = TypeVar("ValueT")
CountT = TypeVar("CountT", int, int | None)

# No sign, no blank, no digit but these ten, no leading zero, and no more of them than 32 bits have.
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,9}")


def read_sampling(
    wire: SamplingFields,
    info: ModelInfo,
    *,
    prompt_tokens: int,
    max_n: int,
    max_tokens: Mapping[str, int | None],
    logprobs: int | None = None,
    prompt_logprobs: int | None = None,
    structure: Structure | None = None,
    prompt_param: str = "messages",
) -> SamplingOptions:
    """How to sample, with the model's own defaults where the request names nothing.

    Args:
        wire: the request's sampling parameters.
        info: the model that answers.
        prompt_tokens: length of the prompt, images at their full length.
        max_n: the server's limit of answers.
        max_tokens: what the request says of the answer's length, by the name of the field that says it.
        logprobs: alternatives to report for each token of the answer, as :class:`SamplingOptions` has it.
        prompt_logprobs: the same for each token of the prompt; None is what the request's own field says.
        structure: what the answer must look like.
        prompt_param: the request field that holds the prompt.

    Raises:
        ContextLengthError: prompt and answer do not fit the context.
        UserError: two parameters contradict each other, or one passes a limit of this server.
    """
    defaults = info.defaults
    n = _or(wire.n, 1)
    if n > max_n:
        raise UserError(f"n must be at most {max_n} on this server, not {n}.", param="n", code="invalid_value")
    top_k = _or(wire.top_k, defaults.top_k)
    answer_tokens = _read_max_tokens(max_tokens, info, prompt_tokens, prompt_param)
    return SamplingOptions(
        temperature=_or(wire.temperature, defaults.temperature),
        top_p=_or(wire.top_p, defaults.top_p),
        top_k=0 if top_k == -1 else min(top_k, info.vocab_size),
        max_tokens=answer_tokens,
        min_tokens=_read_min_tokens(wire.min_tokens, answer_tokens),
        n=n,
        stop=_read_stop(wire.stop),
        stop_token_ids=_read_token_ids("stop_token_ids", wire.stop_token_ids, info),
        include_stop=bool(wire.include_stop_str_in_output),
        seed=wire.seed,
        presence_penalty=_or(wire.presence_penalty, 0.0),
        frequency_penalty=_or(wire.frequency_penalty, 0.0),
        repetition_penalty=_or(wire.repetition_penalty, defaults.repetition_penalty),
        min_p=_or(wire.min_p, 0.0),
        logit_bias=_read_logit_bias(wire.logit_bias, info),
        allowed_token_ids=_read_token_ids("allowed_token_ids", wire.allowed_token_ids, info),
        bad_words=_read_bad_words(wire.bad_words, info),
        logprobs=logprobs,
        prompt_logprobs=within_engine("prompt_logprobs", _or(prompt_logprobs, wire.prompt_logprobs), info),
        structure=structure,
        skip_control=_or(wire.skip_special_tokens, True),
        ignore_eos=bool(wire.ignore_eos),
    )


def check_prompt_fits(prompt_tokens: int, info: ModelInfo, param: str = "messages") -> None:
    """Raise unless the prompt, which the request has in its field ``param``, leaves room for one token of an answer.

    Raises:
        ContextLengthError: it does not.
    """
    if prompt_tokens >= info.max_model_len:
        raise ContextLengthError(
            f"This model's maximum context length is {info.max_model_len} tokens. However, your {param} resulted in "
            f"{prompt_tokens} tokens, which leaves no room for an answer. Please reduce the length of the {param}.",
            param=param,
        )


def _read_max_tokens(named: Mapping[str, int | None], info: ModelInfo, prompt_tokens: int, prompt_param: str) -> int:
    check_prompt_fits(prompt_tokens, info, prompt_param)
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
                f"{prompt_tokens + value} tokens ({prompt_tokens} in the {prompt_param}, {value} in the completion). "
                f"Please reduce the length of the {prompt_param} or completion.",
                param=name,
            )
        return value
    return min(_or(info.defaults.max_tokens, left), left)


def _read_min_tokens(min_tokens: int | None, max_tokens: int) -> int:
    if min_tokens is not None and min_tokens > max_tokens:
        raise _refusal("min_tokens", f"must be at most the {max_tokens} tokens that the answer may have")
    return _or(min_tokens, 0)


def _read_token_ids(param: str, token_ids: Sequence[int] | None, info: ModelInfo) -> tuple[int, ...]:
    for token_id in token_ids or ():
        _check_in_vocabulary(param, token_id, info)
    return tuple(token_ids or ())


def _read_logit_bias(biases: Mapping[str, float] | None, info: ModelInfo) -> dict[int, float]:
    by_id: dict[int, float] = {}
    for key, bias in (biases or {}).items():
        if not _TOKEN_ID.fullmatch(key):
            raise _refusal("logit_bias", f'has token ids as its keys, such as "42", not {shorten(key)}')
        _check_in_vocabulary("logit_bias", int(key), info)
        by_id[int(key)] = bias
    return by_id


def _read_bad_words(words: Sequence[str] | None, info: ModelInfo) -> tuple[str, ...]:
    # As vLLM reads them: it lets go of white space before a word.
    n_tokens = sum(len(info.vocabulary.encode_text(word.lstrip())) for word in words or ())
    if n_tokens > MAX_BAD_WORD_TOKENS:
        raise _refusal("bad_words", f"may have at most {MAX_BAD_WORD_TOKENS} tokens together, not {n_tokens}")
    return tuple(words or ())


def _check_in_vocabulary(param: str, token_id: int, info: ModelInfo) -> None:
    if token_id >= info.vocab_size:
        raise _refusal(param, f"names token {token_id}, and this model's tokens are 0 to {info.vocab_size - 1}")


def _refusal(param: str, reason: str) -> UserError:
    return UserError(f"{param} {reason}.", param=param, code="invalid_value")


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
    return within_engine("top_logprobs", top, info)


def check_prompt_logprobs(wire: SamplingFields, stream: bool | None) -> None:
    """Raise where log probabilities of the prompt are asked for and have no place: no chunk of a stream is about it.

    Raises:
        UserError: they are.
    """
    if stream and wire.prompt_logprobs is not None:
        raise _refusal("prompt_logprobs", "needs stream to be false")


def within_engine(param: str, count: CountT, info: ModelInfo) -> CountT:
    """``count`` of alternatives for each token, if the engine reports as many.

    Raises:
        UserError: it does not.
    """
    if count is not None and count > info.max_logprobs:
        raise _refusal(param, f"must be at most {info.max_logprobs} on this server, not {count}")
    return count


def _or(value: ValueT | None, default: ValueT) -> ValueT:
    return default if value is None else value
