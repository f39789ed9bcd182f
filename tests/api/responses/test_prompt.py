"""Turns left out where a conversation is too long."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.chat.prompt import Prompt
from qwenvl.api.responses.items import PlacedItem, read_items
from qwenvl.api.responses.objects import InputMessage, InputText
from qwenvl.api.responses.prompt import read_truncated
from qwenvl.api.responses.schemas import InputItem
from qwenvl.errors import ContextLengthError, UserError
from tests.api.live import data_url
from tests.api.responses.answering import RESPONSES, image_part, message, refusal, respond, text_part
from tests.fake_engine import FakeEngine


def turns(count: int) -> list[PlacedItem]:
    """A system message, then questions and answers; the last question has none."""
    said = [message("S", "system")]
    for i in range(count):
        said += [message(f"Q{i}"), message(f"A{i}", "assistant")]
    return read_items([InputItem.model_validate(entry) for entry in said[:-1]], {})


class Counting:
    """Prompts as long as the conversation has items, for a context of ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.tries = 0

    async def read(self, items: Any) -> Prompt:
        self.tries += 1
        if len(items) > self._limit:
            raise ContextLengthError("too long")
        return Prompt((), (), len(items))


def questions(items: Any) -> list[str]:
    parts = [entry.item.content[0] for entry in items if isinstance(entry.item, InputMessage)]
    return [part.text for part in parts if isinstance(part, InputText)]


async def test_all_turns_stay_where_they_fit() -> None:
    items = turns(3)
    kept, prompt = await read_truncated(items, Counting(limit=6).read, room=2)
    assert (kept, prompt.length) == (items, 6)


@pytest.mark.parametrize("count", [2, 3, 7, 50])
@pytest.mark.parametrize("room", [2, 3, 4, 5, 9])
async def test_the_fewest_turns_are_left_out(count: int, room: int) -> None:
    items = turns(count)
    counting = Counting(limit=len(items) - 1)
    kept, _ = await read_truncated(items, counting.read, room)
    stay = min(count - 1, max(1, room // 2))
    assert questions(kept) == ["S", *(f"Q{i}" for i in range(count - stay, count))]
    assert counting.tries <= 8


async def test_a_last_turn_that_does_not_fit() -> None:
    with pytest.raises(ContextLengthError):
        await read_truncated(turns(5), Counting(limit=1).read, room=10)


async def test_other_errors_leave_nothing_out() -> None:
    async def read(items: Any) -> Prompt:
        assert len(items) == 10
        raise UserError("wrong", param="input[0]")

    with pytest.raises(UserError, match="wrong"):
        await read_truncated(turns(5), read, room=10)


async def test_a_long_conversation(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    said = [message("The rules.", "system")]
    for i in range(100):
        said += [message(f"Question {i}: {'word ' * 10}"), message("Answer.", "assistant")]
    said.append(message("The last question"))
    error = await refusal(client, content=said)
    assert error["code"] == "context_length_exceeded"
    response = await respond(client, said, truncation="auto")
    prompt = engine.info.vocabulary.decode(engine.requests[-1].token_ids)
    assert "The rules." in prompt
    assert "The last question" in prompt
    assert "Question 0:" not in prompt
    assert "Question 99:" in prompt
    context = engine.info.max_model_len
    assert context // 2 < response["usage"]["input_tokens"] <= context * 3 // 4
    listed = await client.get(f"{RESPONSES}/{response['id']}/input_items", params={"order": "asc"})
    assert listed.json()["data"][0]["content"][0]["text"] == "The rules."
    await respond(client, "More", previous_response_id=response["id"], truncation="auto")


@pytest.mark.parametrize("settings", [Settings(max_images=2)])
async def test_too_many_pictures(client: httpx.AsyncClient, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    question = [message([image_part(url), text_part("What is this?")])]
    previous = await respond(client, question)
    for _ in range(3):
        previous = await respond(client, question, previous_response_id=previous["id"], truncation="auto")
    assert 1 <= len(engine.requests[-1].images) <= 2
    error = await refusal(client, content=question * 3)
    assert (error["code"], error["param"]) == ("too_many_images", "input[2].content[0].image_url")
