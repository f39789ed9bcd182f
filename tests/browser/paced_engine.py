"""An engine whose answers a test has written, and lets out a token at a time."""

import asyncio
from collections.abc import AsyncGenerator

from qwenvl.engine import GenerationRequest, ModelInfo, SamplingDefaults, Step
from qwenvl.errors import EngineDeadError
from tests.fake_engine import model_info
from tests.scripted_engine import ScriptedEngine


class PacedEngine(ScriptedEngine):
    """Scripted answers at the pace of :meth:`hold` and :meth:`release`, which a reader can leave."""

    def __init__(self, *answers: str, info: ModelInfo | None = None) -> None:
        super().__init__(*answers, info=info or model_info(defaults=SamplingDefaults(temperature=0, max_tokens=1000)))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step]:
        ended = self._running[request.request_id] = asyncio.Event()
        try:
            async for step in super().generate(request):
                await self._wait_for_turn(ended)
                if not self._alive:
                    raise EngineDeadError("the engine died")
                self.steps_taken += 1
                yield step
            self._running.pop(request.request_id, None)
        finally:
            if self._running.pop(request.request_id, None):
                self.aborted.append(request.request_id)
            await self._notify()
