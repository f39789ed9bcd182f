"""What the small model knows, asked through a server: ``python -m benchmarks.small_model --base-url URL``.

Held-out questions go greedily to ``/v1/chat/completions`` as PNG pictures and text; the answers are compared with the
right ones, and the table is the one of the model card.
"""

import argparse
import asyncio
import base64
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks import environment
from qwenvl.demo.drawing import draw
from qwenvl.demo.scenes import NEW_SHAPES, Scene
from qwenvl.demo.scores import Probe, lesson_probes, probes, score, table

PICTURE_SIZE = 448
MAX_TOKENS = 150


async def answers_of(client: httpx.AsyncClient, model: str, asked: Sequence[Probe], concurrency: int) -> list[str]:
    """The answer to each question, so many of them at a time.

    Raises:
        httpx.HTTPStatusError: the server refuses one.
    """
    free = asyncio.Semaphore(concurrency)

    async def answer(probe: Probe) -> str:
        async with free:
            response = await client.post("/v1/chat/completions", json=request_of(probe, model))
        response.raise_for_status()
        content: str = response.json()["choices"][0]["message"]["content"]
        return content

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(probe)) for probe in asked]
    return [task.result() for task in tasks]


def picture_url(scene: Scene, size: tuple[int, int] = (PICTURE_SIZE, PICTURE_SIZE)) -> str:
    """A data URL of the scene's picture, of so many pixels."""
    png = io.BytesIO()
    draw(scene, max(size)).resize(size).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def request_of(probe: Probe, model: str) -> dict[str, Any]:
    """A chat completion that asks it."""
    content: list[dict[str, Any]] = []
    for scene in probe.scenes:
        content.append({"type": "image_url", "image_url": {"url": picture_url(scene)}})
    content.append({"type": "text", "text": probe.turn.question})
    message = {"role": "user", "content": content}
    return {"model": model, "messages": [message], "temperature": 0, "max_tokens": MAX_TOKENS}


async def run(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    asked = lesson_probes(args.shape, args.count) if args.shape else probes(args.count)
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    async with httpx.AsyncClient(base_url=args.base_url, headers=headers, timeout=600) as client:
        model = args.model or (await client.get("/v1/models")).raise_for_status().json()["data"][0]["id"]
        answers = await answers_of(client, model, asked, args.concurrency)
    scores = score(asked, answers)
    print(table(scores))
    if args.output:
        result = {**environment.describe(), "model": model, "count": args.count, "scores": scores}
        args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key")
    parser.add_argument("--model", help="the first that the server lists by default; or an adapter")
    parser.add_argument("--count", type=int, default=200, help="questions a row")
    parser.add_argument("--shape", choices=NEW_SHAPES, help="ask about this new shape alone")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--output", type=Path, help="JSON of the scores, with hardware and commit")
    args = parser.parse_args(argv)
    failed = 0
    try:
        asyncio.run(run(args))
    except* httpx.HTTPError as errors:
        print(f"{args.base_url}: {errors.exceptions[0]}", file=sys.stderr)
        failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
