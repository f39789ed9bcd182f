"""``POST /v1/chat/completions``."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from qwenvl.api.chat.objects import ChatCompletion
from qwenvl.api.chat.prompt import read_prompt, shown_token_ids
from qwenvl.api.chat.schemas import ChatCompletionRequest
from qwenvl.api.chat.translation import AnswerHeader, collect, fingerprint, stream
from qwenvl.api.errors import describe
from qwenvl.api.generation import steps_of, while_connected
from qwenvl.api.media.loader import ImageLoader
from qwenvl.api.refused import refuse_unsupported
from qwenvl.api.routes.models import check_served
from qwenvl.api.sampling import read_sampling
from qwenvl.api.settings import Settings
from qwenvl.api.sse import DONE, event_stream
from qwenvl.api.validation import parse_body
from qwenvl.chat import PromptFormat
from qwenvl.engine import Engine, GenerationRequest
from qwenvl.errors import QwenVLError, UserError

logger = logging.getLogger(__name__)

PATH = "/v1/chat/completions"


def chat_routes(engine: Engine, settings: Settings, images: ImageLoader) -> APIRouter:
    router = APIRouter(tags=["chat"])
    chat = ChatCompletions(engine, settings, images)

    @router.post(PATH, response_model=ChatCompletion, openapi_extra={"requestBody": _describe_body()})
    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation, at once or as server-sent events."""
        wire = await parse_body(request, ChatCompletionRequest)
        chat.check(wire)
        if wire.stream:
            return await event_stream(request.receive, chat.events(wire))
        completion = await while_connected(request.receive, chat.answer(wire))
        return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")

    return router


class ChatCompletions:
    """From a wire request to the engine and back."""

    def __init__(self, engine: Engine, settings: Settings, images: ImageLoader) -> None:
        self._engine = engine
        self._settings = settings
        self._images = images

    def check(self, wire: ChatCompletionRequest) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: another model is asked for, or something that is not supported.
        """
        check_served(wire.model, self._engine.info)
        refuse_unsupported(wire.model_extra or {})
        if wire.stream_options is not None and not wire.stream:
            raise UserError("stream_options needs stream to be true.", param="stream_options", code="invalid_value")

    async def answer(self, wire: ChatCompletionRequest) -> ChatCompletion:
        request, header = await self._prepare(wire)
        async with steps_of(self._engine, request) as steps:
            return await collect(steps, header)

    async def events(self, wire: ChatCompletionRequest) -> AsyncGenerator[str]:
        """The answer's chunks. Errors before the first are raised, errors after it are the last event."""
        request, header = await self._prepare(wire)
        started = False
        try:
            async with steps_of(self._engine, request) as steps, aclosing(stream(steps, header)) as chunks:
                async for chunk in chunks:
                    started = True
                    yield chunk.model_dump_json(exclude_unset=True)
        except Exception as error:
            if not started:
                raise
            if not isinstance(error, QwenVLError):
                logger.exception("answer %s failed unexpectedly", header.id)
            yield describe(error).model_dump_json()
            return
        yield DONE

    async def _prepare(self, wire: ChatCompletionRequest) -> tuple[GenerationRequest, AnswerHeader]:
        """Everything that can be refused, the cheap before the dear: fields, prompt, images."""
        info = self._engine.info
        prompt = await read_prompt(wire.messages, info, self._prompt_format(wire), max_images=self._settings.max_images)
        sampling = read_sampling(wire, info, prompt_tokens=prompt.length, max_n=self._settings.max_n)
        images = await self._images.load(prompt.images, info.image_size)
        header = AnswerHeader(
            model=wire.model,
            system_fingerprint=fingerprint(info),
            vocabulary=info.vocabulary,
            n=sampling.n,
            prompt_token_ids=shown_token_ids(prompt.token_ids, info) if wire.return_token_ids else None,
            include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        )
        return GenerationRequest(header.id, prompt.token_ids, images, sampling), header

    def _prompt_format(self, wire: ChatCompletionRequest) -> PromptFormat:
        chosen = wire.chat_template_kwargs and wire.chat_template_kwargs.chat_format
        return PromptFormat(chosen) if chosen else self._engine.info.prompt_format


def _describe_body() -> dict[str, Any]:
    """The request for ``/openapi.json``. FastAPI does not see it: the route reads the body itself, strictly."""
    here = f"#/paths/{PATH.replace('/', '~1')}/post/requestBody/content/application~1json/schema/$defs/{{model}}"
    schema = ChatCompletionRequest.model_json_schema(ref_template=here)
    return {"required": True, "content": {"application/json": {"schema": schema}}}
