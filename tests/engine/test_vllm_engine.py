"""Every sampling option on the real engine."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from qwenvl.engine import GenerationRequest
from qwenvl.errors import UserError
from tests.engine.asking import VOCABULARY, Answer, answers, request, sampling
from tests.parity.golden import LOGPROB_TOLERANCE, cases
from tests.stack import Stack

pytestmark = pytest.mark.slow


def ask(stack: Stack, text: str = "Hello there", **options: Any) -> Answer:
    return answers(stack.generate(request(text, **options)))[0]


@pytest.fixture(scope="module")
def plain(stack: Stack) -> Answer:
    return ask(stack)


def test_a_stop_token_ends_the_answer_and_is_told(stack: Stack, plain: Answer) -> None:
    stop = plain.token_ids[5]
    at = plain.token_ids.index(stop)
    for n in (1, 3):
        for answer in answers(stack.generate(request(stop_token_ids=(stop,), n=n))):
            assert answer.ending == ("stop", stop)
            assert answer.token_ids == plain.token_ids[: at + 1]
            assert answer.text == VOCABULARY.decode(plain.token_ids[:at])


def test_a_stop_token_ends_the_answer_despite_ignore_eos(stack: Stack, plain: Answer) -> None:
    stop = plain.token_ids[5]
    assert ask(stack, stop_token_ids=(stop,), ignore_eos=True).ending == ("stop", stop)


def test_min_tokens_holds_off_every_stop(stack: Stack) -> None:
    end = VOCABULARY.im_end
    eager = {"logit_bias": {end: 100.0}}
    assert ask(stack, **eager).token_ids == [end]
    patient = ask(stack, min_tokens=10, stop_token_ids=(VOCABULARY.im_start,), **eager)
    assert len(patient.token_ids) == 11
    assert not set(VOCABULARY.stop_ids) & set(patient.token_ids[:-1])


def test_min_tokens_holds_off_stop_strings(stack: Stack, plain: Answer) -> None:
    stop = plain.text[1:3]
    late = ask(stack, stop=(stop,), min_tokens=len(plain.token_ids))
    assert (late.text, late.ending) == (plain.text, ("length", None))


def test_the_stop_string_is_shown_where_asked_for(stack: Stack, plain: Answer) -> None:
    stop = plain.text[4:6]
    before = plain.text[: plain.text.index(stop)]
    hidden, shown = ask(stack, stop=(stop,)), ask(stack, stop=(stop,), include_stop=True)
    assert (hidden.text, hidden.ending) == (before, ("stop", stop))
    assert (shown.text, shown.ending) == (before + stop, ("stop", stop))


def test_bias_and_allowed_tokens(stack: Stack) -> None:
    assert ask(stack, logit_bias={ord("a"): 100.0}, max_tokens=5).text == "aaaaa"
    assert set(ask(stack, allowed_token_ids=(97, 98), temperature=1.0).text) <= set("ab")
    assert ask(stack, allowed_token_ids=(VOCABULARY.im_end,)).ending == ("stop", VOCABULARY.im_end)


def test_the_highest_min_p_leaves_the_likeliest_token(stack: Stack, plain: Answer) -> None:
    assert ask(stack, temperature=1.0, min_p=1.0).token_ids == plain.token_ids


def test_bad_words_are_not_generated(stack: Stack, plain: Answer) -> None:
    word = VOCABULARY.decode(plain.token_ids[1:2])
    assert plain.token_ids[1] not in ask(stack, bad_words=(word,)).token_ids


def test_control_tokens_in_bad_words_are_text(stack: Stack) -> None:
    answer = ask(
        stack, bad_words=("<|im_end|>", "<|im_start|>", "<|endoftext|>"), logit_bias={VOCABULARY.im_end: 100.0}
    )
    assert answer.ending == ("stop", VOCABULARY.im_end)


def test_control_tokens_show_where_asked_for(stack: Stack) -> None:
    extra = VOCABULARY.special_ids["<|extra_7|>"]
    options = {"logit_bias": {extra: 100.0}, "max_tokens": 2}
    assert ask(stack, **options).text == ""
    assert ask(stack, skip_control=False, **options).text == "<|extra_7|>" * 2


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"stop_token_ids": (768,)}, "stop_token_ids"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias"),
        ({"allowed_token_ids": (768,)}, "allowed_token_ids"),
        ({"bad_words": (" ",)}, "bad_words"),
        ({"bad_words": tuple(map(str, range(200)))}, "bad_words"),
        ({"prompt_logprobs": 1000}, "prompt_logprobs"),
    ],
)
def test_refusals_name_the_option_and_leave_nothing_behind(stack: Stack, options: dict[str, Any], param: str) -> None:
    with pytest.raises(UserError) as refused:
        ask(stack, **options)
    assert refused.value.param == param
    assert "parameter=" not in refused.value.message
    assert stack.engine.in_flight == 0
    assert ask(stack, max_tokens=1).ending == ("length", None)


@pytest.mark.parametrize("options", [{}, {"n": 3}, {"n": 2, "temperature": 1.0}])
def test_log_probabilities_of_the_prompt(stack: Stack, options: dict[str, Any]) -> None:
    case = next(case for case in cases() if case.image_names)
    asked = sampling(prompt_logprobs=3, max_tokens=3, **options)
    # Twice: blocks from the prefix cache have no logits.
    for again in range(2):
        name = f"prompt-logprobs-{again}-{len(options)}"
        steps = stack.generate(GenerationRequest(name, case.token_ids, tuple(case.images), asked))
        assert [step.prompt_logprobs for step in steps[1:]] == [None] * (len(steps) - 1)
        entries = steps[0].prompt_logprobs
        assert entries is not None
        assert (len(entries), entries[0]) == (case.prompt_length, None)
        assert [entry.chosen.token_id for entry in entries[-3:] if entry] == list(case.token_ids[-3:])
        for entry in filter(None, entries):
            best = [alternative.logprob for alternative in entry.top]
            assert len(best) == 3
            assert best == sorted(best, reverse=True)
            assert entry.chosen.logprob <= best[0]


def test_the_prompt_is_scored_as_the_answer_was(stack: Stack, plain: Answer) -> None:
    first = request()
    scored = answers(stack.generate(request(logprobs=0)))[0]
    longer = GenerationRequest(
        "scored-again",
        (*first.token_ids, *scored.token_ids),
        (),
        sampling(prompt_logprobs=0, max_tokens=1),
    )
    entries = stack.generate(longer)[0].prompt_logprobs
    assert entries is not None
    again = [entry.chosen.logprob for entry in entries[len(first.token_ids) :] if entry]
    assert again == pytest.approx([entry.chosen.logprob for entry in scored.logprobs], abs=LOGPROB_TOLERANCE)


def test_salts_keep_caches_apart(stack: Stack) -> None:
    def cached(salt: str | None) -> int:
        return stack.generate(request("a prompt of its own " * 20, cache_salt=salt, max_tokens=1))[
            -1
        ].usage.cached_tokens

    assert [cached(None) > 0, cached(None) > 0] == [False, True]
    assert [cached("a") > 0, cached("a") > 0, cached("b") > 0] == [False, True, False]


def test_a_request_that_can_wait_does(stack: Stack) -> None:
    ended: list[str] = []

    async def run(name: str, wanted: GenerationRequest) -> None:
        async for _ in stack.engine.generate(wanted):
            pass
        ended.append(name)

    async def race() -> None:
        patient = [request(max_tokens=64, ignore_eos=True, priority=1) for _ in range(40)]
        waiting = [asyncio.create_task(run("patient", wanted)) for wanted in patient]
        # The core offers nothing to wait on; asking it takes a round trip.
        while await stack.engine.running() < len(patient):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.gather(run("urgent", request(max_tokens=1)), *waiting)

    stack.live.call(race())
    # 32 run at a time.
    assert ended.index("urgent") <= 32


def test_metrics_of_the_engine(stack: Stack) -> None:
    ask(stack, max_tokens=1)
    text = stack.engine.metrics().decode()
    assert any(
        line.startswith("vllm:generation_tokens_total{") and float(line.split()[-1]) > 0 for line in text.splitlines()
    )


def test_seeds_and_prompts_in_chunks(stack: Stack) -> None:
    """Read whole or in chunks of 512 beside others, with a seed each: the same answers, and the engine lives."""
    long = request("word " * 400, temperature=1.0, seed=7, n=2)
    assert len(long.token_ids) > 512
    alone = answers(stack.generate(long))
    again = [
        replace(
            long, request_id=f"chunks-{number}", cache_salt=f"{number}", sampling=replace(long.sampling, n=1, seed=7)
        )
        for number in range(3)
    ]
    for steps in stack.generate_all(again):
        assert answers(steps)[0].token_ids == alone[0].token_ids
