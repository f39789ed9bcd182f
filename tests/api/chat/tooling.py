"""Tools of chat requests, short to write."""

from typing import Any

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def function(name: str = "get_weather", parameters: Any = CITY, **fields: Any) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "parameters": parameters, **fields}


def tool(name: str = "get_weather", parameters: Any = CITY, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": function(name, parameters, **fields)}


def call(call_id: str = "1", name: str = "get_weather", arguments: str = '{"city": "Oslo"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls or (call(),))}


def result(call_id: str = "1", content: Any = "7 degrees") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


QUESTION = {"role": "user", "content": "How is Oslo?"}
