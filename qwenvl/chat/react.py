"""Tools in the form that Qwen's first chat models were trained on: ReAct, written out as text.

The definitions and the form itself stand before the last question::

    Answer the following questions as best you can. You have access to the following APIs: ...
    Question: What is the weather in Oslo?

and the assistant's turn holds the whole chain, results of tools included::

    Thought: I should look it up.
    Action: get_weather
    Action Input: {"city": "Oslo"}
    Observation: 7 degrees                  (written by the application; the model stops before it)
    Thought: I now know the final answer.
    Final Answer: It is 7 degrees.

So a conversation that ends with a tool's result is an assistant turn to be continued, and so is one in which a call is
forced: its beginning is written for the model. :mod:`qwenvl.chat.react_parser` reads what the model writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from qwenvl.chat.messages import Message, Role, Text

OBSERVATION_STOPS = ("\nObservation:", "\nObservation：")
"""Where the model is stopped: what follows is for the tool to say."""

CHOSEN_NAME, CHOSEN_INPUT = "Action", "Action Input"
"""Keys of the object that stands for a forced call where the model may choose the tool."""

_INSTRUCTION = """Answer the following questions as best you can. You have access to the following APIs:

{descriptions}

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [{names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!"""

_DESCRIPTION = (
    "{name}: Call this tool to interact with the {name} API. What is the {name} API useful for? {description} "
    "Parameters: {parameters} Format the arguments as a JSON object."
)

_ANSWER = "Thought: I now know the final answer.\nFinal Answer:"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call.

    Attributes:
        parameters: JSON schema of its arguments, as JSON text.
    """

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, slots=True)
class Call:
    """A past call; ``arguments`` is the text that the model wrote, JSON or not."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Calling:
    """A past assistant message that calls tools; ``thought`` is what it said before, often nothing."""

    thought: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered to a call."""

    call_id: str
    text: str


Turn = Message[Any] | Calling | Result


class Start(Enum):
    """Where in the form the model begins to write."""

    TURN = auto()
    THOUGHT = auto()
    ANSWER = auto()
    ARGUMENTS = auto()
    CHOICE = auto()


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation with its tools written out.

    Attributes:
        messages: no calls and no results any more.
        start: where the model begins to write.
        continue_final: the last message is the assistant's, and the model continues it.
    """

    messages: tuple[Message[Any], ...]
    start: Start
    continue_final: bool


def uses_tools(turns: Sequence[Turn]) -> bool:
    """Whether the conversation has calls, so that the model may go on in their form even where it is offered none."""
    return any(isinstance(turn, Calling) for turn in turns)


def write_react(
    turns: Sequence[Turn], tools: Sequence[Tool], *, forced: bool = False, continue_final: bool = False
) -> Written:
    """Write tools, past calls and results into the messages.

    Args:
        turns: oldest first. Each :class:`Calling` is followed by one :class:`Result` for each of its calls. Where there
            are tools, there is a user message.
        tools: what the model may call; with none, it is led to an answer.
        forced: it must call one of them.
        continue_final: the last turn is an answer of the assistant, and the model continues it.
    """
    chain = _Writer(has_tools=bool(tools))
    for turn in turns:
        chain.add(turn)
    messages = chain.messages
    if tools:
        _instruct(messages, tools)
    if continue_final:
        return Written(tuple(messages), Start.ANSWER if chain.ends_in_form else Start.TURN, continue_final=True)
    beginning, start = _beginning(tools, forced=forced, after_result=chain.is_open)
    if not beginning:
        return Written(tuple(messages), start, continue_final=False)
    chain.extend(beginning)
    return Written(tuple(messages), start, continue_final=True)


def _beginning(tools: Sequence[Tool], *, forced: bool, after_result: bool) -> tuple[str, Start]:
    """The words that the assistant's turn begins or goes on with, and where the model takes over."""
    if forced and len(tools) == 1:
        return f"{_thought('', tools[0].name)}\nAction: {tools[0].name}\nAction Input:", Start.ARGUMENTS
    if forced:
        return "Thought: I should use one of the APIs.\n", Start.CHOICE
    if not after_result:
        return "", Start.TURN
    return ("Thought:", Start.THOUGHT) if tools else (_ANSWER, Start.ANSWER)


class _Writer:
    """Messages while they are written; a chain of calls and results is one turn of the assistant."""

    def __init__(self, *, has_tools: bool) -> None:
        self.messages: list[Message[Any]] = []
        self.is_open = False
        """The last message is a chain that has no final answer yet."""
        self.ends_in_form = False
        """The last message is an answer with ``Final Answer:`` before it."""
        self._has_tools = has_tools
        self._waiting: list[tuple[Call, str]] = []
        self._results: dict[str, str] = {}

    def add(self, turn: Turn) -> None:
        if isinstance(turn, Calling):
            thoughts = [turn.thought, *[""] * (len(turn.calls) - 1)]
            self._waiting = list(zip(turn.calls, thoughts, strict=True))
        elif isinstance(turn, Result):
            self._results[turn.call_id] = turn.text
            self._write_answered()
        elif turn.role is Role.ASSISTANT and (self.is_open or self._has_tools):
            answer = "".join(part.text for part in turn.parts if isinstance(part, Text))
            self.extend(f"{_ANSWER} {answer.strip()}")
            self.is_open, self.ends_in_form = False, True
        else:
            self.messages.append(turn)
            self.is_open = self.ends_in_form = False

    def extend(self, text: str) -> None:
        """Go on with the open chain, or begin a turn."""
        if self.is_open:
            before = self.messages.pop()
            text = "".join([*(part.text for part in before.parts if isinstance(part, Text)), "\n", text])
        self.messages.append(Message.of(Role.ASSISTANT, text))
        self.is_open = True

    def _write_answered(self) -> None:
        """Each call and its result, in the order of the calls, once all results are known."""
        if any(call.id not in self._results for call, _ in self._waiting):
            return
        for call, thought in self._waiting:
            action = f"Action: {call.name}\nAction Input: {call.arguments.strip()}"
            self.extend(f"{_thought(thought, call.name)}\n{action}\nObservation: {self._results[call.id].strip()}")
        self._waiting = []
        self._results = {}


def _thought(said: str, name: str) -> str:
    """What was said before a call; where nothing was, as with forced calls, what the form wants there."""
    said = said.strip().removeprefix("Thought:").strip()
    return f"Thought: {said or f'I should use the {name} API.'}"


def _instruct(messages: list[Message[Any]], tools: Sequence[Tool]) -> None:
    """Put the tools and the form before the last question, as the original does; pictures keep their places in it."""
    at = max(i for i, message in enumerate(messages) if message.role is Role.USER)
    descriptions = (
        _DESCRIPTION.format(name=tool.name, description=tool.description, parameters=tool.parameters) for tool in tools
    )
    instruction = _INSTRUCTION.format(
        descriptions="\n\n".join(descriptions), names=", ".join(tool.name for tool in tools)
    )
    messages[at] = Message(Role.USER, (Text(f"{instruction}\n\nQuestion: "), *messages[at].parts))
