"""Serve the fake engine with a data directory: ``python -m tests.api.batches.serve DATA_DIR STEPS``.

STEPS is how many the engine takes in all before it stands still; -1 is any number.
"""

import logging
import sys
from pathlib import Path

from qwenvl.api import Settings
from qwenvl.api.server import run
from tests.fake_engine import FakeEngine

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    _, data_dir, steps = sys.argv
    engine = FakeEngine()
    if int(steps) >= 0:
        engine.hold(after=int(steps))
    sys.exit(run(engine, Settings(port=0, drain_timeout=5, data_dir=Path(data_dir), batch_concurrency=4)))
