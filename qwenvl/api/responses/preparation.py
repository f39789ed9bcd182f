"""From a request for a response to one for the engine: everything that can be refused, the cheap before the dear."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from qwenvl.api.chat.prompt import Prompt, read_prompt
from qwenvl.api.chat.reading import ToolForm
from qwenvl.api.chat.tools import OfferedTools, refuse_structured, stop_before_observation
from qwenvl.api.context import INTERACTIVE, RequestContext
from qwenvl.api.gateway import Gateway
from qwenvl.api.grounding.findings import Grounding, read_grounding, refuse_tools, size_of, with_confidences
from qwenvl.api.grounding.objects import SizeObject
from qwenvl.api.responses.conversation import Conversation
from qwenvl.api.responses.header import begin_response
from qwenvl.api.responses.items import PlacedItem, count_images, read_items, referenced_ids
from qwenvl.api.responses.objects import Response
from qwenvl.api.responses.prompt import read_truncated
from qwenvl.api.responses.schemas import LOGPROBS, CreateResponseRequest
from qwenvl.api.responses.store import PreviousResponseNotFoundError, ResponseStore, StoredItem
from qwenvl.api.responses.structure import response_structure_of
from qwenvl.api.responses.tools import read_response_tools
from qwenvl.api.sampling import read_logprobs, read_sampling
from qwenvl.chat import PromptFormat
from qwenvl.engine import GenerationRequest
from qwenvl.errors import UserError

FREE_FOR_ANSWERS = 4
"""One part in so many of the context stays free where turns are left out: the original leaves 2,048 of 8,192 tokens."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that nothing is wrong with.

    Attributes:
        response: before it has an output.
        request: for the engine.
        form: where the answer may hold calls.
        grounding: how findings are told; None where none are.
        shows_logprobs: off where they were asked of the engine for confidences alone.
        input: the conversation that it answers.
    """

    response: Response
    request: GenerationRequest
    form: ToolForm | None
    grounding: Grounding | None
    shows_logprobs: bool
    input: tuple[StoredItem, ...]


async def prepare(
    wire: CreateResponseRequest, context: RequestContext, gateway: Gateway, store: ResponseStore
) -> Prepared:
    """Read the conversation, make its prompt, load its images.

    Raises:
        UserError: something about the request cannot be; ``param`` is the field.
    """
    info, settings = gateway.info, gateway.settings
    structure = await response_structure_of(wire)
    offered = await read_response_tools(wire)
    refuse_structured(offered, structure)
    before = _previous_items(wire, context, store)
    items = [*before, *await _read_input(wire, context, store)]
    prompts = _Prompts(wire, gateway, offered)
    kept, prompt = await prompts.read(items)
    sampling = read_sampling(
        wire,
        info,
        prompt_tokens=prompt.length,
        max_n=1,
        max_tokens={"max_output_tokens": wire.max_output_tokens},
        logprobs=read_logprobs(_wants_logprobs(wire), wire.top_logprobs, info),
        structure=offered.structure or structure,
        prompt_param="input",
    )
    form = None
    refuse_tools(wire.grounding, offers_tools=prompt.start is not None)
    if prompt.start is not None:
        form = ToolForm(tuple(tool.name for tool in offered.tools), prompt.start)
        sampling = stop_before_observation(sampling)
    pictures = await gateway.images.load(prompt.images, info.image_size)
    if prompt.needs_sizes:
        prompt = await prompts.prompt_of(kept, [size_of(picture) for picture in pictures])
    grounding = read_grounding(
        wire.grounding, pictures, sampling, info.vocabulary, left_out=count_images(items) - len(pictures)
    )
    # Work that can wait must not push out what others go on from.
    is_stored = wire.store is not False and context.priority == INTERACTIVE and settings.max_stored_responses > 0
    response = begin_response(wire, sampling, is_stored=is_stored)
    request = GenerationRequest(
        response.id,
        prompt.token_ids,
        tuple(picture.image for picture in pictures),
        with_confidences(sampling, grounding),
        priority=context.priority + (wire.priority or 0),
        cache_salt=wire.cache_salt,
        trace_headers=context.trace_headers,
        adapter=gateway.adapter_of(wire.model),
    )
    return Prepared(
        response,
        request,
        form,
        grounding,
        shows_logprobs=sampling.logprobs is not None,
        input=tuple(before.get(item) or StoredItem.of(item.item) for item in kept),
    )


def _previous_items(
    wire: CreateResponseRequest, context: RequestContext, store: ResponseStore
) -> dict[PlacedItem, StoredItem]:
    """What was said before, oldest first."""
    if wire.previous_response_id is None:
        return {}
    previous = store.find(context.caller.name, wire.previous_response_id)
    if previous is None:
        raise PreviousResponseNotFoundError(wire.previous_response_id)
    return {PlacedItem(stored.item, "previous_response_id"): stored for stored in previous.conversation}


async def _read_input(
    wire: CreateResponseRequest, context: RequestContext, store: ResponseStore
) -> Iterable[PlacedItem]:
    found = {item_id: store.find_item(context.caller.name, item_id) for item_id in referenced_ids(wire.input)}
    stored = {item_id: item for item_id, item in found.items() if item is not None}
    return await anyio.to_thread.run_sync(read_items, wire.input, stored)


def _wants_logprobs(wire: CreateResponseRequest) -> bool:
    return LOGPROBS in (wire.include or ()) or bool(wire.top_logprobs)


class _Prompts:
    """Makes prompts of items."""

    def __init__(self, wire: CreateResponseRequest, gateway: Gateway, offered: OfferedTools) -> None:
        chosen = wire.chat_template_kwargs and wire.chat_template_kwargs.chat_format
        self._wire = wire
        self._offered = offered
        self._info = gateway.info
        self._format = PromptFormat(chosen) if chosen else gateway.info.prompt_format
        self._max_images = gateway.settings.max_images
        self._n_images = 0

    async def read(self, items: Sequence[PlacedItem]) -> tuple[Sequence[PlacedItem], Prompt]:
        """The prompt, and the items that are in it: all, unless the request lets the oldest be left out."""
        self._n_images = count_images(items)
        if self._wire.truncation != "auto":
            return items, await self.prompt_of(items)
        context = self._info.max_model_len
        answer = self._wire.max_output_tokens or context // FREE_FOR_ANSWERS
        return await read_truncated(items, self.prompt_of, room=context - answer)

    async def prompt_of(self, items: Sequence[PlacedItem], sizes: Sequence[SizeObject] | None = None) -> Prompt:
        """The prompt of these items; ``sizes`` are those of their pictures, once they are loaded."""
        conversation = await anyio.to_thread.run_sync(Conversation, items, self._wire.instructions)
        try:
            prompt = await read_prompt(
                conversation.messages,
                self._info,
                self._format,
                max_images=self._max_images,
                offered=self._offered,
                sizes=sizes,
                left_out=self._n_images - count_images(items),
            )
        except UserError as error:
            raise conversation.renamed(error) from None
        images = tuple(replace(image, param=conversation.rename(image.param)) for image in prompt.images)
        return replace(prompt, images=images)
