"""`qwenvl evaluate` with many requests in flight beside one at a time: ``python -m benchmarks.evaluation``.

The passes take turns, and each asks samples of its own: what the server has cached of one helps no other.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import environment
from qwenvl.errors import QwenVLError
from qwenvl.evaluation.client import Server, first_model
from qwenvl.evaluation.runner import run_task
from qwenvl.evaluation.serving import serving
from qwenvl.evaluation.settings import RunSettings
from qwenvl.evaluation.synthetic import draw_tasks
from qwenvl.evaluation.tasks.catalogue import find_task


def measure(base_url: str, name: str, count: int, concurrency: int, rounds: int) -> dict[str, Any]:
    """Samples a second, one at a time and many, over all rounds."""
    task = find_task(name)
    model = asyncio.run(first_model(base_url))
    seconds = {1: 0.0, concurrency: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        passes = [1, concurrency] * rounds
        draw_tasks(data, count * (len(passes) + 1))
        lines = (data / task.samples).read_text(encoding="utf-8").splitlines(keepends=True)
        # The first pass warms the server up and counts in neither.
        for number, in_flight in enumerate([concurrency, *passes]):
            (data / task.samples).write_text("".join(lines[number * count :][:count]), encoding="utf-8")
            settings = RunSettings(
                data=data,
                output=Path(folder) / str(number),
                server=Server(base_url, model, connections=in_flight),
                concurrency=in_flight,
            )
            summary = asyncio.run(run_task(task, settings))
            if number:
                seconds[in_flight] += summary["seconds"]
    one, many = (round(count * rounds / spent, 2) for spent in seconds.values())
    times = round(many / one, 2)
    return {"task": name, "samples": count * rounds, "one_at_a_time": one, f"at_{concurrency}": many, "times": times}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", help="a server of yours; without it, the built-in model is served for the run")
    parser.add_argument("--task", default="shapes-vqa", help="one of the small model's (%(default)s)")
    parser.add_argument("--count", type=int, default=128, help="samples a pass (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON, with hardware and commit")
    args = parser.parse_args(argv)
    options = (args.task, args.count, args.concurrency, args.rounds)
    try:
        if args.base_url:
            found = measure(args.base_url, *options)
        else:
            with tempfile.TemporaryDirectory() as folder, serving(None, Path(folder) / "server.log") as base_url:
                found = measure(base_url, *options)
    except QwenVLError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found, indent=1))
    if args.output:
        args.output.write_text(json.dumps({**environment.describe(), **found}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
