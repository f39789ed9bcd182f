"""Forced calls of the real engine: whatever the model would rather say, the arguments keep to their schema."""

import json
from typing import Any

import httpx
import pytest

from tests.stack import MODEL, Stack

pytestmark = pytest.mark.slow

UNIT = {
    "type": "object",
    "properties": {"unit": {"$ref": "#/$defs/Unit"}, "exact": {"type": "boolean"}},
    "required": ["unit", "exact"],
    "additionalProperties": False,
    "$defs": {"Unit": {"enum": ["C", "F"]}},
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "x", "parameters": UNIT}} for name in ("t1", "t2")
]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "t2"}}])
def test_forced_calls(stack: Stack, choice: Any) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": TOOLS,
        "tool_choice": choice,
        "temperature": 0,
        # White space is free in JSON, and this model's weights are as good as random.
        "logit_bias": dict.fromkeys(map(str, _blanks(stack)), -100),
    }
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    (choice_made,) = answer.json()["choices"]
    assert choice_made["finish_reason"] == "tool_calls"
    (call,) = choice_made["message"]["tool_calls"]
    assert call["function"]["name"] in ("t1", "t2") if choice == "required" else call["function"]["name"] == "t2"
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["unit"] in ("C", "F")
    assert isinstance(arguments["exact"], bool)


def _blanks(stack: Stack) -> list[int]:
    vocabulary = stack.engine.info.vocabulary
    return [token_id for token_id in range(vocabulary.n_ranks) if not vocabulary.token_bytes(token_id).strip()]
