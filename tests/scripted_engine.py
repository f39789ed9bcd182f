"""The fake engine with answers that a test has written: for what no arithmetic would come to say."""

import random
from collections.abc import AsyncGenerator

from qwenvl.engine import GenerationRequest, ModelInfo, Step
from tests.fake_engine import FakeEngine
from tests.fake_model import _Sequence, _steps


class ScriptedEngine(FakeEngine):
    """Answers each request with the next of ``answers``, token by token, up to a stop string or the token limit.

    Of several answers to one request, each goes through ``answers`` from a place of its own. Where the request has a
    structure, the answer is the fake engine's own.
    """

    def __init__(self, *answers: str, info: ModelInfo | None = None) -> None:
        super().__init__(info)
        self._answers = answers
        self._given = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step]:
        if request.sampling.structure is not None:
            async for step in super().generate(request):
                yield step
            return
        self.requests.append(request)
        vocabulary = self.info.vocabulary
        sequences = []
        for index in range(request.sampling.n):
            text = self._answers[self._given % len(self._answers)]
            self._given += 1
            script = (*vocabulary.encode_ordinary(text), vocabulary.im_end)
            sequences.append(_Sequence(index, 1, request.sampling, self.info, random.Random(0), script))
        for step in _steps(request, self.info, sequences):
            yield step
