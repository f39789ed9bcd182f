import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.chat.react import Start
from qwenvl.chat.react_parser import ArgumentsGrew, CallStarted, ReActParser, Said

NAMES = ("get_weather", "get", "image-gen")
Read = tuple[str, str | None, str, bool]
"""Content, name of the tool that is called, its arguments, whether they are whole."""


def read(pieces: Iterable[str], start: Start = Start.TURN, *, cut: bool = False) -> Read:
    parser = ReActParser(NAMES[:1] if start is Start.ARGUMENTS else NAMES, start)
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish(cut=cut)
    assert all(event.text for event in events if not isinstance(event, CallStarted))
    calls = [event.name for event in events if isinstance(event, CallStarted)]
    assert len(calls) <= 1
    assert parser.is_called == bool(calls)
    return (
        "".join(event.text for event in events if isinstance(event, Said)),
        calls[0] if calls else None,
        "".join(event.text for event in events if isinstance(event, ArgumentsGrew)),
        parser.is_complete,
    )


OSLO = '{"city": "Oslo"}'

CALLS = [
    (f"Thought: I look.\nAction: get_weather\nAction Input: {OSLO}", "I look.", OSLO),
    (f"Thought: 我查一下天气。\nAction: get_weather\nAction Input: {OSLO}\n", "我查一下天气。", OSLO),
    (f"Thought：我查。\nAction：get_weather\nAction Input：{OSLO}\nObservation：雨", "我查。", OSLO),
    (f"Thought: One.\n\nTwo.\nAction: get_weather\nAction Input: {OSLO}", "One.\n\nTwo.", OSLO),
    (f"Thought: One.\nThought: Two.\nAction: get_weather\nAction Input: {OSLO}", "One.\nTwo.", OSLO),
    (f"I look.\nAction: get_weather\nAction Input: {OSLO}", "I look.", OSLO),
    (f"Action: get_weather\nAction Input: {OSLO}", "", OSLO),
    (f"\n\n Action : get_weather \n\n  Action Input :\n{OSLO}", "", OSLO),
    (f"Action: `get_weather`.\nAction Input: {OSLO}", "", OSLO),
    (f"Action: [get_weather]()\nAction Input: {OSLO}", "", OSLO),
    (f"Action: get_weather\nAction Input: ```json\n{OSLO}\n```\nDone.", "", OSLO),
    (f"Action: get_weather\nAction Input:\n```\n{OSLO}```", "", OSLO),
    (f"Action: get_weather\nAction Input: {OSLO} and so on\nThought: more", "", OSLO),
    (f"Action: get_weather\nAction Input: {OSLO}\nObservation: 7\nFinal Answer: 7", "", OSLO),
    (f"Action: get_weather\nAction Input: {OSLO}\nAction: get\nAction Input: {{}}", "", OSLO),
    (
        r"Action: get_weather" "\n" r'Action Input: {"a": "}\"{[", "b": [{"c": 1}, []]} x',
        "",
        r'{"a": "}\"{[", "b": [{"c": 1}, []]}',
    ),
    ('Action: get_weather\nAction Input: {\n  "city": "Oslo"\n}\n', "", '{\n  "city": "Oslo"\n}'),
    ("Action: get_weather\nAction Input: Oslo \n", "", "Oslo"),
    ('Action: get_weather\nAction Input: "Oslo"\nObservation: 7', "", '"Oslo"'),
    ("Action: get_weather\nAction Input: ```py\nprint(1)\n```\n", "", "print(1)"),
    ("Action: get_weather\nAction Input: {'city': 'Oslo'}", "", "{'city': 'Oslo'}"),
    ('Action: get_weather\nAction Input: {"city": "Os', "", '{"city": "Os'),
    ("Action: get_weather\nAction Input:", "", "{}"),
    ("Action: get_weather\nAction Input: \nObservation: 7", "", "{}"),
    ("Action: get_weather", "", "{}"),
    ("Thought: Now.\nAction: get_weather\nObservation: 7", "Now.", "{}"),
]

CONTENTS = [
    ("", ""),
    (" \n ", ""),
    ("Hello.", "Hello."),
    (" Two lines.\n\nOf them. \n", "Two lines.\n\nOf them."),
    ("Thought: I now know the final answer.\nFinal Answer: It rains.", "It rains."),
    ("Thought: 我知道了。\nFinal Answer：下雨。\n真的。", "下雨。\n真的。"),
    ("Final Answer: It rains.", "It rains."),
    ("I know.\nFinal Answer: It rains.", "I know.\nIt rains."),
    (
        "Final Answer: Write\nThought: x\nAction: get\nAction Input: {}",
        "Write\nThought: x\nAction: get\nAction Input: {}",
    ),
    ("Final Answer: It rains.\nObservation: no", "It rains."),
    ("Thought: I cannot do it.", "I cannot do it."),
    ("Thought: x\nFinal Ans", "x\nFinal Ans"),
    ("Thought: x\nFinal Answer", "x\nFinal Answer"),
    ("Action", "Action"),
    ("The Action: get\nAction Input: {}", "The Action: get\nAction Input: {}"),
    ("Action: fly\nAction Input: {}", "Action: fly\nAction Input: {}"),
    ("Action: Get\nAction Input: {}", "Action: Get\nAction Input: {}"),
    ("Thought: Away.\nAction: fly\nAction Input: {}\nObservation: up", "Away.\nAction: fly\nAction Input: {}"),
    ("Action: get up\nand go", "Action: get up\nand go"),
    ("Action: get\nand go", "Action: get\nand go"),
    ("Action: " + "get " * 99, "Action: " + ("get " * 99).strip()),
    ("Observation: 7", ""),
    ("Seen.\n Observation : 7", "Seen."),
    ("My Observation: 7", "My Observation: 7"),
]


@pytest.mark.parametrize(("text", "content", "arguments"), CALLS)
def test_calls(text: str, content: str, arguments: str) -> None:
    assert read([text]) == (content, "get_weather", arguments, True)
    assert read(text) == (content, "get_weather", arguments, True)


@pytest.mark.parametrize(("text", "content"), CONTENTS)
def test_content(text: str, content: str) -> None:
    assert read([text]) == (content, None, "", False)
    assert read(text) == (content, None, "", False)


def test_a_call_of_an_unknown_tool_does_not_hide_the_next() -> None:
    text = "Thought: a\nAction: fly\nAction Input: {}\nThought: b\nAction: get\nAction Input: {}"
    assert read(text) == ("a\nAction: fly\nAction Input: {}\nb", "get", "{}", True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thought: I loo", ("I loo", None, "", False)),
        ("Thought: I look.\nAct", ("I look.", None, "", False)),
        ("Thought: I look.\nFinal Answ", ("I look.", None, "", False)),
        ("Thought: I look.\nAction: get", ("I look.\nAction: get", None, "", False)),
        ("Thought: I look.\nAction: get\n", ("I look.", "get", "", False)),
        ("Thought: I look.\nAction: get\nAction Inp", ("I look.", "get", "", False)),
        ("Action: get\nAction Input:", ("", "get", "", False)),
        ("Action: get\nAction Input: ```js", ("", "get", "", False)),
        ('Action: get\nAction Input: {"a": 1', ("", "get", '{"a": 1', False)),
        ('Action: get\nAction Input: {"a": 1} more', ("", "get", '{"a": 1}', True)),
        ("Final Answer: It ra", ("It ra", None, "", False)),
    ],
)
def test_answers_that_the_token_limit_cuts(text: str, expected: Read) -> None:
    assert read([text], cut=True) == read(text, cut=True) == expected


@pytest.mark.parametrize(
    ("start", "text", "expected"),
    [
        (Start.THOUGHT, " I know.\nFinal Answer: Rain.", ("Rain.", None, "", False)),
        (Start.THOUGHT, f" Again.\nAction: get\nAction Input: {OSLO}", ("Again.", "get", OSLO, True)),
        (Start.THOUGHT, " Only a thought.", ("Only a thought.", None, "", False)),
        (
            Start.ANSWER,
            " Rain.\nAction: get\nAction Input: {}",
            ("Rain.\nAction: get\nAction Input: {}", None, "", False),
        ),
        (Start.ARGUMENTS, f"{OSLO}", ("", "get_weather", OSLO, True)),
        (Start.ARGUMENTS, "", ("", "get_weather", "{}", True)),
        (Start.CHOICE, f'{{"Action": "get", "Action Input": {OSLO}}}', ("", "get", OSLO, True)),
        (Start.CHOICE, f'{{\n"Action":\n"image-gen",\n"Action Input":{OSLO}\n}}', ("", "image-gen", OSLO, True)),
        (Start.CHOICE, '{"Action": "ge', ('{"Action": "ge', None, "", False)),
        (
            Start.CHOICE,
            '{"Action": "fly", "Action Input": {}}',
            ('{"Action": "fly", "Action Input": {}}', None, "", False),
        ),
    ],
)
def test_answers_that_were_begun_for_the_model(start: Start, text: str, expected: Read) -> None:
    assert read([text], start) == read(text, start) == expected


def test_content_comes_as_soon_as_it_can_be_no_marker() -> None:
    parser = ReActParser(NAMES)
    assert parser.feed("Hello") == [Said("Hello")]
    assert parser.feed(" you.\nFin") == [Said(" you.")]
    assert parser.feed("e.") == [Said("\nFine.")]
    assert parser.feed("\nFinal Answer") == []
    assert parser.feed(": 7") == [Said("\n7")]
    assert parser.feed(" 8\nObs") == [Said(" 8")]
    assert parser.feed("ervation: 9") == []
    assert parser.feed("10") == parser.finish(cut=False) == []


def test_arguments_come_as_they_are_written() -> None:
    parser = ReActParser(NAMES)
    assert parser.feed("Thought: I look.\nAction: get\n") == []
    assert parser.feed("Action Input: ") == [Said("I look."), CallStarted("get")]
    assert parser.feed('{"a"') == [ArgumentsGrew('{"a"')]
    assert parser.feed(": 1}\n") == [ArgumentsGrew(": 1}")]
    assert parser.is_complete


PIECES = [
    "Thought", "Action", " Input", "Final Answer", "Observation", ":", "：", "\n", " ", "get", "get_weather", "fly",
    "{", "}", '"', "\\", "[", "]", "```", "`", "json", "x", "雨", '{"Action": "get", "Action Input": ',
    "\nAction: get\n", "\nAction Input: ", "\nFinal Answer: ", "\nThought: ",
]  # fmt: skip


@given(
    parts=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=24),
    cuts=st.lists(st.integers(0, 200), max_size=12),
    start=st.sampled_from(list(Start)),
    is_cut=st.booleans(),
)
def test_where_the_text_is_split_makes_no_difference(
    parts: list[str], cuts: list[int], start: Start, is_cut: bool
) -> None:
    text = "".join(parts)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = read([text], start, cut=is_cut)
    assert read([text[a:b] for a, b in itertools.pairwise(places)], start, cut=is_cut) == whole
    assert read(text, start, cut=is_cut) == whole


def test_long_answers_are_read_in_linear_time() -> None:
    parser = ReActParser(NAMES, Start.THOUGHT)
    for _ in range(20_000):
        parser.feed("word \n")
        assert len(parser._pending) < 100
