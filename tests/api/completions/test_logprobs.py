from qwenvl.api.completions.logprobs import LogprobsWriter, joined
from qwenvl.engine import PositionLogprobs, TokenLogprob
from tests.fake_engine import model_info

VOCABULARY = model_info().vocabulary


def position(token_id: int, *top: int) -> PositionLogprobs:
    chosen = TokenLogprob(token_id, -1.0)
    return PositionLogprobs(chosen, tuple(TokenLogprob(other, -0.5) for other in top))


def writer(count: int = 1, *, tokens_as_ids: bool = False, skip_control: bool = True) -> LogprobsWriter:
    return LogprobsWriter(VOCABULARY, count, tokens_as_ids=tokens_as_ids, skip_control=skip_control)


def test_offsets_count_characters() -> None:
    halves = VOCABULARY.encode_text("é")
    letter, *_ = VOCABULARY.encode_text("x")
    assert len(halves) == 2
    written = writer().write([position(token_id) for token_id in (letter, *halves, letter)])
    assert written.text_offset == [0, 1, 1, 2]
    assert written.tokens == ["x", "\ufffd", "\ufffd", "x"]


def test_hidden_tokens_take_no_room() -> None:
    letter, *_ = VOCABULARY.encode_text("x")
    positions = [position(VOCABULARY.im_start), position(letter)]
    assert writer().write(positions).text_offset == [0, 0]
    assert writer(skip_control=False).write(positions).text_offset == [0, len("<|im_start|>")]


def test_offsets_go_on_after_the_prompt() -> None:
    letter, *_ = VOCABULARY.encode_text("x")
    one = writer()
    prompt = one.write_prompt([(letter, None), (letter, position(letter))])
    pieces = [prompt, one.write([position(letter)]), one.write([position(letter)])]
    whole = joined(pieces)
    assert whole.text_offset == [0, 1, 2, 3]
    assert whole.token_logprobs == [None, -1.0, -1.0, -1.0]
    assert whole.top_logprobs[0] is None


def test_the_chosen_token_is_among_the_likeliest() -> None:
    one, two = VOCABULARY.encode_text("x")[0], VOCABULARY.encode_text("y")[0]
    assert writer(1).write([position(one, two, one)]).top_logprobs == [{"y": -0.5, "x": -1.0}]
    assert writer(0).write([position(one, two)]).top_logprobs == [{"x": -1.0}]
    named = writer(1, tokens_as_ids=True).write([position(one, two)])
    assert named.tokens == [f"token_id:{one}"]
    assert named.top_logprobs == [{f"token_id:{two}": -0.5, f"token_id:{one}": -1.0}]
