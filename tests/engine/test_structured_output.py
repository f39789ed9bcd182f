"""Random weights at temperature 1, held to a structure: whatever comes out keeps to it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qwenvl.engine import GenerationRequest, Structure
from qwenvl.errors import UserError
from tests.engine.asking import VOCABULARY, Answer, answers, request, sampling
from tests.parity.golden import case_named, cases
from tests.stack import Stack

pytestmark = pytest.mark.slow

COLOURS = ("红色", "😀", "blue", 'a "quoted" \\ one')
SCHEMA = {
    "type": "object",
    "properties": {
        "颜色": {"enum": COLOURS},
        "name": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "seen": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "inner": {"$ref": "#/$defs/inner"},
    },
    "required": ["颜色", "name", "count", "seen", "inner"],
    "additionalProperties": False,
    "$defs": {"inner": {"anyOf": [{"type": "null"}, {"const": 1.5}]}},
}
BY_SCHEMA = Structure("json_schema", json.dumps(SCHEMA, ensure_ascii=False), "response_format")
BOX = r"<ref>[a-z]{2}</ref><box>\([0-9]{1,3},[0-9]{1,3}\)</box>"
HAN = r"[一-丟😀]{3,5}"
CHOICES = ("是的", "不", "<|im_end|>", 'q"\\\n', "😀")
NESTED = 'root ::= "(" root ")" | "x"'
LARK = "start: WORD NUMBER\nWORD: /[a-z]{2}/\nNUMBER: /[0-9]{2}/"

RANDOM = {"temperature": 1.0, "max_tokens": 400}


def keeps_to_schema(text: str) -> bool:
    found = json.loads(text)
    assert list(found) == SCHEMA["required"]
    assert found["颜色"] in COLOURS
    assert len(found["name"]) <= 12
    assert found["count"] in range(100)
    assert len(found["seen"]) <= 3
    assert {type(seen) for seen in found["seen"]} <= {bool}
    assert found["inner"] in (None, 1.5)
    return True


def is_nested(text: str) -> bool:
    depth = text.count("(")
    return text == "(" * depth + "x" + ")" * depth


HELD = {
    "schema": (BY_SCHEMA, keeps_to_schema),
    "object": (Structure("json_object"), lambda text: isinstance(json.loads(text), dict)),
    "box": (Structure("regex", BOX), lambda text: re.fullmatch(BOX, text)),
    "han": (Structure("regex", HAN), lambda text: re.fullmatch(HAN, text)),
    "choice": (Structure("choice", CHOICES), lambda text: text in CHOICES),
    "grammar": (Structure("grammar", NESTED), is_nested),
    "lark": (Structure("grammar", LARK), lambda text: re.fullmatch("[a-z]{2}[0-9]{2}", text)),
}


@pytest.fixture(autouse=True)
def _nothing_is_left(stack: Stack) -> Iterator[None]:
    yield
    assert stack.engine.in_flight == 0
    assert stack.live.call(stack.engine.running()) == 0


def assert_held(name: str, answer: Answer) -> None:
    reason, _ = answer.ending
    keeps = HELD[name][1]
    assert reason == "length" or keeps(answer.text), answer.text
    shown = [i for i in answer.token_ids if i not in VOCABULARY.stop_ids]
    assert not VOCABULARY.control_ids & set(shown)
    assert all(i < VOCABULARY.size for i in answer.token_ids)


def test_many_seeds_of_every_kind_in_one_batch(stack: Stack) -> None:
    free = [request(seed=seed, ignore_eos=True, **RANDOM | {"max_tokens": 24}) for seed in range(4)]
    alone = [answers(stack.generate(one))[0].token_ids for one in free]
    names = [name for name in HELD for _ in range(8)]
    held = [request(structure=HELD[name][0], seed=seed, **RANDOM) for seed, name in enumerate(names)]
    again = [replace(one, request_id=f"again-{one.request_id}") for one in free]
    found = [answers(steps)[0] for steps in stack.generate_all([*again, *held])]
    assert [answer.token_ids for answer in found[: len(free)]] == alone
    finished = set()
    for name, answer in zip(names, found[len(free) :], strict=True):
        assert_held(name, answer)
        if answer.ending[0] == "stop":
            finished.add(name)
    # JSON has room for endless white space and strings, which random weights may fill.
    assert finished >= HELD.keys() - {"object"}


def test_with_several_answers_log_probabilities_and_a_seed(stack: Stack) -> None:
    options = {"structure": HELD["box"][0], "n": 3, "seed": 7, "logprobs": 2, **RANDOM}
    first, second = (answers(stack.generate(request(**options))) for _ in range(2))
    assert [answer.text for answer in first] == [answer.text for answer in second]
    for answer in first:
        assert_held("box", answer)
        assert [entry.chosen.token_id for entry in answer.logprobs] == answer.token_ids
        assert all(len(entry.top) == 2 for entry in answer.logprobs)


def test_greedy_answers_are_copies(stack: Stack) -> None:
    first, second = answers(stack.generate(request(structure=HELD["box"][0], n=2, **RANDOM | {"temperature": 0.0})))
    assert_held("box", first)
    assert first.text == second.text


def test_a_stop_string_ends_it_early(stack: Stack) -> None:
    answer = answers(stack.generate(request(structure=HELD["box"][0], stop=("</ref>",), **RANDOM)))[0]
    assert answer.ending == ("stop", "</ref>")
    assert re.fullmatch("<ref>[a-z]{2}", answer.text)


def test_it_is_cut_at_the_limit(stack: Stack) -> None:
    answer = answers(stack.generate(request(structure=Structure("regex", "[0-9]{50}"), max_tokens=5)))[0]
    assert answer.ending == ("length", None)
    assert re.fullmatch("[0-9]{1,50}", answer.text)


def test_it_ends_where_it_is_complete(stack: Stack) -> None:
    answer = answers(stack.generate(request(structure=Structure("choice", ("ab",)), ignore_eos=True)))[0]
    assert (answer.text, answer.ending[0]) == ("ab", "stop")


def test_a_grounding_tag_is_the_text_it_shows(stack: Stack) -> None:
    tag = VOCABULARY.special_ids["<ref>"]
    answer = answers(stack.generate(request(structure=HELD["box"][0], logit_bias={tag: 100.0}, **RANDOM)))[0]
    assert answer.token_ids[0] == tag
    assert_held("box", answer)


def test_with_an_image(stack: Stack) -> None:
    case = next(case for case in cases() if case.image_names)
    options = sampling(structure=BY_SCHEMA, **RANDOM)
    images = tuple(case.images)
    structured = GenerationRequest("image-structured", case.token_ids, images, options)
    free = GenerationRequest("image-free", case.token_ids, images, sampling(max_tokens=8, ignore_eos=True))
    first, second = (answers(steps)[0] for steps in stack.generate_all([structured, free]))
    assert_held("schema", first)
    assert tuple(second.token_ids) == case_named(case.name).answer_ids[:8]


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        (Structure("json_schema", "{nope", "response_format"), "not JSON"),
        (Structure("json_schema", '{"type": "nope"}', "response_format"), "nope"),
        (Structure("json_schema", '{"type": "integer", "multipleOf": 3}'), "multipleOf"),
        (Structure("json_schema", '{"items":' * 70 + "{}" + "}" * 70), "64 levels"),
        (Structure("json_schema", '{"$ref": "#/$defs/missing"}'), "missing"),
        (Structure("regex", "(a"), "parenthesis"),
        (Structure("regex", "a" * 70_000), "65536"),
        (Structure("choice", ()), "at least one"),
        (Structure("choice", ("a", "")), "no empty one"),
        (Structure("grammar", "root ::= "), "grammar"),
        (Structure("grammar", " "), "empty"),
    ],
)
def test_refusals_name_the_field_and_the_reason(stack: Stack, structure: Structure, says: str) -> None:
    for _ in range(2):
        with pytest.raises(UserError) as refused:
            stack.generate(request(structure=structure))
        assert (refused.value.param, refused.value.status) == (structure.param, 400)
        assert says in refused.value.message
    assert answers(stack.generate(request(max_tokens=1)))[0].ending == ("length", None)


@pytest.mark.parametrize("narrow", [{"allowed_token_ids": (100, 101)}, {"stop_token_ids": (97,)}])
def test_options_that_leave_no_token_are_named(stack: Stack, narrow: dict[str, Any]) -> None:
    structure = Structure("choice", ("ab",), "response_format")
    with pytest.raises(UserError, match=next(iter(narrow))) as refused:
        stack.generate(request(structure=structure, **narrow))
    assert refused.value.param == "response_format"
