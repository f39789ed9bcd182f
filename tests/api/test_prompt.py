import threading

import pytest

from qwenvl.api import prompt
from qwenvl.api.conversation import ImageReference
from qwenvl.api.prompt import shown_token_ids, tokenise
from qwenvl.chat import Image, Message, PromptFormat, Vocabulary
from qwenvl.errors import ContextLengthError
from tests.fake_engine import model_info

INFO = model_info()


async def test_tokenising_is_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    encode = Vocabulary.encode_text

    def watched(self: Vocabulary, text: str) -> list[int]:
        threads.append(threading.current_thread())
        return encode(self, text)

    monkeypatch.setattr(Vocabulary, "encode_text", watched)
    await tokenise([Message.of("user", "Hello")], INFO, PromptFormat.CHATML)
    assert threads
    assert threading.main_thread() not in threads


async def test_hopeless_text_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "render", lambda *args, **kwargs: pytest.fail("must not be tokenised"))
    size = (INFO.max_model_len + 1) * INFO.vocabulary.longest_token
    with pytest.raises(ContextLengthError, match=f"{size} bytes"):
        await tokenise([Message.of("user", "x" * size)], INFO, PromptFormat.CHATML)


async def test_what_normalising_shortens_is_measured_short() -> None:
    """A decomposed text is up to three times as long as what the tokenizer sees."""
    info = model_info(max_model_len=8192)
    n = info.max_model_len * info.vocabulary.longest_token // 9
    with pytest.raises(ContextLengthError, match=r"resulted in \d+ tokens"):
        await tokenise([Message.of("user", "\u1112\u1161\u11ab" * n)], info, PromptFormat.CHATML)


async def test_images_count_in_full() -> None:
    picture = Image(ImageReference("data:", "x"))
    message = Message.of("user", *[picture] * 8)
    with pytest.raises(ContextLengthError):
        await tokenise([message], INFO, PromptFormat.CHATML)
    rendered = await tokenise([Message.of("user", picture)], INFO, PromptFormat.CHATML)
    assert len(shown_token_ids(rendered.token_ids, INFO)) == rendered.length(INFO.tokens_per_image)
