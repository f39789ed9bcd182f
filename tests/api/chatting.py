"""Bodies of chat requests, short to write."""

import json
from typing import Any

import httpx
from openai.types.chat import ChatCompletion

CHAT = "/v1/chat/completions"


def body(content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **fields}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert response.headers["x-request-id"]
    return dict(error)


def events_of(response: httpx.Response) -> list[str]:
    """The data of each server-sent event, split strictly at blank lines."""
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in response.headers
    assert response.text.endswith("\n\n")
    events = response.text.split("\n\n")[:-1]
    assert all(event.startswith("data: ") for event in events)
    return [event.removeprefix("data: ") for event in events]


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    events = events_of(response)
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


async def ask(client: httpx.AsyncClient, content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    response = await client.post(CHAT, json=body(content, **fields))
    assert response.status_code == 200, response.text
    ChatCompletion.model_validate(response.json(), strict=True)
    return dict(response.json())


async def refusal(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The error for a request, and proof that the next one is answered."""
    response = await client.post(CHAT, json=body(**fields))
    assert response.status_code in (400, 404), response.text
    await ask(client)
    return error_of(response)
