"""A benchmark's description, a sample of it, and what can be wrong with a line of its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Layout(StrEnum):
    """How a task's files are written."""

    CAPTIONS = "captions"
    QUESTIONS = "questions"
    CHOICES = "choices"
    PROMPTS = "prompts"
    BOXES = "boxes"
    MME = "mme"
    TOUCHSTONE = "touchstone"


class Metric(StrEnum):
    """How an answer becomes a score. The values are what reports call them."""

    CIDER = "CIDEr"
    VQA = "VQA score"
    EXACT = "exact match"
    GQA = "exact match, cleaned up"
    ANLS = "ANLS"
    RELAXED = "relaxed accuracy"
    IOU = "IoU >= 0.5"
    OPTIONS = "accuracy by log-likelihood"
    MME = "accuracy + accuracy+"
    JUDGE = "judge's score"


class Submission(StrEnum):
    """Official formats of answers to splits whose annotations are not public."""

    VQA = "question_id and answer, JSON"
    VIZWIZ = "image and answer, JSON"
    DOCVQA = "questionId and answer, JSON"
    GQA = "questionId and prediction, JSON"
    MMBENCH = "index and prediction, XLSX"
    SEED = "question_id and prediction, JSON lines"
    MME = "a text file a subtask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One split of one benchmark.

    Attributes:
        name: as the command takes it.
        title: as reports show it.
        samples: the input file in the data directory, or a folder of them.
        source: where it comes from, for people.
        prompt: what the model reads; ``<img></img>`` stands for a picture, names in braces for fields.
        max_tokens: longest answer; None leaves it to the server, and 0 asks for log-likelihoods alone.
        min_tokens: before so many the answer does not end.
        annotations: the official file with the right answers, where the input file has none.
        questions: the official file of questions; what it holds should be in the input file.
        train: input file of the training split, for few-shot prompts.
        published: what was published for the real weights, by model.
        note: what must be known to compare with it.
        chat: asked through chat completions, whatever the prompt style.
        circular: a question is right only if every rotation of its choices is.
        whole_choices: choices are scored by their texts, not by their letters.
    """

    name: str
    title: str
    samples: str
    source: str
    layout: Layout
    metric: Metric
    prompt: str
    max_tokens: int | None
    min_tokens: int = 0
    annotations: str | None = None
    questions: str | None = None
    train: str | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    submission: Submission | None = None
    note: str = ""
    chat: bool = False
    circular: bool = False
    whole_choices: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Every file it reads, as paths in the data directory."""
        return tuple(name for name in (self.samples, self.annotations, self.questions, self.train) if name)


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to ask.

    Attributes:
        id: unlike every other of its file.
        index: its place in the file, from 0, flawed lines counted.
        images: paths as the file has them, or ``data:`` URLs.
        prompt: with ``<img></img>`` for each of ``images``.
        question: what a report shows.
        target: what the metric compares with; None where the annotations are not public.
        asks: the prompts and options to score, where the metric is by log-likelihood: one pair a rotation.
        extra: what a score by groups, a submission or a judge needs to know.
    """

    id: str
    index: int
    images: tuple[str, ...]
    prompt: str
    question: str
    target: Any = None
    asks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class Flaw(StrEnum):
    """Why a sample has no score."""

    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    UNANNOTATED = "not annotated"
    IMAGE = "image"
    REFUSED = "refused"
    FAILED = "failed"
    UNJUDGED = "unjudged"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Flawed:
    """A line that cannot be asked, and why."""

    id: str
    index: int
    flaw: Flaw
    message: str
