"""Bodies of completion requests, short to write."""

from typing import Any

import httpx
from openai.types import Completion

COMPLETIONS = "/v1/completions"


def body(prompt: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "prompt": prompt, **fields}


async def complete(client: httpx.AsyncClient, prompt: Any = "Hello", **fields: Any) -> dict[str, Any]:
    response = await client.post(COMPLETIONS, json=body(prompt, **fields))
    assert response.status_code == 200, response.text
    check_object(response.json())
    return dict(response.json())


def check_object(completion: dict[str, Any], *, finished: bool = True) -> None:
    """OpenAI's own type says no null where OpenAI's own answers have one: a prompt's first token, a running choice."""
    choices = []
    for choice in completion["choices"]:
        filled = dict(choice)
        if not finished:
            filled["finish_reason"] = choice["finish_reason"] or "stop"
        if choice["logprobs"]:
            filled["logprobs"] = {
                name: [({} if name == "top_logprobs" else 0.0) if entry is None else entry for entry in entries]
                for name, entries in choice["logprobs"].items()
            }
        choices.append(filled)
    Completion.model_validate({**completion, "choices": choices}, strict=True)
