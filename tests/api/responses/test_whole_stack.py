"""Responses of the real engine."""

from pathlib import Path

import openai
import pytest

from tests.api.live import data_url
from tests.stack import MODEL, Stack

pytestmark = pytest.mark.slow


def test_a_conversation_about_a_picture(stack: Stack, images: Path) -> None:
    url = data_url((images / "d.png").read_bytes())
    said = [
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "这是什么?"}],
        }
    ]
    options = {"model": MODEL, "temperature": 0, "max_output_tokens": 16}
    with openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client:
        chat = client.chat.completions.create(
            model=MODEL,
            temperature=0,
            max_tokens=16,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url}},
                        {"type": "text", "text": "这是什么?"},
                    ],
                }
            ],
        )
        first = client.responses.create(input=said, **options)
        assert first.output_text == chat.choices[0].message.content
        events = list(client.responses.create(input=said, stream=True, **options))
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == first.output_text
        assert events[-1].response.usage.input_tokens == first.usage.input_tokens
        assert first.status == "incomplete"
        second = client.responses.create(input="And now?", previous_response_id=first.id, top_logprobs=2, **options)
        assert second.usage.input_tokens > first.usage.input_tokens
        assert len(second.output[0].content[0].logprobs) == second.usage.output_tokens
        again = client.responses.create(input="And now?", previous_response_id=first.id, **options)
        assert again.output_text == second.output_text
