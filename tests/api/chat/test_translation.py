import json
import math
from collections.abc import AsyncIterator

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from qwenvl.api.chat.translation import AnswerHeader, collect, fingerprint, stream, write_logprobs
from qwenvl.engine import Delta, PositionLogprobs, Step, TokenLogprob, Usage
from qwenvl.errors import EngineError
from tests.fake_engine import model_info

INFO = model_info()


def header(n: int = 1, prompt_token_ids: list[int] | None = None) -> AnswerHeader:
    return AnswerHeader("tiny", fingerprint(INFO), INFO.vocabulary, n, prompt_token_ids)


def openais(chunk: str) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate_json(chunk, strict=True)


async def steps(*deltas: Delta) -> AsyncIterator[Step]:
    for i, delta in enumerate(deltas):
        yield Step([delta], Usage(5, i + 1))


def test_minus_infinity_and_half_characters() -> None:
    token_id = 200
    content = INFO.vocabulary.token_bytes(token_id)
    position = PositionLogprobs(TokenLogprob(token_id, -math.inf), (TokenLogprob(token_id, -math.inf),))
    written = write_logprobs([position], INFO.vocabulary)
    assert written is not None
    (entry,) = written.content
    assert entry.logprob == entry.top_logprobs[0].logprob == -9999.0
    assert bytes(entry.bytes) == content
    assert entry.token == content.decode(errors="replace")


def test_ids_of_the_padded_vocabulary_have_no_text() -> None:
    position = PositionLogprobs(TokenLogprob(INFO.vocab_size - 1, -1.0), ())
    written = write_logprobs([position], INFO.vocabulary)
    assert written is not None
    assert (written.content[0].token, written.content[0].bytes) == ("", [])


async def test_interleaved_answers_are_told_apart() -> None:
    deltas = (
        Delta(1, "b", (1,)),
        Delta(0, "a", (2,)),
        Delta(1, "B", (3,), finish_reason="length"),
        Delta(0, "A", (4,), finish_reason="stop", stop_reason="!"),
    )
    completion = await collect(steps(*deltas), header(2, [9]))
    ChatCompletion.model_validate_json(completion.model_dump_json(exclude_unset=True), strict=True)
    first, second = completion.choices
    assert (first.message.content, first.finish_reason, first.stop_reason, first.token_ids) == (
        "aA",
        "stop",
        "!",
        [2, 4],
    )
    assert (second.message.content, second.finish_reason, second.token_ids) == ("bB", "length", [1, 3])
    assert completion.usage.total_tokens == 9


async def test_text_that_lags_behind_sends_no_empty_chunks() -> None:
    deltas = (Delta(0, "", (1,)), Delta(0, "é", (2,)), Delta(0, "", (3,), finish_reason="stop"))
    chunks = [openais(chunk) async for chunk in stream(steps(*deltas), header())]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "é", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]


async def test_text_that_lags_behind_still_sends_its_tokens() -> None:
    deltas = (Delta(0, "", (1,)), Delta(0, "é", (2,), finish_reason="length"))
    chunks = [json.loads(chunk) async for chunk in stream(steps(*deltas), header(1, [7]))]
    assert [chunk["choices"][0].get("token_ids") for chunk in chunks] == [None, [1], [2], None]


async def test_pieces_are_written_as_whole_chunks_are() -> None:
    pieces = ['"', "\\n", "\x00\x1f", "\u2028", "好", "{}", "%s"]
    deltas = [Delta(i % 2, piece, (1,)) for i, piece in enumerate(pieces)]
    ends = [Delta(i, "", (2,), finish_reason="stop") for i in range(2)]
    chunks = [openais(chunk) async for chunk in stream(steps(*deltas, *ends), header(2))]
    opening, written = chunks[:2], chunks[2 : 2 + len(pieces)]
    assert [(chunk.choices[0].index, chunk.choices[0].delta.content) for chunk in written] == [
        (delta.index, delta.text) for delta in deltas
    ]
    assert {(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in written} == {
        (opening[0].id, opening[0].created, opening[0].model, opening[0].system_fingerprint)
    }


def test_fingerprint_follows_model_and_versions() -> None:
    assert fingerprint(INFO) == fingerprint(model_info())
    assert fingerprint(INFO) != fingerprint(model_info(names=("other",)))


@pytest.mark.parametrize("deltas", [(), (Delta(0, "a", (1,)),)])
async def test_an_answer_cut_short_is_an_error(deltas: tuple[Delta, ...]) -> None:
    with pytest.raises(EngineError):
        await collect(steps(*deltas), header())
    with pytest.raises(EngineError):
        _ = [chunk async for chunk in stream(steps(*deltas), header())]
