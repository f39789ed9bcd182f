"""Answers that take as long as a test needs."""

import openai
from openai.types.chat import ChatCompletionChunk


def stream_of(client: openai.OpenAI, model: str, *, tokens: int) -> openai.Stream[ChatCompletionChunk]:
    """A stream of exactly so many tokens, with its first chunk read."""
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=tokens,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    return stream
