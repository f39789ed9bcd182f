"""Golden cases as a client of the API would write them."""

from typing import Any

from tests.api.live import data_url
from tests.parity.golden import DATA, STEPS, GoldenCase
from tests.stack import MODEL


def golden_body(case: GoldenCase) -> dict[str, Any]:
    """A chat request for a golden case: greedy, as long as the golden's answer, with its ids and log probabilities."""
    conversation = case.conversation
    messages: list[dict[str, Any]] = []
    if "system" in conversation:
        messages.append({"role": "system", "content": conversation["system"]})
    for query, answer in conversation.get("history", []):
        messages.append({"role": "user", "content": _content(query)})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": _content(conversation["query"])})
    return {
        "model": MODEL,
        "messages": messages,
        "temperature": 0,
        "max_tokens": STEPS,
        "logprobs": True,
        "top_logprobs": 5,
        "ignore_eos": True,
        "return_token_ids": True,
        "chat_template_kwargs": {"chat_format": case.prompt_format},
    }


def _content(query: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    return query if isinstance(query, str) else [_part(item) for item in query]


def _part(item: dict[str, Any]) -> dict[str, Any]:
    if "image" in item:
        url = data_url((DATA / "images" / item["image"]).read_bytes())
        return {"type": "image_url", "image_url": {"url": url}}
    if "ref" in item:
        corners = ",".join(f"({x},{y})" for x, y in zip(item["box"][0][::2], item["box"][0][1::2], strict=True))
        return {"type": "text", "text": f"<ref>{item['ref']}</ref><box>{corners}</box>"}
    return {"type": "text", "text": item["text"]}
