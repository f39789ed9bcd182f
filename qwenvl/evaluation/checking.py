"""What a data directory lacks before a run: files, pictures, annotations."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qwenvl.errors import UserError
from qwenvl.evaluation.pictures import find_picture
from qwenvl.evaluation.tasks.reading import count_annotations, read_samples
from qwenvl.evaluation.tasks.task import Flaw, Flawed, Sample, Task

MOST_NAMED = 5
"""Lines that are named for each kind of flaw; all are counted."""


@dataclass
class Checked:
    """What was found of one task.

    Attributes:
        samples: how many can be asked.
        flaws: how many lines cannot, by why.
        named: the first of them, in words.
    """

    samples: int = 0
    flaws: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return self.samples > 0 and not self.flaws

    def note(self, flaw: str, message: str) -> None:
        self.flaws[flaw] += 1
        if self.flaws[flaw] <= MOST_NAMED:
            self.named.append(f"{flaw}: {message}")


def check(task: Task, data: Path) -> Checked:
    """Read all of the task's files; pictures are looked for, and opened only when they are asked about."""
    found = Checked()
    try:
        for read in read_samples(task, data):
            _count(found, read, data)
        official = count_annotations(task, data)
    except UserError as error:
        found.note("file", str(error))
        return found
    if official is not None and official > found.samples:
        found.note("missing", f"the official files speak of {official} questions, {task.samples} of {found.samples}")
    if not found.samples and not found.flaws:
        found.note("file", f"{task.samples} is empty")
    return found


def _count(found: Checked, read: Sample | Flawed, data: Path) -> None:
    if isinstance(read, Flawed):
        found.note(read.flaw, f"{read.id}: {read.message}")
        return
    missing = [name for name in read.images if not name.startswith("data:") and not find_picture(name, data).is_file()]
    if missing:
        found.note(Flaw.IMAGE, f"{read.id}: no file {missing[0]}")
    else:
        found.samples += 1


def describe(task: Task) -> Iterator[str]:
    """Lines about a task: what it is, where its data comes from and which files go where."""
    yield f"{task.name}: {task.title}, {task.metric}"
    yield f"    from  {task.source}"
    needed = (task.samples, task.annotations)
    for name in task.files:
        use = "" if name in needed else "  (few-shot)" if name == task.train else "  (to check against; optional)"
        yield f"    DIR/{name}{use}"
    if task.published:
        yield f"    published: {', '.join(f'{model} {value:g}' for model, value in task.published.items())}"
    if task.note:
        yield f"    note: {task.note}"
