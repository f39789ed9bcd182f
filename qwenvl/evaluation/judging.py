"""A language model as judge of two answers, one of them a reference; asked twice, with their order swapped."""

import re

from qwenvl.errors import QwenVLError
from qwenvl.evaluation.client import AskError, Client
from qwenvl.evaluation.tasks.task import Sample

LOWEST, HIGHEST = 1.0, 10.0
ATTEMPTS = 3
"""How often a judge is asked for two numbers before its nonsense is taken for its last word."""

_PROMPT = """Two assistants were asked about a picture. You cannot see it; a person has described it in detail.

[Description of the picture]
{annotation}

[Question]
{question}

[Answer of assistant 1]
{first}

[Answer of assistant 2]
{second}

Judge how helpful, relevant, correct and detailed each answer is, by the description. Neither the order of the answers
nor their length may count. Begin with one line that holds two numbers from 1 to 10 and nothing else: the score of
assistant 1, a blank, and the score of assistant 2. Explain yourself in the lines after it."""

_SCORES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[ ,/;]\s*(\d+(?:\.\d+)?)\s*(?:\n|$)")


class UnjudgedError(QwenVLError):
    """The judge has no verdict."""


def read_verdict(text: str) -> tuple[float, float] | None:
    """Two scores from 1 to 10 in the first line; None where they are not there."""
    found = _SCORES.match(text)
    if found is None:
        return None
    first, second = (float(number) for number in found.groups())
    return (first, second) if all(LOWEST <= one <= HIGHEST for one in (first, second)) else None


class Judge:
    """Any server with OpenAI's chat completions."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def score(self, sample: Sample, answer: str) -> float:
        """The answer's score, 1 to 10, averaged over both orders.

        Raises:
            UnjudgedError: the judge cannot be asked, or says nothing that is a verdict.
        """
        reference = str(sample.extra["reference"])
        after = (await self._verdict(sample, reference, answer))[1]
        before = (await self._verdict(sample, answer, reference))[0]
        return (after + before) / 2

    async def _verdict(self, sample: Sample, first: str, second: str) -> tuple[float, float]:
        prompt = _PROMPT.format(
            annotation=sample.extra["annotation"], question=sample.question, first=first, second=second
        )
        said = ""
        for attempt in range(ATTEMPTS):
            try:
                # Equal questions have equal answers at temperature 0, nonsense too.
                said = await self._client.chat(prompt, (), temperature=0.0 if attempt == 0 else 0.7)
            except AskError as error:
                raise UnjudgedError(f"the judge: {error}") from error
            if (verdict := read_verdict(said)) is not None:
                return verdict
        raise UnjudgedError(f"the judge said no two numbers, but {said[:200]!r}")
