"""Serve an engine that fails in the worst ways: ``python -m tests.api.telemetry.serve_logged FORMAT LEVEL``.

What it raises quotes the prompt, as libraries do.
"""

import sys
from collections.abc import AsyncGenerator

from pydantic import TypeAdapter

from qwenvl.api import Settings
from qwenvl.api.server import run
from qwenvl.api.telemetry.logs import configure_logging
from qwenvl.engine import GenerationRequest, Step
from qwenvl.errors import EngineError
from tests.fake_engine import FakeEngine

KEY = "key-of-a-caller"


class FailingEngine(FakeEngine):
    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step]:
        prompt = self.info.vocabulary.decode(request.token_ids)
        if "raise ValueError" in prompt:
            raise ValueError(f"cannot read {prompt!r}")
        if "raise ValidationError" in prompt:
            TypeAdapter(int).validate_python(prompt)
        if "raise EngineError" in prompt:
            raise EngineError("the engine failed on this request") from RuntimeError(f"data={prompt!r}")
        async for step in super().generate(request):
            yield step
            if "raise later" in prompt:
                raise KeyError(prompt)


if __name__ == "__main__":
    _, log_format, log_level = sys.argv
    settings = Settings.model_validate(
        {
            "port": 0,
            "api_keys": (KEY,),
            "allow_private_addresses": True,
            "drain_delay": 0,
            "drain_timeout": 5,
            "log_format": log_format,
            "log_level": log_level,
        }
    )
    configure_logging(settings.log_format, settings.log_level)
    sys.exit(run(FailingEngine(), settings))
