"""How a task's sample becomes requests, and answers a record."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from qwenvl.errors import ImageError
from qwenvl.evaluation.client import Client, RefusedError
from qwenvl.evaluation.judging import Judge, UnjudgedError
from qwenvl.evaluation.metrics.options import chosen_letter, letters, likeliest
from qwenvl.evaluation.pictures import picture_url
from qwenvl.evaluation.results import Record
from qwenvl.evaluation.scoring import score
from qwenvl.evaluation.settings import PromptStyle, RunSettings
from qwenvl.evaluation.shots import Prefix, Shots
from qwenvl.evaluation.tasks.task import Flaw, Metric, Sample, Task

_LETTER_TOKENS = 10
_CHAT_TOP_P = 0.01
"""What MME was measured with; as good as greedy."""


class Asker:
    """Asks samples of one task.

    Args:
        task: whose samples they are.
        settings: of the run.
        client: to the model's server.
        judge: of answers, where the metric is one.
        shots: what comes before each question.
    """

    def __init__(self, task: Task, settings: RunSettings, client: Client, judge: Judge | None, shots: Shots) -> None:
        self._task, self._settings = task, settings
        self._client, self._judge, self._shots = client, judge, shots

    async def record(self, sample: Sample) -> Record:
        """The sample's line of results: an answer and its score, or why there is none.

        Raises:
            UnreachableError: the server is gone.
            FailedError: it did not answer.
        """
        try:
            prefix = await asyncio.to_thread(self._shots.before, sample) if self._settings.shots else Prefix()
            names = (*prefix.images, *sample.images)
            images = [await asyncio.to_thread(picture_url, name, self._settings.data) for name in names]
            prediction = await self._predict(sample, prefix.text, images)
            judged = await self._judged(sample, prediction)
        except ImageError as error:
            return flawed(sample, Flaw.IMAGE, str(error))
        except RefusedError as error:
            return flawed(sample, Flaw.REFUSED, str(error))
        except UnjudgedError as error:
            return flawed(sample, Flaw.UNJUDGED, str(error))
        return _record(sample, prediction, score(self._task, prediction, sample.target), judged)

    async def _predict(self, sample: Sample, prefix: str, images: Sequence[str]) -> Any:
        if self._task.metric is Metric.OPTIONS:
            asks = [self._choose(prefix + prompt, options, images) for prompt, options in sample.asks]
            return await asyncio.gather(*asks)
        prompt = prefix + sample.prompt
        task = self._task
        if task.chat:
            return await self._text(self._client.chat(prompt, images, top_p=_CHAT_TOP_P, **_limited(task.max_tokens)))
        if self._settings.prompt_style is PromptStyle.CHAT:
            return await self._text(self._client.chat(prompt, images, temperature=0, **_limited(task.max_tokens)))
        return await self._text(
            self._client.complete(prompt, images, max_tokens=task.max_tokens, min_tokens=task.min_tokens)
        )

    @staticmethod
    async def _text(answer: Awaitable[str]) -> str:
        """Without the white space around it, as the original takes answers: ANLS counts every sign."""
        return (await answer).strip()

    async def _choose(self, prompt: str, options: Sequence[str], images: Sequence[str]) -> str | None:
        """The letter of the likeliest option; in a chat, which gives no likelihoods of its prompt, the one written."""
        if self._settings.prompt_style is PromptStyle.CHAT:
            answer = await self._client.chat(prompt, images, temperature=0, **_limited(_LETTER_TOKENS))
            return chosen_letter(answer, len(options))
        return letters(len(options))[likeliest(await self._client.likelihoods(prompt, options, images))]

    async def _judged(self, sample: Sample, prediction: Any) -> float | None:
        if self._task.metric is not Metric.JUDGE:
            return None
        assert self._judge is not None
        return await self._judge.score(sample, prediction)


def flawed(sample: Sample, flaw: Flaw, message: str) -> Record:
    """The line of a sample that has no answer."""
    return {"index": sample.index, "id": sample.id, "flaw": str(flaw), "message": message}


def _record(sample: Sample, prediction: Any, scored: float | None, judged: float | None) -> Record:
    images = ["(in the table)" if image.startswith("data:") else image for image in sample.images]
    return {
        "index": sample.index,
        "id": sample.id,
        "images": images,
        "question": sample.question,
        "prediction": prediction,
        "target": sample.target,
        "score": scored if judged is None else judged,
        **({"extra": dict(sample.extra)} if sample.extra else {}),
    }


def _limited(max_tokens: int | None) -> dict[str, int]:
    return {} if max_tokens is None else {"max_tokens": max_tokens}
