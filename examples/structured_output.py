"""An answer that is always JSON of one schema: ``python examples/structured_output.py``."""

from typing import Literal

from openai import OpenAI
from pydantic import BaseModel


class Shape(BaseModel):
    kind: Literal["circle", "square", "triangle"]
    colour: Literal["red", "green", "blue"]
    count: Literal[1, 2, 3]


client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
model = client.models.list().data[0].id
answer = client.chat.completions.parse(
    model=model,
    messages=[{"role": "user", "content": "A red circle, please."}],
    response_format=Shape,
    max_tokens=128,
)
print(answer.choices[0].message.parsed)
