"""A conversation as data: roles, text, images. No tokens yet, no HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

DEFAULT_SYSTEM = "You are a helpful assistant."

ImageT = TypeVar("ImageT")


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a message. Grounding tags in it mean boxes; every other special token is ordinary text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image(Generic[ImageT]):
    """A picture in a message: a URL, a decoded image, whatever the caller carries. Rendering never looks inside."""

    image: ImageT


Part = Text | Image[ImageT]


@dataclass(frozen=True, slots=True)
class Message(Generic[ImageT]):
    """One message; its parts follow each other with nothing in between."""

    role: Role
    parts: tuple[Part[ImageT], ...]

    @classmethod
    def of(cls, role: Role | str, *parts: "str | Part[ImageT]") -> "Message[ImageT]":
        """``Message.of("user", Image(picture), "What is this?")``"""
        return cls(Role(role), tuple(Text(part) if isinstance(part, str) else part for part in parts))


def images_of(messages: Sequence[Message[ImageT]]) -> Iterator[ImageT]:
    """Images in the order of their placeholders in the rendered prompt."""
    for message in messages:
        for part in message.parts:
            if isinstance(part, Image):
                yield part.image
