"""Serve the fake engine as a process: ``python -m tests.api.serve_fake KIND PORT [SETTINGS]``, settings as JSON."""

import asyncio
import json
import logging
import signal
import sys

from qwenvl.api import Settings
from qwenvl.api.server import run
from tests.fake_engine import FakeEngine, broken_checkpoint_engine


class DyingEngine(FakeEngine):
    """Dies when it has been asked once."""

    async def wait_dead(self) -> None:
        await self.until(lambda: bool(self.requests))
        await self.die()


class LingeringEngine(DyingEngine):
    """Dies, and does not come to an end by itself."""

    async def stop(self) -> None:
        logging.getLogger(__name__).info("lingering")
        await asyncio.Event().wait()


class SlowToStartEngine(FakeEngine):
    async def start(self) -> None:
        logging.getLogger(__name__).info("starting")
        await asyncio.Event().wait()


class LateEngine(FakeEngine):
    """Starts at SIGUSR1."""

    async def start(self) -> None:
        told_to_start = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told_to_start.set)
        logging.getLogger(__name__).info("starting")
        await told_to_start.wait()
        await super().start()


class SteeredEngine(FakeEngine):
    """Takes few steps until SIGUSR1, and dies at SIGUSR2."""

    async def start(self) -> None:
        await super().start()
        self.hold(after=8)
        loop = asyncio.get_running_loop()
        self._told_to_die = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, self.release)
        loop.add_signal_handler(signal.SIGUSR2, self._told_to_die.set)

    async def wait_dead(self) -> None:
        await self._told_to_die.wait()
        await self.die()


ENGINES = {
    "": FakeEngine,
    "dies": DyingEngine,
    "lingers": LingeringEngine,
    "broken": broken_checkpoint_engine,
    "slow": SlowToStartEngine,
    "late": LateEngine,
    "steered": SteeredEngine,
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    _, kind, port, *settings = sys.argv
    sys.exit(
        run(ENGINES[kind](), Settings(port=int(port), **{"drain_timeout": 5, **json.loads((settings or ["{}"])[0])}))
    )
