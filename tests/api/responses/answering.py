"""Bodies of requests for responses, short to write."""

import json
from typing import Any

import httpx
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.api.chatting import error_of

RESPONSES = "/v1/responses"

EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def body(content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": content, **fields}


def message(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def image_part(url: str) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url}


async def respond(client: httpx.AsyncClient, content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    response = await client.post(RESPONSES, json=body(content, **fields))
    assert response.status_code == 200, response.text
    Response.model_validate(response.json(), strict=True)
    return dict(response.json())


async def events(client: httpx.AsyncClient, content: Any = "Hello", **fields: Any) -> list[dict[str, Any]]:
    response = await client.post(RESPONSES, json=body(content, stream=True, **fields))
    assert response.status_code == 200, response.text
    return events_of(response)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The data of each event, which is named as its type says and numbered."""
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    found = []
    for number, event in enumerate(response.text.split("\n\n")[:-1]):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        assert found[-1]["sequence_number"] == number
        EVENTS.validate_python(found[-1])
    return found


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


async def refusal(client: httpx.AsyncClient, content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    """The error for a request, and proof that the next one is answered."""
    response = await client.post(RESPONSES, json=body(content) | fields)
    assert response.status_code in (400, 404), response.text
    await respond(client)
    return error_of(response)
