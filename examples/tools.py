"""Let the model call a function, run it, and have the result explained: ``python examples/tools.py``."""

import json

from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
model = client.models.list().data[0].id
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}}},
        },
    }
]
messages = [{"role": "user", "content": "How is the weather in Oslo?"}]

forced = {"type": "function", "function": {"name": "get_weather"}}
asked = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice=forced, max_tokens=64)
call = asked.choices[0].message.tool_calls[0]
print("the model calls", call.function.name, json.loads(call.function.arguments))

messages += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "7 degrees, rain"}]
answer = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="none", max_tokens=64)
print(answer.choices[0].message.content)
