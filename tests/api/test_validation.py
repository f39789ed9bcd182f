import base64
import json
import threading
from typing import Any

import pytest
from fastapi import Request
from pydantic import BaseModel, ValidationError, model_validator
from starlette.types import Message

from qwenvl.api.chat.schemas import MAX_MESSAGES, MAX_PARTS, ChatCompletionRequest
from qwenvl.api.validation import LARGE_BODY_BYTES, MAX_MARKS, MAX_NON_ASCII_BYTES, field_path, parse_body, parse_json
from qwenvl.errors import UserError
from tests.api.chatting import body, text_part


def request_of(content: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


class Watched(BaseModel):
    text: str

    @model_validator(mode="before")
    @classmethod
    def watch(cls, value: Any) -> Any:
        threads.append(threading.current_thread())
        return value


threads: list[threading.Thread] = []


@pytest.mark.parametrize(("size", "off_the_loop"), [(100, False), (LARGE_BODY_BYTES, True)])
async def test_large_bodies_are_parsed_off_the_event_loop(size: int, off_the_loop: bool) -> None:
    threads.clear()
    parsed = await parse_body(request_of(json.dumps({"text": "x" * size}).encode()), Watched)
    assert parsed.text == "x" * size
    assert [thread is not threading.main_thread() for thread in threads] == [off_the_loop]


async def test_large_bodies_are_explained_as_small_ones() -> None:
    with pytest.raises(UserError, match=r"^text must be a string, not a list\.$"):
        await parse_body(request_of(json.dumps({"text": ["x" * LARGE_BODY_BYTES]}).encode()), Watched)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"messages": [{"role": "user", "content": "x"}] * (MAX_MESSAGES + 1)},
            f"messages must have at most {MAX_MESSAGES} item(s), not {MAX_MESSAGES + 1}.",
        ),
        (
            {"messages": body([text_part("x")] * (MAX_PARTS + 2))["messages"]},
            f"messages[0].content must have at most {MAX_PARTS} item(s), not {MAX_PARTS + 2}.",
        ),
    ],
)
async def test_how_many_messages_and_parts(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        await parse_body(request_of(json.dumps({"model": "tiny", **fields}).encode()), ChatCompletionRequest)
    assert caught.value.message == message
    assert caught.value.param == message.split(" ")[0]
    assert caught.value.code == "invalid_value"


async def test_as_many_messages_and_parts_as_may_be() -> None:
    messages = [{"role": "user", "content": "x"}] * (MAX_MESSAGES - 1) + body([text_part("x")] * MAX_PARTS)["messages"]
    parsed = await parse_body(request_of(json.dumps(body(messages=messages)).encode()), ChatCompletionRequest)
    assert len(parsed.messages) == MAX_MESSAGES


async def test_checking_ends_at_the_first_fault() -> None:
    """A body of two bytes a fault must not become a complaint of a kilobyte each."""
    content = b'{"model": "tiny", "messages": [{"role": "user", "content": [' + b"0," * 1000 + b"0]}, 0]}"
    with pytest.raises(UserError, match=r"^messages\[0\]\.content\[0\] must be an object, not 0\.$") as caught:
        await parse_body(request_of(content), ChatCompletionRequest)
    complaints = caught.value.__context__
    assert isinstance(complaints, ValidationError)
    assert complaints.error_count() == 1


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("messages",), "messages"),
        (
            ("messages", 0, "content", "@a list of parts", 1, "image_url", "@an object", "url"),
            "messages[0].content[1].image_url.url",
        ),
        (("stop", "@a list of strings", 2), "stop[2]"),
        ((), ""),
    ],
)
def test_field_path(location: tuple[int | str, ...], path: str) -> None:
    assert field_path(location) == path


@pytest.mark.parametrize("mark", MAX_MARKS)
async def test_bodies_of_many_values_are_refused_unparsed(mark: bytes) -> None:
    limit = MAX_MARKS[mark]
    content = b'{"text": ["' + mark * limit
    with pytest.raises(UserError, match=r"not valid JSON|must be a string"):
        parse_json(b" " + mark * limit, Watched)
    with pytest.raises(UserError, match=f"more than {limit:,} times") as caught:
        await parse_body(request_of(content + mark), Watched)
    assert caught.value.code == "request_too_complex"


def test_bodies_of_much_foreign_text_are_refused_unparsed() -> None:
    content = '{"text": "' + "好" * (MAX_NON_ASCII_BYTES // 3)
    assert len(parse_json((content + '"}').encode(), Watched).text) == MAX_NON_ASCII_BYTES // 3
    with pytest.raises(UserError, match="not ASCII") as caught:
        parse_json((content + "好").encode(), Watched)
    assert caught.value.code == "request_too_complex"


def test_large_images_are_none_of_that() -> None:
    text = base64.b64encode(bytes(range(256)) * 2**14).decode()
    assert parse_json(json.dumps({"text": text}).replace("/", "\\/").encode(), Watched).text == text


def test_a_repeated_key_counts_as_its_last() -> None:
    assert parse_json(b'{"text": "a", "text": "b"}', Watched).text == "b"


def test_paths_stay_short() -> None:
    assert len(field_path(("logit_bias", "9" * 10_000, "[key]"))) < 80
