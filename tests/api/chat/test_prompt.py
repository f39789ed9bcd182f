import threading
import unicodedata
from typing import Any

import pytest

from qwenvl.api.chat import prompt
from qwenvl.api.chat.prompt import Prompt, read_prompt, shown_token_ids
from qwenvl.api.chat.schemas import ChatMessage
from qwenvl.api.long_texts import NFC_SHRINKS
from qwenvl.chat import PromptFormat, Vocabulary
from qwenvl.engine import ModelInfo
from qwenvl.errors import ContextLengthError, UserError
from tests.api.chatting import image_part, text_part
from tests.fake_engine import model_info

INFO = model_info()


async def read(*contents: Any, info: ModelInfo = INFO) -> Prompt:
    """The prompt of user messages with these contents."""
    messages = [ChatMessage.model_validate({"role": "user", "content": content}) for content in contents]
    return await read_prompt(messages, info, PromptFormat.CHATML, max_images=16)


@pytest.mark.parametrize(
    ("owner", "name"), [(prompt, "read_conversation"), (Vocabulary, "normalize"), (Vocabulary, "encode_text")]
)
async def test_reading_and_tokenising_are_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    threads = []
    original = getattr(owner, name)

    def watched(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return original(*args)

    monkeypatch.setattr(owner, name, watched)
    await read("Hello")
    assert threads
    assert threading.main_thread() not in threads


async def test_hopeless_text_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "render", lambda *args, **kwargs: pytest.fail("must not be tokenised"))
    size = (INFO.max_model_len + 1) * INFO.vocabulary.longest_token
    with pytest.raises(ContextLengthError, match=f"{size} bytes"):
        await read("x" * size)


async def test_text_of_any_length_is_refused_before_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vocabulary, "normalize", lambda *args: pytest.fail("must not be normalised"))
    size = NFC_SHRINKS * (INFO.max_model_len + 1) * INFO.vocabulary.longest_token
    half = ["y" * (size // 2)] * 2
    for contents in (["x" * size], half, [[text_part(text) for text in half]]):
        with pytest.raises(ContextLengthError, match=f"{size} bytes of text, which are more than 2049 tokens"):
            await read(*contents)


def test_how_far_normalising_shortens() -> None:
    text = "\u1fbe\u0308\u0301" * 100
    shrunk = len(text.encode()) / len(unicodedata.normalize("NFC", text).encode())
    assert 3 < shrunk <= NFC_SHRINKS


async def test_long_runs_of_combining_marks_are_refused_by_name() -> None:
    marks = "a" + "\u0301\u0316" * 200
    with pytest.raises(UserError, match=r"^messages\[1\]\.content: .* combining marks .*[^.]\.$") as caught:
        await read("Hello", [text_part("x"), text_part(marks)])
    assert (caught.value.param, caught.value.code) == ("messages[1].content", "invalid_value")


async def test_a_refusal_of_rendering_names_the_messages() -> None:
    """Marks that are too many only once the parts of a message are joined."""
    with pytest.raises(UserError, match=r"^messages: .* combining marks") as caught:
        await read([text_part("a" + "\u0301" * 200), text_part("\u0316" * 200)])
    assert (caught.value.param, caught.value.code) == ("messages", "invalid_value")


async def test_what_normalising_shortens_is_measured_short() -> None:
    """A decomposed text is up to three times as long as what the tokenizer sees."""
    info = model_info(max_model_len=8192)
    n = info.max_model_len * info.vocabulary.longest_token // 9
    with pytest.raises(ContextLengthError, match=r"resulted in \d+ tokens"):
        await read("\u1112\u1161\u11ab" * n, info=info)


async def test_images_count_in_full() -> None:
    info = model_info(max_images=8)
    with pytest.raises(ContextLengthError):
        await read([image_part("data:")] * 8, info=info)
    read_one = await read([image_part("data:")], info=info)
    assert [image.param for image in read_one.images] == ["messages[0].content[0].image_url.url"]
    assert len(shown_token_ids(read_one.token_ids, info)) == read_one.length
