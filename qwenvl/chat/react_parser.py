"""What the model writes in the ReAct form, piece by piece, to content and calls.

The result does not depend on how the text is cut into pieces. Shown content never holds a marker of the form, whole or
half, unless the model uses it for something that is no call: an unknown tool, a line without an input. Thoughts are
held back until it is known what follows: before a call they are content, before a final answer they are dropped.
"""

import string
from collections.abc import Callable, Collection
from dataclasses import dataclass

import regex

from qwenvl.chat.react import CHOSEN_INPUT, CHOSEN_NAME, Start

_LONGEST_NAME_LINE = 256
_NAME_DECORATION = " \t`'\"[]().。"

_OBSERVATION = regex.compile(r"\n[ \t]*Observation[ \t]*[:：]")
_MARKER = regex.compile(r"\n[ \t]*(?P<name>Thought|Action|Final Answer)[ \t]*[:：]")
_ACTION = regex.compile(r"(?P<name>[^\n]*)\n\s*Action Input[ \t]*[:：]")
_FENCE = regex.compile(r"```[ \t]*\w*\s*")
_CHOICE = regex.compile(
    rf'\s*\{{\s*"{CHOSEN_NAME}"\s*:\s*"(?P<name>[a-zA-Z0-9_-]+)"\s*,\s*"{CHOSEN_INPUT}"\s*:\s*(?=\{{)'
)


@dataclass(frozen=True, slots=True)
class Said:
    """More content."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call of a tool that was offered; its arguments follow."""

    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsGrew:
    """More of the call's arguments, as the model writes them."""

    text: str


Event = Said | CallStarted | ArgumentsGrew


class ReActParser:
    """One answer's text, read as it comes. There is at most one call: the form waits for each call's result.

    Args:
        names: of the tools that were offered; anything else the model calls is content.
        start: where in the form it begins to write.
    """

    def __init__(self, names: Collection[str], start: Start = Start.TURN) -> None:
        self._names = names
        self._events: list[Event] = []
        # A marker stands at the beginning of a line, and the text begins with one.
        self._unread = "\n"
        self._pending = ""
        self._ended = self._cut = False
        self._content = _Trimmed(lambda text: self._events.append(Said(text)))
        self._thought: _Thought | None = _Thought() if start is Start.THOUGHT else None
        self._marker = ""
        self._around_raw = string.whitespace
        self._json = _ObjectScanner()
        self._call: str | None = None
        self._complete = False
        self._read: Callable[[], bool] = {
            Start.TURN: self._read_prose,
            Start.THOUGHT: self._read_prose,
            Start.ANSWER: self._read_answer,
            Start.ARGUMENTS: self._read_arguments,
            Start.CHOICE: self._read_choice,
        }[start]
        if start is Start.ARGUMENTS:
            (name,) = names
            self._start_call(name)

    @property
    def is_called(self) -> bool:
        """A call has started."""
        return self._call is not None

    @property
    def is_complete(self) -> bool:
        """The call's arguments are a whole object, or the answer has ended by itself."""
        return self._complete

    def feed(self, text: str) -> list[Event]:
        """What more of the text says."""
        if not self._ended:
            self._take(text)
        return self._run()

    def finish(self, *, cut: bool) -> list[Event]:
        """What the rest says, now that no more comes.

        Args:
            cut: the answer was ended by the token limit or a stop string of the request's, not by the model.
        """
        if not self._ended:
            self._pending += self._unread
            self._end(cut=cut)
        return self._run()

    def _take(self, text: str) -> None:
        """Let through what comes before the first observation: the model must not play the tool's part."""
        self._unread += text
        found = _OBSERVATION.search(self._unread, partial=True)
        ready = len(self._unread) if found is None else found.start()
        self._pending += self._unread[:ready]
        self._unread = self._unread[ready:]
        if found is not None and not found.partial:
            self._end(cut=False)

    def _end(self, *, cut: bool) -> None:
        self._ended, self._cut = True, cut

    def _run(self) -> list[Event]:
        while self._read():
            pass
        if self._ended:
            self._read = self._ignore
        events = self._events.copy()
        self._events.clear()
        return events

    # Each reader takes what it can from the pending text, and says whether another one is to go on with the rest.

    def _read_prose(self) -> bool:
        # A thought that is cut short in a marker is still only a thought.
        may_go_on = not self._ended or (self._cut and self._thought is not None)
        found = _MARKER.search(self._pending, partial=may_go_on)
        if found is None or found.partial:
            self._say(self._take_pending(len(self._pending) if found is None else found.start()))
            if self._ended:
                self._release_thought()
            return False
        self._say(self._take_pending(found.start()))
        self._marker = self._take_pending(found.end() - found.start())
        if found["name"] == "Action":
            self._read = self._read_action
        elif found["name"] == "Thought":
            self._thought = self._thought or _Thought()
            self._thought.break_line()
        else:
            self._thought = None
            self._content.break_line()
            self._read = self._read_answer
        return True

    def _read_answer(self) -> bool:
        self._content.add(self._take_pending(len(self._pending)))
        return False

    def _read_action(self) -> bool:
        found = _ACTION.match(self._pending, partial=True)
        line, newline, _ = self._pending.partition("\n")
        is_known = line.strip(_NAME_DECORATION) in self._names
        if found is not None and found.partial and not self._ended:
            may_be_known = is_known if newline else len(line) <= _LONGEST_NAME_LINE
            if may_be_known:
                return False
        # A function without parameters needs no input; a name that was cut short may be another one's beginning.
        elif found is not None and is_known and (newline or not self._cut):
            self._take_pending(found.end())
            return self._go_on_to_arguments(line.strip(_NAME_DECORATION))
        self._release_thought()
        self._content.add(self._marker)
        self._read = self._read_prose
        return True

    def _read_choice(self) -> bool:
        found = _CHOICE.match(self._pending, partial=not self._ended)
        if found is not None and found.partial:
            return False
        if found is None or found["name"] not in self._names:
            self._read = self._read_prose
            return True
        self._take_pending(found.end())
        return self._go_on_to_arguments(found["name"])

    def _go_on_to_arguments(self, name: str) -> bool:
        self._release_thought()
        self._start_call(name)
        self._read = self._read_arguments
        return True

    def _start_call(self, name: str) -> None:
        self._call = name
        self._events.append(CallStarted(name))

    def _read_arguments(self) -> bool:
        """Find out whether they are an object, with or without a fence around it, or anything else."""
        self._pending = self._pending.lstrip()
        fence = _FENCE.match(self._pending, partial=not self._ended)
        if fence is not None and not self._ended and fence.end() == len(self._pending):
            return False
        if fence is not None:
            self._take_pending(fence.end())
            self._around_raw += "`"
        if self._pending:
            self._read = self._read_object if self._pending.startswith("{") else self._read_raw
            return True
        if self._ended and not self._cut:
            self._grow("{}")
            self._complete = True
        return False

    def _read_object(self) -> bool:
        end = self._json.end_of_object(self._pending)
        self._grow(self._take_pending(len(self._pending) if end is None else end))
        self._complete = end is not None or (self._ended and not self._cut)
        if end is None:
            return False
        self._read = self._ignore
        return True

    def _read_raw(self) -> bool:
        self._grow(self._take_pending(len(self._pending.rstrip(self._around_raw))))
        self._complete = self._ended and not self._cut
        return False

    def _ignore(self) -> bool:
        self._pending = ""
        return False

    def _take_pending(self, length: int) -> str:
        taken, self._pending = self._pending[:length], self._pending[length:]
        return taken

    def _say(self, text: str) -> None:
        (self._thought or self._content).add(text)

    def _release_thought(self) -> None:
        if self._thought is not None:
            self._content.break_line()
            self._content.add("".join(self._thought.parts))
            self._thought = None

    def _grow(self, text: str) -> None:
        if text:
            self._events.append(ArgumentsGrew(text))


class _Trimmed:
    """Text in pieces, told without the white space at its ends."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._space = ""
        self._has_begun = False
        self._at_start = True

    def break_line(self) -> None:
        """What comes next stands on a line of its own."""
        self._space, self._at_start = "", True

    def add(self, text: str) -> None:
        if self._at_start:
            text = text.lstrip()
            if not text:
                return
            self._at_start = False
            self._space = "\n" if self._has_begun else ""
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if shown:
            self._has_begun = True
            self._tell(shown)


class _Thought(_Trimmed):
    """A thought that waits for what follows it."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        super().__init__(self.parts.append)


class _ObjectScanner:
    """Finds where a JSON object ends that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    def end_of_object(self, text: str) -> int | None:
        """Index just behind the object's last brace, where it is in this piece."""
        for i, character in enumerate(text):
            if self._is_escaped:
                self._is_escaped = False
            elif self._in_string:
                self._is_escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return i + 1
        return None
