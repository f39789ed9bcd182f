"""Few-shot prompts: samples of the training split, their answers written out, before the question."""

from array import array
from dataclasses import dataclass
from pathlib import Path
from random import Random

from qwenvl.errors import UserError
from qwenvl.evaluation.tasks.fields import MalformedError, read_object
from qwenvl.evaluation.tasks.reading import question_sample
from qwenvl.evaluation.tasks.task import Sample, Task


@dataclass(frozen=True, slots=True)
class Prefix:
    """What comes before a prompt, and its pictures."""

    text: str = ""
    images: tuple[str, ...] = ()


class Shots:
    """Draws the same samples for the same question, whenever it is asked.

    Raises:
        UserError: the task has no training split, or it has too few lines.
    """

    def __init__(self, task: Task, data: Path, count: int, seed: int) -> None:
        self._task, self._count, self._seed = task, count, seed
        self._starts: array[int] = array("q")
        if not count:
            return
        if task.train is None:
            raise UserError(f"{task.name} has no training split to take samples from")
        self._path = data / task.train
        self._find_lines()
        if len(self._starts) < count:
            raise UserError(f"{task.train} has {len(self._starts)} lines, which is less than {count} shots")

    def before(self, sample: Sample) -> Prefix:
        """The samples for one question.

        Raises:
            UserError: a line of the training split is malformed; the message names it.
        """
        chosen = Random(f"{self._seed} {sample.id}").sample(range(len(self._starts)), self._count)
        shots = [self._shot(place) for place in chosen]
        text = "".join(f"{shot.prompt} {shot.target[0]}" for shot in shots)
        return Prefix(text, tuple(image for shot in shots for image in shot.images))

    def _shot(self, place: int) -> Sample:
        with self._path.open("rb") as file:
            file.seek(self._starts[place])
            line = file.readline().decode("utf-8", errors="replace")
        try:
            shot = question_sample(self._task, read_object(line), place)
            if not shot.target:
                raise MalformedError("answer is missing")
        except MalformedError as error:
            raise UserError(f"{self._task.train}, sample {place + 1}: {error}") from error
        return shot

    def _find_lines(self) -> None:
        """Where each line begins: eight bytes a line, whatever it holds."""
        try:
            with self._path.open("rb") as file:
                start = 0
                for line in file:
                    if line.strip():
                        self._starts.append(start)
                    start += len(line)
        except OSError as error:
            raise UserError(f"cannot read {self._path}: {error.strerror or error}") from error
