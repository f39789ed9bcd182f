import pytest

from qwenvl.api.chat.schemas import ChatCompletionRequest
from qwenvl.api.sampling import read_logprobs, read_sampling
from qwenvl.api.wire import MAX_BAD_WORD_TOKENS
from qwenvl.engine import SamplingDefaults, SamplingOptions
from qwenvl.errors import UserError
from tests.fake_engine import model_info

DEFAULTS = SamplingDefaults(temperature=0.7, top_p=0.5, top_k=3, repetition_penalty=1.1, max_tokens=512)


def read(prompt_tokens: int = 100, max_logprobs: int = 20, **fields: object) -> SamplingOptions:
    wire = ChatCompletionRequest.model_validate({"model": "tiny", "messages": [], **fields})
    info = model_info(defaults=DEFAULTS, max_logprobs=max_logprobs)
    return read_sampling(
        wire,
        info,
        prompt_tokens=prompt_tokens,
        max_n=4,
        max_tokens={"max_tokens": wire.max_tokens, "max_completion_tokens": wire.max_completion_tokens},
        logprobs=read_logprobs(wire.logprobs, wire.top_logprobs, info),
    )


def test_defaults_are_the_models() -> None:
    assert read() == SamplingOptions(temperature=0.7, top_p=0.5, top_k=3, max_tokens=512, repetition_penalty=1.1)


def test_nulls_are_defaults_and_zeros_are_not() -> None:
    assert read(temperature=None) == read()
    zeros = read(temperature=0, top_k=0)
    assert (zeros.temperature, zeros.top_k) == (0, 0)


def test_default_max_tokens_is_what_is_left() -> None:
    assert read(prompt_tokens=2000).max_tokens == 48


@pytest.mark.parametrize(("given", "read_as"), [(-1, 0), (0, 0), (7, 7), (10**6, 768)])
def test_top_k(given: int, read_as: int) -> None:
    assert read(top_k=given).top_k == read_as


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_explicit_max_tokens_up_to_the_context(name: str) -> None:
    assert read(prompt_tokens=2000, **{name: 48}).max_tokens == 48
    with pytest.raises(UserError) as caught:
        read(prompt_tokens=2000, **{name: 49})
    assert (caught.value.param, caught.value.code) == (name, "context_length_exceeded")


def test_bad_words_within_the_engines_room() -> None:
    words = ["two hats", " hats", "été"]
    assert read(bad_words=words).bad_words == tuple(words)
    assert len(model_info().vocabulary.encode_ordinary("123456789")) == 9
    with pytest.raises(UserError, match=f"at most {MAX_BAD_WORD_TOKENS} tokens together, not {64 * 9}") as caught:
        read(bad_words=["123456789"] * 64)
    assert (caught.value.param, caught.value.code) == ("bad_words", "invalid_value")
    assert len(read(bad_words=["12345678"] * 64).bad_words) == 64


def test_logprobs_within_the_engines_limit() -> None:
    assert read().logprobs is None
    assert read(logprobs=True).logprobs == 0
    assert read(logprobs=True, top_logprobs=5, max_logprobs=5).logprobs == 5
    assert read(logprobs=False, top_logprobs=0).logprobs is None
    with pytest.raises(UserError, match="at most 5"):
        read(logprobs=True, top_logprobs=6, max_logprobs=5)


def test_n_within_the_servers_limit() -> None:
    assert read(n=4).n == 4
    with pytest.raises(UserError, match="at most 4"):
        read(n=5)
