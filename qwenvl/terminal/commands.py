"""What begins with a slash."""

import difflib
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from qwenvl.errors import UserError
from qwenvl.terminal.chat import Chat
from qwenvl.terminal.pictures import is_file


class LeaveError(Exception):
    """The chat is over."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it takes, what it does."""

    takes: str
    does: str
    run: Callable[[Chat, str], Awaitable[None]]


def is_command(line: str) -> bool:
    """Whether a line is a command; a blank before the slash makes it a question."""
    return line.startswith("/")


async def run_command(chat: Chat, line: str) -> None:
    """Do what a line says.

    Raises:
        LeaveError: it says that the chat is over.
        UserError: there is no such command, or it does not take this.
        QwenVLError: it failed.
    """
    name, _, rest = line[1:].strip().partition(" ")
    if (command := COMMANDS.get(name.lower())) is None:
        raise UserError(_unknown(line, name))
    await command.run(chat, rest.strip())


def split_locations(text: str) -> list[str]:
    """Paths and URLs, quoted as in a shell; one path with blanks in it needs no quotes where such a file is there.

    Raises:
        UserError: a quote is not closed.
    """
    if is_file(text):
        return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"a quote or a backslash is left open in {text}") from error


async def _image(chat: Chat, rest: str) -> None:
    locations = split_locations(rest)
    if not locations:
        waiting = [picture.location for picture in chat.conversation.pictures]
        chat.screen.note(f"with the next question: {', '.join(waiting) or 'no picture'}; /image PATH adds one")
    for location in locations:
        chat.screen.note(await chat.add_picture(location))


async def _drop(chat: Chat, rest: str) -> None:
    chat.conversation.pictures = []
    chat.screen.note("the next question has no new pictures")


async def _save(chat: Chat, rest: str) -> None:
    names = split_locations(rest)
    if len(names) > 1:
        raise UserError("/save takes one file: put quotes around a name with blanks")
    await chat.save(names[0] if names else "")


async def _reset(chat: Chat, rest: str) -> None:
    chat.conversation.reset()
    chat.screen.note("a new conversation")


async def _retry(chat: Chat, rest: str) -> None:
    await chat.retry()


async def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.conversation.system = rest
    chat.screen.note(f"system: {chat.conversation.system or 'the default of the model'}")


async def _help(chat: Chat, rest: str) -> None:
    usages = {f"/{name} {command.takes}".strip(): command.does for name, command in COMMANDS.items()}
    width = max(map(len, usages))
    for usage, does in usages.items():
        chat.screen.note(f"{usage:{width}}  {does}")
    chat.screen.note("Ctrl-C stops an answer, Ctrl-D leaves. Alt-Enter begins a new line of the same question.")


async def _quit(chat: Chat, rest: str) -> None:
    raise LeaveError


COMMANDS: Mapping[str, Command] = {
    "image": Command("PATH-or-URL ..", "show pictures with the next question", _image),
    "drop": Command("", "leave out the pictures that wait for the next question", _drop),
    "save": Command("[FILE.png]", "draw the last answer's boxes on their picture, and write it", _save),
    "retry": Command("", "ask the last question again", _retry),
    "reset": Command("", "begin a new conversation", _reset),
    "system": Command("[TEXT]", "tell the model what it is, from the next question on", _system),
    "help": Command("", "show this", _help),
    "quit": Command("", "leave", _quit),
}


def _unknown(line: str, name: str) -> str:
    if any(map(is_file, (line, line.split(" ")[0]))):
        return f"to show a picture: /image {line}"
    nearest = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
    meant = f"did you mean /{nearest[0]}?" if nearest else "/help lists them."
    return f"there is no command /{name}; {meant} A question may begin with a slash after a blank."
