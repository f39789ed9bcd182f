import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
model = client.models.list().data[0].id
picture = base64.b64encode(Path("examples/shapes.png").read_bytes()).decode()
image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}


def asking(*content):
    return {"model": model, "messages": [{"role": "user", "content": [image, *content]}]}


answer = client.chat.completions.create(
    **asking({"type": "text", "text": "Detect everything in the picture."}),
    extra_body={"grounding": {"clean_text": True}},
)
message = answer.choices[0].message
print(message.content)
for finding in message.grounding:
    print(finding["ref"], finding["boxes"])

stream = client.chat.completions.create(
    **asking({"type": "text", "text": "Where is the blue square?"}),
    extra_body={"grounding": {"clean_text": True, "confidence": False}},
    stream=True,
)
for chunk in stream:
    delta = chunk.choices[0].delta
    print(delta.content or "", end="", flush=True)
    for finding in getattr(delta, "grounding", []):
        print(" at", finding["boxes"][0])

# And back: a box as part of the question.
box = message.grounding[0]["boxes"][0]
answer = client.chat.completions.create(
    **asking({"type": "text", "text": "What is in "}, {"type": "box", "box": box}, {"type": "text", "text": "?"})
)
print(answer.choices[0].message.content)
