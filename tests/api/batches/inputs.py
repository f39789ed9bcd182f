"""Input files, short to write, and what becomes of them."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import openai
from openai.types import Batch, FileObject

from tests.api.chatting import CHAT, body
from tests.api.live import PATIENCE, LiveServer


def sdk(live: LiveServer, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True)


def request_line(custom_id: str, content: Any = None, url: str = CHAT, **fields: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body(content or custom_id, **fields)}


def jsonl(lines: Iterable[Any]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def upload(ai: openai.OpenAI, content: bytes) -> FileObject:
    return ai.files.create(file=("input.jsonl", content), purpose="batch")


def begin(ai: openai.OpenAI, lines: Iterable[Any] | bytes) -> Batch:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    file = upload(ai, content)
    return ai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def wait_for(ai: openai.OpenAI, batch: Batch, condition: Callable[[Batch], bool]) -> Batch:
    """Ask until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition(batch := ai.batches.retrieve(batch.id)):
        assert time.monotonic() < deadline, batch
    return batch


def finished(ai: openai.OpenAI, batch: Batch) -> Batch:
    return wait_for(ai, batch, lambda now: now.status in ("failed", "completed", "expired", "cancelled"))


def outcome(ai: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """The lines of an output file by custom_id, each there once."""
    if file_id is None:
        return {}
    lines = [json.loads(line) for line in ai.files.content(file_id).text.splitlines()]
    by_id = {line["custom_id"]: line for line in lines}
    assert len(by_id) == len(lines)
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in lines)
    return by_id
