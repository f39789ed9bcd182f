"""``POST /v1/completions``."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import Response

from qwenvl.api.chat.prompt import Prompt, shown_token_ids
from qwenvl.api.chat.translation import fingerprint
from qwenvl.api.completions.objects import Completion
from qwenvl.api.completions.prompt import read_prompts
from qwenvl.api.completions.schemas import DEFAULT_MAX_TOKENS, MAX_PROMPTS, CompletionRequest
from qwenvl.api.completions.translation import Wanted, collect, stream
from qwenvl.api.context import RequestContext
from qwenvl.api.gateway import Gateway
from qwenvl.api.merging import merged
from qwenvl.api.openapi import request_body
from qwenvl.api.operation import respond
from qwenvl.api.refused import COMPLETIONS
from qwenvl.api.routes.models import check_served
from qwenvl.api.sampling import check_prompt_logprobs, read_sampling, within_engine
from qwenvl.api.sse import DONE, ending_with_error
from qwenvl.api.structure import structure_of
from qwenvl.api.wire import check_stream_options
from qwenvl.engine import GenerationRequest, SamplingOptions, Structure
from qwenvl.errors import UserError

PATH = "/v1/completions"


def completions_routes(completions: "Completions") -> APIRouter:
    router = APIRouter(tags=["completions"])

    @router.post(PATH, response_model=Completion, openapi_extra={"requestBody": request_body(PATH, CompletionRequest)})
    async def create_completion(request: Request) -> Response:
        """Go on with one prompt or several, at once or as server-sent events."""
        return await respond(request, completions)

    return router


class Completions:
    """From a wire request to the engine and back."""

    path = PATH
    wire = CompletionRequest

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def check(self, wire: CompletionRequest) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: another model is asked for, or something that is not supported.
        """
        check_served(wire.model, self._gateway.engine)
        COMPLETIONS.check(wire.model_extra)
        check_stream_options(wire)
        check_prompt_logprobs(wire, wire.stream)
        n = wire.n or 1
        if wire.best_of not in (None, n):
            _refuse("best_of", f"must be n, which is {n}, or be left out: every answer is returned")
        if wire.max_tokens == 0 and not wire.echo:
            _refuse("max_tokens", "must be at least 1, or 0 with echo, to have the prompt alone")
        if (n_prompts := len(wire.prompts())) * n > MAX_PROMPTS:
            _refuse("prompt", f"asks for {n_prompts * n} choices, and one request may ask for {MAX_PROMPTS}")

    async def answer(self, wire: CompletionRequest, context: RequestContext) -> Completion:
        async with self._gateway.admitted(context):
            requests, wanted = await self._prepare(wire, context)
            async with aclosing(merged([self._gateway.steps(request, context) for request in requests])) as steps:
                return await collect(steps, wanted)

    async def events(self, wire: CompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        """The answer's chunks. Errors before the first are raised, errors after it are the last event."""
        async with aclosing(ending_with_error(self._chunks(wire, context), DONE)) as events:
            async for event in events:
                yield event

    async def _chunks(self, wire: CompletionRequest, context: RequestContext) -> AsyncGenerator[str]:
        async with self._gateway.admitted(context):
            requests, wanted = await self._prepare(wire, context)
            async with (
                aclosing(merged([self._gateway.steps(request, context) for request in requests])) as steps,
                aclosing(stream(steps, wanted)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk.model_dump_json(exclude_unset=True)

    async def _prepare(
        self, wire: CompletionRequest, context: RequestContext
    ) -> tuple[list[GenerationRequest], Wanted]:
        """Everything that can be refused, the cheap before the dear: fields, prompts, images."""
        info, settings = self._gateway.info, self._gateway.settings
        prompts = await read_prompts(wire, info, max_images=settings.max_images)
        structure = await structure_of(wire)
        options = [self._read_sampling(wire, prompt, structure) for prompt in prompts]
        references = [reference for prompt in prompts for reference in prompt.images]
        pictures = iter(await self._gateway.images.load(references, info.image_size))
        requests = [
            GenerationRequest(
                f"cmpl-{uuid.uuid4().hex}",
                prompt.token_ids,
                tuple(next(pictures).image for _ in prompt.images),
                sampling,
                priority=context.priority + (wire.priority or 0),
                cache_salt=wire.cache_salt,
                trace_headers=context.trace_headers,
                adapter=self._gateway.adapter_of(wire.model),
            )
            for prompt, sampling in zip(prompts, options, strict=True)
        ]
        return requests, self._read_wanted(wire, prompts, options[0])

    def _read_sampling(self, wire: CompletionRequest, prompt: Prompt, structure: Structure | None) -> SamplingOptions:
        info = self._gateway.info
        max_tokens = DEFAULT_MAX_TOKENS if wire.max_tokens is None else wire.max_tokens
        logprobs = within_engine("logprobs", wire.logprobs, info)
        asked = [count for count in (wire.prompt_logprobs, logprobs if wire.echo else None) if count is not None]
        return read_sampling(
            wire,
            info,
            prompt_tokens=prompt.length,
            max_n=self._gateway.settings.max_n,
            # The engine cannot but generate: what nobody asked for is not shown.
            max_tokens={"max_tokens": max(max_tokens, 1)},
            logprobs=logprobs,
            prompt_logprobs=max(asked, default=None),
            structure=structure,
            prompt_param="prompt",
        )

    def _read_wanted(self, wire: CompletionRequest, prompts: list[Prompt], sampling: SamplingOptions) -> Wanted:
        info = self._gateway.info
        return Wanted(
            id=f"cmpl-{wire.request_id or uuid.uuid4().hex}",
            model=wire.model,
            system_fingerprint=fingerprint(info),
            vocabulary=info.vocabulary,
            n=sampling.n,
            prompts=tuple(shown_token_ids(prompt.token_ids, info) for prompt in prompts),
            echoes=tuple(info.vocabulary.decode(prompt.token_ids) if wire.echo else None for prompt in prompts),
            logprobs=sampling.logprobs,
            prompt_logprobs=wire.prompt_logprobs,
            only_prompt=wire.max_tokens == 0,
            with_token_ids=bool(wire.return_token_ids),
            tokens_as_ids=bool(wire.return_tokens_as_token_ids),
            skip_control=sampling.skip_control,
            include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        )


def _refuse(param: str, reason: str) -> None:
    raise UserError(f"{param} {reason}.", param=param, code="invalid_value")
