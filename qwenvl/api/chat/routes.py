"""``POST /v1/chat/completions``."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response

from qwenvl.api.chat.objects import ChatCompletion
from qwenvl.api.chat.prompt import Prompt, read_last_turn, read_prompt, read_prompt_format, shown_token_ids
from qwenvl.api.chat.reading import ToolForm
from qwenvl.api.chat.schemas import ChatCompletionRequest
from qwenvl.api.chat.tools import OfferedTools, read_tools, refuse_structured, stop_before_observation
from qwenvl.api.chat.translation import AnswerHeader, collect, fingerprint, stream
from qwenvl.api.context import RequestContext
from qwenvl.api.gateway import Gateway
from qwenvl.api.grounding.findings import read_grounding, refuse_tools, size_of, with_confidences
from qwenvl.api.openapi import request_body
from qwenvl.api.operation import respond
from qwenvl.api.prompt_logprobs import PromptReader, write_prompt_logprobs
from qwenvl.api.refused import CHAT
from qwenvl.api.routes.models import check_served
from qwenvl.api.sampling import check_prompt_logprobs, read_logprobs, read_sampling
from qwenvl.api.sse import DONE, ending_with_error
from qwenvl.api.structure import structure_of
from qwenvl.api.wire import check_stream_options
from qwenvl.engine import GenerationRequest, ModelInfo, SamplingOptions

PATH = "/v1/chat/completions"


def chat_routes(chat: "ChatCompletions") -> APIRouter:
    router = APIRouter(tags=["chat"])

    @router.post(
        PATH,
        response_model=ChatCompletion,
        openapi_extra={"requestBody": request_body(PATH, ChatCompletionRequest)},
    )
    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation, at once or as server-sent events."""
        return await respond(request, chat)

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
        check_served(wire.model, self._gateway.engine)
        CHAT.check(wire.model_extra)
        check_stream_options(wire)
        check_prompt_logprobs(wire, wire.stream)

    async def answer(self, wire: ChatCompletionRequest, context: RequestContext) -> ChatCompletion:
        async with self._gateway.admitted(context):
            request, header = await self._prepare(wire, context)
            async with self._gateway.steps(request, context) as steps:
                watched = PromptReader(steps)
                completion = await collect(watched, header)
        if wire.prompt_logprobs is not None:
            completion.prompt_logprobs = await to_thread.run_sync(
                write_prompt_logprobs, watched.positions, wire.prompt_logprobs, header.vocabulary
            )
        return completion

    async def events(self, wire: ChatCompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        """The answer's chunks. Errors before the first are raised, errors after it are the last event."""
        async with aclosing(ending_with_error(self._chunks(wire, context), DONE)) as events:
            async for event in events:
                yield event

    async def _chunks(self, wire: ChatCompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        async with self._gateway.admitted(context):
            request, header = await self._prepare(wire, context)
            async with (
                self._gateway.steps(request, context) as steps,
                aclosing(stream(steps, header)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk

    async def _prepare(
        self, wire: ChatCompletionRequest, context: RequestContext
    ) -> tuple[GenerationRequest, AnswerHeader]:
        """Everything that can be refused, the cheap before the dear: fields, prompt, images."""
        info, settings = self._gateway.info, self._gateway.settings
        structure = await structure_of(wire)
        offered = await read_tools(wire)
        refuse_structured(offered, structure)
        prompt_format = read_prompt_format(wire, info)
        prompt_of = partial(
            read_prompt,
            wire.messages,
            info,
            prompt_format,
            max_images=settings.max_images,
            last_turn=read_last_turn(wire, wire.messages, prompt_format),
            offered=offered,
        )
        prompt = await prompt_of()
        sampling = read_sampling(
            wire,
            info,
            prompt_tokens=prompt.length,
            max_n=settings.max_n,
            max_tokens={"max_tokens": wire.max_tokens, "max_completion_tokens": wire.max_completion_tokens},
            logprobs=read_logprobs(wire.logprobs, wire.top_logprobs, info),
            structure=offered.structure or structure,
        )
        form = _form(prompt, offered, sampling)
        refuse_tools(wire.grounding, offers_tools=form is not None)
        if form is not None:
            sampling = stop_before_observation(sampling)
        pictures = await self._gateway.images.load(prompt.images, info.image_size)
        if prompt.needs_sizes:
            prompt = await prompt_of(sizes=[size_of(picture) for picture in pictures])
        grounding = read_grounding(wire.grounding, pictures, sampling, info.vocabulary)
        header = replace(_header(wire, prompt, sampling, info), form=form, grounding=grounding)
        request = GenerationRequest(
            # Not the answer's id, which the client may have chosen: two requests in flight must not share it.
            f"chat-{uuid.uuid4().hex}",
            prompt.token_ids,
            tuple(picture.image for picture in pictures),
            with_confidences(sampling, grounding),
            priority=context.priority + (wire.priority or 0),
            cache_salt=wire.cache_salt,
            trace_headers=context.trace_headers,
            adapter=self._gateway.adapter_of(wire.model),
        )
        return request, header


def _header(wire: ChatCompletionRequest, prompt: Prompt, sampling: SamplingOptions, info: ModelInfo) -> AnswerHeader:
    return AnswerHeader(
        model=wire.model,
        system_fingerprint=fingerprint(info),
        vocabulary=info.vocabulary,
        n=sampling.n,
        prompt_token_ids=shown_token_ids(prompt.token_ids, info) if wire.return_token_ids else None,
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        tokens_as_ids=bool(wire.return_tokens_as_token_ids),
        service_tier="default" if wire.service_tier is not None else None,
        before=prompt.open_text if wire.echo or wire.continue_final_message else "",
        echoes=bool(wire.echo),
        shows_logprobs=sampling.logprobs is not None,
        id=f"chatcmpl-{wire.request_id or uuid.uuid4().hex}",
    )


def _form(prompt: Prompt, offered: OfferedTools, sampling: SamplingOptions) -> ToolForm | None:
    if prompt.start is None:
        return None
    names = tuple(tool.name for tool in offered.tools)
    return ToolForm(names, prompt.start, is_legacy=offered.is_legacy, stops=sampling.stop)
