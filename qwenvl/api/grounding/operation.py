"""``POST /v1/grounding``: pictures and phrases in, boxes out; all of it as one batch on the engine."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from anyio import to_thread

from qwenvl.api.chat.prompt import check_image_count, check_server_limit
from qwenvl.api.context import RequestContext
from qwenvl.api.gateway import Gateway
from qwenvl.api.grounding.annotating import annotated
from qwenvl.api.grounding.findings import FindingsReader, grounding_in, with_confidences
from qwenvl.api.grounding.objects import (
    BoxObject,
    GroundingResponse,
    QuadObject,
    SearchedPicture,
    SearchResult,
    SearchUsage,
)
from qwenvl.api.grounding.schemas import GroundingOptions, GroundingRequest, Unit
from qwenvl.api.grounding.searching import (
    DEFAULT_MAX_BOXES,
    FREE_TOKENS,
    TOKENS_PER_BOX,
    Search,
    boxes_structure,
    read_searches,
    references_of,
)
from qwenvl.api.media.loader import Picture
from qwenvl.api.media.references import ImageReference
from qwenvl.api.merging import merged
from qwenvl.api.refused import GROUNDING
from qwenvl.api.routes.models import check_served
from qwenvl.api.sampling import read_sampling
from qwenvl.api.wire import SamplingFields
from qwenvl.chat import PromptFormat
from qwenvl.engine import Delta, FinishReason, GenerationRequest, SamplingOptions, Step, Usage
from qwenvl.errors import EngineError, UserError

PATH = "/v1/grounding"


class GroundingSearch:
    """From a wire request to the engine and back."""

    path = PATH
    wire = GroundingRequest

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def check(self, wire: GroundingRequest) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: another model is asked for, or something that is not supported.
        """
        check_served(wire.model, self._gateway.engine)
        GROUNDING.check(wire.model_extra)

    async def answer(self, wire: GroundingRequest, context: RequestContext) -> GroundingResponse:
        """Find every phrase in every picture.

        Raises:
            UserError: the request is refused.
            EngineError: the engine failed.
        """
        async with self._gateway.admitted(context):
            searches, references = await to_thread.run_sync(self._read, wire)
            options = [self._read_sampling(wire, search) for search in searches]
            pictures = await self._gateway.images.load(
                references, self._gateway.info.image_size, keep_files=bool(wire.annotated)
            )
            answers = [
                self._begin(wire, context, search, pictures, sampling)
                for search, sampling in zip(searches, options, strict=True)
            ]
            usage = await self._run(answers, context)
            return GroundingResponse(
                id=f"grounding-{uuid.uuid4().hex}",
                object="grounding",
                created=int(time.time()),
                model=wire.model,
                results=[answer.result() for answer in answers],
                images=await self._show(wire, pictures, answers),
                usage=usage,
            )

    def _read(self, wire: GroundingRequest) -> tuple[list[Search], Sequence[ImageReference]]:
        info = self._gateway.info
        references = references_of(wire)
        # Each is in a prompt of its own, so the model's own limit is one; but a request may hold no more than others.
        check_image_count(references[:1], info, self._gateway.settings.max_images)
        check_server_limit(references, self._gateway.settings.max_images)
        chosen = wire.chat_template_kwargs and wire.chat_template_kwargs.chat_format
        prompt_format = PromptFormat(chosen) if chosen else info.prompt_format
        return read_searches(wire, len(references), prompt_format, info), references

    def _read_sampling(self, wire: GroundingRequest, search: Search) -> SamplingOptions:
        max_boxes = wire.max_boxes or DEFAULT_MAX_BOXES
        least = TOKENS_PER_BOX * max_boxes if wire.constrained else 1
        default = TOKENS_PER_BOX * max_boxes + (0 if wire.constrained else FREE_TOKENS)
        max_tokens = wire.max_tokens or default
        if max_tokens < least:
            raise UserError(
                f"max_tokens must be at least {least} where constrained is true and max_boxes is {max_boxes}: a box "
                f"takes up to {TOKENS_PER_BOX}, and none is cut.",
                param="max_tokens",
                code="invalid_value",
            )
        info = self._gateway.info
        return read_sampling(
            _sampling_fields(wire),
            info,
            prompt_tokens=search.rendered.length(info.tokens_per_image),
            max_n=1,
            max_tokens={"max_tokens": max_tokens},
            structure=boxes_structure(max_boxes) if wire.constrained else None,
            prompt_param="phrases",
        )

    def _begin(
        self,
        wire: GroundingRequest,
        context: RequestContext,
        search: Search,
        pictures: Sequence[Picture],
        sampling: SamplingOptions,
    ) -> "_Answer":
        options = GroundingOptions(unit=wire.unit, confidence=wire.confidence)
        picture = pictures[search.image_index]
        grounding = grounding_in(options, picture, search.image_index, sampling, self._gateway.info.vocabulary)
        request = GenerationRequest(
            f"grounding-{uuid.uuid4().hex}",
            search.rendered.token_ids,
            (picture.image,),
            with_confidences(sampling, grounding),
            cache_salt=wire.cache_salt,
            priority=context.priority + (wire.priority or 0),
            trace_headers=context.trace_headers,
            adapter=self._gateway.adapter_of(wire.model),
        )
        reader = FindingsReader(grounding, search.begun)
        return _Answer(search, request, reader, grounding.unit, wire.max_boxes or DEFAULT_MAX_BOXES)

    async def _run(self, answers: Sequence["_Answer"], context: RequestContext) -> SearchUsage:
        """Have all of them answered. Their tokens are taken at once: half of them would be of no use."""
        info = self._gateway.info
        asked = sum(answer.search.rendered.length(info.tokens_per_image) for answer in answers)
        together = replace(answers[0].request.sampling, n=len(answers))
        async with self._gateway.limits.tokens(asked, together, context) as used:
            async with aclosing(merged([self._opening(answer, context) for answer in answers])) as steps:
                async for i, step in steps:
                    answers[i].add(step)
            usage = Usage(
                sum(answer.usage.prompt_tokens for answer in answers),
                sum(answer.usage.completion_tokens for answer in answers),
            )
            if used is not None:
                used.usage = usage
        return SearchUsage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        )

    @asynccontextmanager
    async def _opening(self, answer: "_Answer", context: RequestContext) -> AsyncIterator[AsyncIterator[Step]]:
        # Of its own, and only while it is its turn: the engine may change a picture.
        (image,) = answer.request.images
        request = replace(answer.request, images=(image.copy(),))
        async with self._gateway.steps(request, context, takes_tokens=False) as steps:
            yield steps

    async def _show(
        self, wire: GroundingRequest, pictures: Sequence[Picture], answers: Sequence["_Answer"]
    ) -> list[SearchedPicture]:
        shown: list[SearchedPicture] = []
        for i, picture in enumerate(pictures):
            size = SearchedPicture(width=picture.width, height=picture.height, orientation=picture.orientation)
            if wire.annotated:
                results = [answer.result() for answer in answers if answer.search.image_index == i]
                size.annotated = await annotated(picture, results, self._gateway.images)
            shown.append(size)
        return shown


def _sampling_fields(wire: GroundingRequest) -> SamplingFields:
    """The likeliest answer, as the published figures have it, where the request names no temperature."""
    fields = {name: getattr(wire, name) for name in ("temperature", "top_p", "top_k", "seed")}
    if wire.temperature is None:
        fields["temperature"] = 0.0
    return SamplingFields.model_validate(fields)


@dataclass(slots=True)
class _Answer:
    """The answer to one search while it grows."""

    search: Search
    request: GenerationRequest
    reader: FindingsReader
    unit: Unit
    max_boxes: int
    texts: list[str] = field(default_factory=list)
    boxes: list[BoxObject] = field(default_factory=list)
    quads: list[QuadObject] = field(default_factory=list)
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    finish_reason: FinishReason | None = None

    def add(self, step: Step) -> None:
        self.usage = step.usage
        for delta in step.deltas:
            self._add(delta)

    def _add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        for finding in self.reader.read(delta).findings:
            # An answer that goes on after its phrase's boxes tells of other things.
            if finding.index == 0 or not self.search.begun:
                self.boxes += finding.boxes
                self.quads += finding.quads
        self.finish_reason = delta.finish_reason or self.finish_reason

    def result(self) -> SearchResult:
        """What was found.

        Raises:
            EngineError: the steps ended before the answer did.
        """
        if self.finish_reason is None:
            raise EngineError("the engine stopped in the middle of an answer")
        return SearchResult(
            image_index=self.search.image_index,
            phrase=self.search.phrase,
            text="".join(self.texts),
            found=bool(self.boxes or self.quads),
            boxes=self.boxes[: self.max_boxes],
            quads=self.quads[: self.max_boxes],
            unit=self.unit,
            finish_reason=self.finish_reason,
        )
