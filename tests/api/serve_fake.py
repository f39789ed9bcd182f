"""Serve the fake engine as a process: ``python -m tests.api.serve_fake KIND PORT``."""

import asyncio
import logging
import sys

from qwenvl.api import Settings
from qwenvl.api.server import run
from tests.fake_engine import FakeEngine, broken_checkpoint_engine


class DyingEngine(FakeEngine):
    """Dies when it has been asked once."""

    async def wait_dead(self) -> None:
        await self.until(lambda: bool(self.requests))
        await self.die()


class SlowToStartEngine(FakeEngine):
    async def start(self) -> None:
        logging.getLogger(__name__).info("starting")
        await asyncio.Event().wait()


ENGINES = {"": FakeEngine, "dies": DyingEngine, "broken": broken_checkpoint_engine, "slow": SlowToStartEngine}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    _, kind, port = sys.argv
    sys.exit(run(ENGINES[kind](), Settings(port=int(port), drain_timeout=5)))
