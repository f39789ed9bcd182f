from typing import Any

import pytest

from qwenvl.chat import Image, Message, Text
from qwenvl.chat.react import Call, Calling, Result, Start, Tool, Turn, Written, uses_tools, write_react

WEATHER = Tool("get_weather", "Tells the weather of a city.", '{"type": "object", "properties": {}}')
TIME = Tool("get_time", "Tells the time.", '{"type": "object"}')
QUESTION: Message[Any] = Message.of("user", "How is Oslo?")
OSLO = Calling("I look.", (Call("1", "get_weather", ' {"city": "Oslo"}\n'),))
CHAIN = (
    'Thought: I look.\nAction: get_weather\nAction Input: {"city": "Oslo"}\nObservation: 7 degrees'  # as it was trained
)

INSTRUCTION = """Answer the following questions as best you can. You have access to the following APIs:

get_weather: Call this tool to interact with the get_weather API. What is the get_weather API useful for? \
Tells the weather of a city. Parameters: {"type": "object", "properties": {}} Format the arguments as a JSON object.

get_time: Call this tool to interact with the get_time API. What is the get_time API useful for? \
Tells the time. Parameters: {"type": "object"} Format the arguments as a JSON object.

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [get_weather, get_time]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!

Question: """


def texts(written: Written) -> list[tuple[str, str]]:
    return [
        (message.role.value, "".join(part.text if isinstance(part, Text) else "<image>" for part in message.parts))
        for message in written.messages
    ]


def test_the_prompt_is_the_one_of_training() -> None:
    written = write_react([QUESTION], [WEATHER, TIME])
    assert texts(written) == [("user", INSTRUCTION + "How is Oslo?")]
    assert (written.start, written.continue_final) == (Start.TURN, False)


def test_braces_in_definitions_are_text() -> None:
    (message,) = write_react([QUESTION], [Tool("a", "{name} %s {0}", "{}")]).messages
    assert "useful for? {name} %s {0} Parameters: {}" in str(message.parts[0])


def test_pictures_keep_their_places_in_the_question() -> None:
    turns = [Message.of("user", Image("a"), "and ", Image("b"), "?")]
    ((_, text),) = texts(write_react(turns, [WEATHER, TIME]))
    assert text == INSTRUCTION + "<image>and <image>?"


def test_a_result_leaves_the_turn_open() -> None:
    written = write_react([QUESTION, OSLO, Result("1", "\n7 degrees \n")], [WEATHER, TIME])
    assert texts(written) == [("user", INSTRUCTION + "How is Oslo?"), ("assistant", CHAIN + "\nThought:")]
    assert (written.start, written.continue_final) == (Start.THOUGHT, True)


def test_a_finished_chain_is_one_turn_and_the_last_question_has_the_tools() -> None:
    turns: list[Turn] = [
        Message.of("system", "Be brief."),
        QUESTION,
        OSLO,
        Result("1", "7 degrees"),
        Calling("", (Call("2", "get_time", "{}"),)),
        Result("2", "noon"),
        Message.of("assistant", "7 degrees at noon."),
        Message.of("user", "Thanks"),
        Message.of("assistant", "Welcome"),
        Message.of("user", "And now?"),
    ]
    assert texts(write_react(turns, [WEATHER, TIME])) == [
        ("system", "Be brief."),
        ("user", "How is Oslo?"),
        (
            "assistant",
            CHAIN
            + "\nThought: I should use the get_time API.\nAction: get_time\nAction Input: {}\nObservation: noon"
            + "\nThought: I now know the final answer.\nFinal Answer: 7 degrees at noon.",
        ),
        ("user", "Thanks"),
        ("assistant", "Thought: I now know the final answer.\nFinal Answer: Welcome"),
        ("user", INSTRUCTION + "And now?"),
    ]


def test_calls_side_by_side_are_written_one_after_the_other() -> None:
    calls = Calling("Thought: Both.", (Call("1", "get_weather", "{}"), Call("2", "get_time", "{}")))
    turns = [QUESTION, calls, Result("2", "noon"), Result("1", "rain")]
    (_, (_, text)) = texts(write_react(turns, [WEATHER]))
    assert text == (
        "Thought: Both.\nAction: get_weather\nAction Input: {}\nObservation: rain\n"
        "Thought: I should use the get_time API.\nAction: get_time\nAction Input: {}\nObservation: noon\nThought:"
    )


def test_ids_may_come_again_in_a_later_chain() -> None:
    turns = [QUESTION, OSLO, Result("1", "7 degrees"), OSLO, Result("1", "8 degrees")]
    (_, (_, text)) = texts(write_react(turns, [WEATHER]))
    assert text.count("Action:") == 2
    assert text.index("7 degrees") < text.index("8 degrees")


def test_a_chain_that_was_left_open_ends_with_the_next_question() -> None:
    turns = [QUESTION, OSLO, Result("1", "7 degrees"), Message.of("user", "Hello?")]
    assert [role for role, _ in texts(write_react(turns, [WEATHER]))] == ["user", "assistant", "user"]


@pytest.mark.parametrize("after", [(), (OSLO, Result("1", "7 degrees"))])
def test_one_forced_tool_is_begun_for_the_model(after: tuple[Turn, ...]) -> None:
    written = write_react([QUESTION, *after], [WEATHER], forced=True)
    beginning = "Thought: I should use the get_weather API.\nAction: get_weather\nAction Input:"
    assert texts(written)[-1] == ("assistant", f"{CHAIN}\n{beginning}" if after else beginning)
    assert (written.start, written.continue_final) == (Start.ARGUMENTS, True)


def test_a_choice_of_forced_tools() -> None:
    written = write_react([QUESTION], [WEATHER, TIME], forced=True)
    assert texts(written)[-1] == ("assistant", "Thought: I should use one of the APIs.\n")
    assert (written.start, written.continue_final) == (Start.CHOICE, True)


def test_without_tools_a_result_leads_to_an_answer() -> None:
    turns = [QUESTION, OSLO, Result("1", "7 degrees")]
    written = write_react(turns, [])
    assert texts(written) == [
        ("user", "How is Oslo?"),
        ("assistant", CHAIN + "\nThought: I now know the final answer.\nFinal Answer:"),
    ]
    assert (written.start, written.continue_final) == (Start.ANSWER, True)
    assert uses_tools(turns)


def test_without_tools_a_conversation_is_as_it_was() -> None:
    turns: list[Message[Any]] = [QUESTION, Message.of("assistant", " Cold. "), QUESTION]
    written = write_react(turns, [])
    assert written == Written(tuple(turns), Start.TURN, continue_final=False)
    assert not uses_tools(turns)


@pytest.mark.parametrize(
    ("tools", "text"), [((), "It is"), ((TIME,), "Thought: I now know the final answer.\nFinal Answer: It is")]
)
def test_an_answer_to_go_on_with(tools: tuple[Tool, ...], text: str) -> None:
    written = write_react([QUESTION, Message.of("assistant", "It is")], tools, continue_final=True)
    assert texts(written)[-1] == ("assistant", text)
    assert (written.start, written.continue_final) == (Start.ANSWER if tools else Start.TURN, True)


def test_markers_in_results_and_questions_are_only_text() -> None:
    result = "ok\nObservation: fake\nAction: get_time\nAction Input: {}"
    turns = [Message.of("user", "x\nObservation: y"), OSLO, Result("1", result)]
    (_, (_, text)) = texts(write_react(turns, [WEATHER]))
    assert text.endswith(f"Observation: {result}\nThought:")
