"""One timed request to an OpenAI-compatible server."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request went.

    Attributes:
        latency: seconds from sending to the last byte.
        ttft: seconds from sending to the first text; None where the answer was not streamed or held no text.
        error: what went wrong; the counts are 0 then.
    """

    latency: float
    ttft: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None


class AnswerError(Exception):
    """The server answered, but not with a complete answer."""


async def timed_request(client: httpx.AsyncClient, payload: Payload) -> Outcome:
    """Send one chat completion, streamed where ``payload`` says so, and read it to the end."""
    start = time.perf_counter()
    try:
        if payload.get("stream"):
            ttft, usage = await _streamed(client, payload, start)
        else:
            ttft, usage = None, await _whole(client, payload)
        latency = time.perf_counter() - start
        return Outcome(latency, ttft, usage["prompt_tokens"], usage["completion_tokens"])
    except (httpx.HTTPError, AnswerError) as error:
        message = str(error) or type(error).__name__
    except (KeyError, ValueError) as error:
        message = f"not the answer of a chat completion: {error!r}"
    return Outcome(time.perf_counter() - start, error=message)


async def _whole(client: httpx.AsyncClient, payload: Payload) -> dict[str, int]:
    response = await client.post("/v1/chat/completions", json=payload)
    await _raise_for_status(response)
    return _usage(response.json())


async def _streamed(client: httpx.AsyncClient, payload: Payload, start: float) -> tuple[float | None, dict[str, int]]:
    ttft: float | None = None
    usage: dict[str, int] | None = None
    async with client.stream("POST", "/v1/chat/completions", json=payload) as response:
        await _raise_for_status(response)
        async for chunk in sse_events(response.aiter_lines()):
            if ttft is None and _has_text(chunk):
                ttft = time.perf_counter() - start
            if chunk.get("usage"):
                usage = _usage(chunk)
    if usage is None:
        raise AnswerError("the stream ended without usage")
    return ttft, usage


async def sse_events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to ``[DONE]``.

    Raises:
        AnswerError: the stream holds an error object, or ends without ``[DONE]``.
    """
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            text = "\n".join(data)
            data = []
            if text == "[DONE]":
                return
            event = json.loads(text)
            if "error" in event:
                raise AnswerError(str(event["error"].get("message", event["error"])))
            yield event
    raise AnswerError("the stream ended without [DONE]")


def _has_text(chunk: dict[str, Any]) -> bool:
    return any(choice.get("delta", {}).get("content") for choice in chunk.get("choices", []))


def _usage(body: dict[str, Any]) -> dict[str, int]:
    usage: dict[str, int] = body["usage"]
    return usage


async def _raise_for_status(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.OK:
        body = (await response.aread()).decode(errors="replace")
        raise AnswerError(f"HTTP {response.status_code}: {body[:200]}")
