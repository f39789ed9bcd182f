import base64
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI

base_url = "http://localhost:8000/v1"
model = OpenAI(base_url=base_url, api_key="none").models.list().data[0].id
chat = ChatOpenAI(base_url=base_url, api_key="none", model=model, max_tokens=64)
picture = base64.b64encode(Path("examples/shapes.png").read_bytes()).decode()

answer = chat.invoke(
    [
        HumanMessage(
            [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
                {"type": "text", "text": "框出图中红色圆形的位置"},
            ]
        )
    ]
)
print(answer.content)
