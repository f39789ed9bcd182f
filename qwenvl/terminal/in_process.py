"""An engine of our own, in this process: no server, no HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import PIL.Image

from qwenvl.chat import Message, Rendered, images_of, render
from qwenvl.engine import Engine, GenerationRequest, ModelInfo, SamplingOptions
from qwenvl.errors import ContextLengthError, QwenVLError, UserError
from qwenvl.model_executor.pictures import fit_image
from qwenvl.terminal.backend import BackendError, Chunk, Sampling
from qwenvl.terminal.pictures import Picture

if TYPE_CHECKING:
    from qwenvl.engine.vllm_engine import VLLMEngine


class InProcess:
    """Implements :class:`qwenvl.terminal.backend.Backend`.

    Args:
        make_engine: is called in a thread, since importing vLLM takes seconds.
        name: what people know the model by; None is what the engine calls it.
    """

    def __init__(self, make_engine: Callable[[], Engine], name: str | None = None) -> None:
        self._make_engine = make_engine
        self._name = name
        self._engine: Engine | None = None
        self._fitted: WeakKeyDictionary[Picture, PIL.Image.Image] = WeakKeyDictionary()
        self._numbers = count(1)

    @property
    def name(self) -> str:
        """The model."""
        assert self._engine is not None
        return self._name or self._engine.info.names[0]

    async def start(self) -> None:
        """Load the model."""
        self._engine = await asyncio.to_thread(self._make_engine)
        await self._engine.start()

    async def answer(self, messages: Sequence[Message[Picture]], sampling: Sampling) -> AsyncGenerator[Chunk]:
        """Render the conversation, fit its pictures and ask the engine."""
        assert self._engine is not None
        info = self._engine.info
        prompt = await asyncio.to_thread(render, messages, info.vocabulary, prompt_format=info.prompt_format)
        _check_images(prompt, info)
        options = _options(sampling, info, prompt.length(info.tokens_per_image))
        images = [await self._fit(picture, info.image_size) for picture in images_of(messages)]
        request = GenerationRequest(f"chat-{next(self._numbers)}", prompt.token_ids, tuple(images), options)
        async with aclosing(self._engine.generate(request)) as steps:
            async for step in steps:
                for delta in step.deltas:
                    yield Chunk(delta.text, delta.finish_reason == "length")

    async def close(self) -> None:
        """End the engine."""
        if self._engine is not None:
            await self._engine.stop()

    async def _fit(self, picture: Picture, image_size: int) -> PIL.Image.Image:
        """What the model sees. It is kept: each question of a conversation brings all its pictures again."""
        if (fitted := self._fitted.get(picture)) is None:
            upright = await picture.upright()
            fitted = self._fitted[picture] = await asyncio.to_thread(fit_image, upright, image_size)
        return fitted


def vllm_engine(model: str, *, small: bool) -> "VLLMEngine":
    """The engine for a checkpoint directory or hub name, with vLLM's own defaults.

    Args:
        model: what to load.
        small: compiling would take longer than it can win back.

    Raises:
        BackendError: there is no vLLM in this installation.
    """
    try:
        from qwenvl.engine.arguments import engine_args, serve_parser
        from qwenvl.engine.vllm_engine import VLLMEngine
    except ImportError as error:
        raise BackendError(f"{error}: an engine in this process needs pip install 'qwenvl[cpu]', or [cuda]") from error
    arguments = ["--model", model, *(["--enforce-eager"] if small else [])]
    try:
        return VLLMEngine(engine_args(serve_parser("qwenvl chat").parse_args(arguments)))
    except ValueError as error:
        raise error if isinstance(error, QwenVLError) else BackendError(str(error)) from error


def _check_images(prompt: Rendered, info: ModelInfo) -> None:
    limit = info.max_images if info.tokens_per_image else 0
    if prompt.n_images and not limit:
        raise UserError("this model reads no pictures")
    if prompt.n_images > limit:
        raise ContextLengthError(f"the conversation has {prompt.n_images} pictures, and the model takes {limit}")


def _options(sampling: Sampling, info: ModelInfo, prompt_tokens: int) -> SamplingOptions:
    """The model's defaults where nothing was chosen, and an answer no longer than what is left of the context."""
    left = info.max_model_len - prompt_tokens
    if left < 1:
        raise ContextLengthError(
            f"the conversation takes {prompt_tokens} tokens of the model's {info.max_model_len}: "
            "there is no room for an answer"
        )
    defaults = info.defaults
    wanted = left if defaults.max_tokens is None else defaults.max_tokens
    return SamplingOptions(
        temperature=defaults.temperature if sampling.temperature is None else sampling.temperature,
        top_p=defaults.top_p if sampling.top_p is None else sampling.top_p,
        top_k=min(defaults.top_k, info.vocab_size),
        repetition_penalty=defaults.repetition_penalty,
        max_tokens=min(left, wanted if sampling.max_tokens is None else sampling.max_tokens),
        seed=sampling.seed,
    )
