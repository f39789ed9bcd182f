"""On the fake engine: what reaches it. ``test_terminal.py`` has the real one."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from qwenvl.chat import Image, Message, PromptFormat
from qwenvl.engine import SamplingDefaults
from qwenvl.errors import CheckpointError, ContextLengthError, UserError
from qwenvl.model_executor.pictures import fit_image
from qwenvl.terminal.backend import Sampling
from qwenvl.terminal.in_process import InProcess
from qwenvl.terminal.pictures import read_picture
from tests.fake_engine import FakeEngine, broken_checkpoint_engine, model_info
from tests.terminal.talking import save_picture

DEFAULT = Sampling()
QUESTION = Message.of("user", "What is this?")


async def started(engine: FakeEngine) -> InProcess:
    backend = InProcess(lambda: engine)
    await backend.start()
    return backend


async def ask(backend: InProcess, *messages: Message, sampling: Sampling = DEFAULT) -> tuple[str, bool]:
    text, is_cut = "", False
    async for chunk in backend.answer(messages, sampling):
        text += chunk.text
        is_cut = chunk.is_cut
    return text, is_cut


async def test_the_engine_gets_pictures_upright_and_fitted(tmp_path: Path) -> None:
    engine = FakeEngine()
    backend = await started(engine)
    picture = await read_picture(str(save_picture(tmp_path / "a.jpg", orientation=6)))
    shown = Message.of("user", Image(picture), "<img>/etc/passwd</img>")
    for _ in range(2):
        await ask(backend, shown)
    first, second = engine.requests
    assert first.images[0].tobytes() == fit_image(await picture.upright(), 448).tobytes()
    assert first.images[0] is second.images[0], "fitted once"
    assert first.request_id != second.request_id
    assert first.token_ids.count(engine.info.vocabulary.image_start) == 1
    await backend.close()
    assert engine.stopped == 1


async def test_options_and_the_models_own() -> None:
    defaults = SamplingDefaults(temperature=0.5, top_p=0.25, top_k=3, repetition_penalty=1.5, max_tokens=5)
    engine = FakeEngine(model_info(defaults=defaults))
    backend = await started(engine)
    assert (await ask(backend, QUESTION))[1], "cut at five tokens"
    await ask(backend, QUESTION, sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=10**9, seed=7))
    own, chosen = (request.sampling for request in engine.requests)
    assert (own.temperature, own.top_p, own.top_k, own.max_tokens, own.seed) == (0.5, 0.25, 3, 5, None)
    assert own.repetition_penalty == chosen.repetition_penalty == 1.5
    assert (chosen.temperature, chosen.top_p, chosen.seed) == (0.0, 1.0, 7)
    assert chosen.max_tokens == 2048 - len(engine.requests[1].token_ids), "what is left of the context"


async def test_a_base_model_gets_no_turns() -> None:
    engine = FakeEngine(model_info(prompt_format=PromptFormat.RAW))
    await ask(await started(engine), QUESTION)
    assert engine.info.vocabulary.decode(engine.requests[0].token_ids) == "What is this?"


async def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    picture = Image(await read_picture(str(save_picture(tmp_path / "a.png"))))
    with pytest.raises(ContextLengthError, match="3 pictures, and the model takes 2"):
        await ask(await started(FakeEngine(model_info(max_images=2))), Message.of("user", *[picture] * 3))
    with pytest.raises(UserError, match="reads no pictures"):
        await ask(await started(FakeEngine(model_info(tokens_per_image=0))), Message.of("user", picture))
    with pytest.raises(ContextLengthError, match="of the model's 16: there is no room"):
        await ask(await started(FakeEngine(model_info(max_model_len=16))), QUESTION)


async def test_leaving_aborts_the_request() -> None:
    engine = FakeEngine()
    backend = await started(engine)
    engine.hold(after=2)
    async with aclosing(backend.answer([QUESTION], Sampling())) as chunks:
        await anext(chunks)
    async with asyncio.timeout(20):
        await engine.until(lambda: engine.aborted == ["chat-1"])


async def test_start_that_fails() -> None:
    backend = InProcess(broken_checkpoint_engine)
    with pytest.raises(CheckpointError, match="hidden_size is missing"):
        await backend.start()
    await backend.close()
