"""``POST /v1/chat/completions``."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from qwenvl.api.chat.objects import ChatCompletion
from qwenvl.api.chat.prompt import read_prompt, shown_token_ids
from qwenvl.api.chat.schemas import ChatCompletionRequest
from qwenvl.api.chat.translation import AnswerHeader, collect, fingerprint, stream
from qwenvl.api.context import RequestContext, context_of
from qwenvl.api.gateway import Gateway
from qwenvl.api.generation import while_connected
from qwenvl.api.refused import refuse_unsupported
from qwenvl.api.routes.models import check_served
from qwenvl.api.sampling import read_logprobs, read_sampling
from qwenvl.api.sse import DONE, ending_with_error, event_stream
from qwenvl.api.validation import parse_body
from qwenvl.chat import PromptFormat
from qwenvl.engine import GenerationRequest
from qwenvl.errors import UserError

PATH = "/v1/chat/completions"


def chat_routes(chat: "ChatCompletions") -> APIRouter:
    router = APIRouter(tags=["chat"])

    @router.post(PATH, response_model=ChatCompletion, openapi_extra={"requestBody": _describe_body()})
    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation, at once or as server-sent events."""
        wire = await parse_body(request, ChatCompletionRequest)
        chat.check(wire)
        context = context_of(request)
        if wire.stream:
            return await event_stream(request.receive, chat.events(wire, context))
        completion = await while_connected(request.receive, chat.answer(wire, context))
        return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")

    return router


class ChatCompletions:
    """From a wire request to the engine and back."""

    path = PATH
    wire = ChatCompletionRequest

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def check(self, wire: ChatCompletionRequest) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: another model is asked for, or something that is not supported.
        """
        check_served(wire.model, self._gateway.info)
        refuse_unsupported(wire.model_extra or {})
        if wire.stream_options is not None and not wire.stream:
            raise UserError("stream_options needs stream to be true.", param="stream_options", code="invalid_value")

    async def answer(self, wire: ChatCompletionRequest, context: RequestContext) -> ChatCompletion:
        async with self._gateway.admitted(context):
            request, header = await self._prepare(wire, context)
            async with self._gateway.steps(request, context) as steps:
                return await collect(steps, header)

    async def events(self, wire: ChatCompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        """The answer's chunks. Errors before the first are raised, errors after it are the last event."""
        async with aclosing(ending_with_error(self._chunks(wire, context), DONE)) as events:
            async for event in events:
                yield event

    async def _chunks(self, wire: ChatCompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        async with self._gateway.admitted(context):
            request, header = await self._prepare(wire, context)
            async with self._gateway.steps(request, context) as steps, aclosing(stream(steps, header)) as chunks:
                async for chunk in chunks:
                    yield chunk.model_dump_json(exclude_unset=True)

    async def _prepare(
        self, wire: ChatCompletionRequest, context: RequestContext
    ) -> tuple[GenerationRequest, AnswerHeader]:
        """Everything that can be refused, the cheap before the dear: fields, prompt, images."""
        info, settings = self._gateway.info, self._gateway.settings
        prompt = await read_prompt(wire.messages, info, self._prompt_format(wire), max_images=settings.max_images)
        sampling = read_sampling(
            wire,
            info,
            prompt_tokens=prompt.length,
            max_n=settings.max_n,
            max_tokens={"max_tokens": wire.max_tokens, "max_completion_tokens": wire.max_completion_tokens},
            logprobs=read_logprobs(wire.logprobs, wire.top_logprobs, info),
        )
        images = await self._gateway.images.load(prompt.images, info.image_size)
        header = AnswerHeader(
            model=wire.model,
            system_fingerprint=fingerprint(info),
            vocabulary=info.vocabulary,
            n=sampling.n,
            prompt_token_ids=shown_token_ids(prompt.token_ids, info) if wire.return_token_ids else None,
            include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        )
        request = GenerationRequest(
            header.id,
            prompt.token_ids,
            images,
            sampling,
            priority=context.priority,
            trace_headers=context.trace_headers,
        )
        return request, header

    def _prompt_format(self, wire: ChatCompletionRequest) -> PromptFormat:
        chosen = wire.chat_template_kwargs and wire.chat_template_kwargs.chat_format
        return PromptFormat(chosen) if chosen else self._gateway.info.prompt_format


def _describe_body() -> dict[str, Any]:
    """The request for ``/openapi.json``. FastAPI does not see it: the route reads the body itself, strictly."""
    here = f"#/paths/{PATH.replace('/', '~1')}/post/requestBody/content/application~1json/schema/$defs/{{model}}"
    schema = ChatCompletionRequest.model_json_schema(ref_template=here)
    return {"required": True, "content": {"application/json": {"schema": schema}}}
