"""What was asked and answered, and what waits for the next question."""

from dataclasses import dataclass

from qwenvl.chat import Image, Message, Role, images_of
from qwenvl.errors import UserError
from qwenvl.terminal.pictures import Picture


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, its pictures, and the answer with its tags, as the model wrote it."""

    text: str
    pictures: tuple[Picture, ...]
    answer: str

    @property
    def question(self) -> Message[Picture]:
        """As it is asked: what was typed is text, whatever it looks like."""
        return Message.of(Role.USER, *map(Image, self.pictures), self.text)


class Conversation:
    """Of questions, only those that were answered are part of what the model is told later on.

    Attributes:
        system: what the model is told first; None leaves that to the model's own default.
        turns: what was answered, oldest first.
        pictures: those that go with the next question.
    """

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.turns: list[Turn] = []
        self.pictures: list[Picture] = []
        self._unanswered: str | None = None

    def messages(self, text: str) -> list[Message[Picture]]:
        """All that the model is told, up to a question that is asked now."""
        messages: list[Message[Picture]] = [Message.of(Role.SYSTEM, self.system)] if self.system else []
        for turn in self.turns:
            messages += [turn.question, Message.of(Role.ASSISTANT, turn.answer)]
        self._unanswered = text
        return [*messages, Turn(text, tuple(self.pictures), "").question]

    def answered(self, text: str, answer: str) -> None:
        """Take a question and its answer into the conversation, with the pictures that waited for it."""
        self.turns.append(Turn(text, tuple(self.pictures), answer))
        self.pictures = []
        self._unanswered = None

    def take_back(self) -> str:
        """The question to ask again: one that was not answered, else the last one, whose answer is forgotten.

        Raises:
            UserError: nothing was asked yet.
        """
        if self._unanswered is None:
            if not self.turns:
                raise UserError("nothing was asked yet")
            last = self.turns.pop()
            self.pictures = [*last.pictures, *self.pictures]
            self._unanswered = last.text
        return self._unanswered

    def reset(self) -> None:
        """Forget everything but the system text."""
        self.turns, self.pictures, self._unanswered = [], [], None

    @property
    def latest_picture(self) -> Picture | None:
        """The one that boxes of the last answer are about."""
        pictures = [picture for turn in self.turns for picture in images_of([turn.question])]
        return pictures[-1] if pictures else None
