"""What the API knows of an engine: a protocol and the messages that cross it.

Nothing here imports torch or vLLM, so the API and its tests run without either. ``engine.vllm_engine`` implements the
protocol on vLLM; ``tests/fake_engine.py`` implements it with a few lines of arithmetic.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import PIL.Image

from qwenvl.chat import PromptFormat, Vocabulary

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets where it names nothing: from ``generation_config.json``, else OpenAI's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None


StructureKind = Literal["json_object", "json_schema", "regex", "choice", "grammar"]


@dataclass(frozen=True, slots=True)
class Structure:
    """What an answer must look like: the engine lets only such tokens through.

    An answer cut by ``max_tokens`` or a stop string keeps to it as far as it goes. Control tokens are never part of it;
    grounding tags count as the text they show. JSON may hold a little white space between its parts.

    Attributes:
        kind: what ``value`` is.
        value: a JSON schema as JSON text, a regular expression, one of several answers, or an EBNF grammar; empty for
            any JSON object.
        param: the request field that asks for it; the engine's refusals name it.
    """

    kind: StructureKind
    value: str | tuple[str, ...] = ""
    param: str = "structured_outputs"


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How to sample one request's answers. Ranges are checked by whoever builds it, not here.

    Attributes:
        temperature: 0 is greedy.
        top_k: 0 keeps every token.
        min_p: least probability of a token, relative to the likeliest one's; 0 keeps every token.
        max_tokens: answer length in tokens, for each of the ``n`` answers.
        min_tokens: no stop token, and no stop string, ends the answer before it has this many.
        stop: the answer ends before the first of these strings.
        stop_token_ids: the answer ends with any of these tokens too.
        include_stop: show the stop string that ended the answer.
        logit_bias: added to the logits of these token ids.
        allowed_token_ids: only these can be generated, and stop tokens where they are among them; empty allows all.
        bad_words: texts whose tokens are not generated in a row, at the beginning or after a space; the same letters
            in other tokens are.
        logprobs: how many alternatives to report for each answer token besides the chosen one; None reports nothing.
        prompt_logprobs: the same for the tokens of the prompt, in the first step.
        structure: what the answer must look like. It ends where that is complete, whatever ``ignore_eos`` says.
        skip_control: leave control tokens out of the text.
        ignore_eos: run to ``max_tokens`` whatever the model says.
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    min_p: float = 0.0
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    structure: Structure | None = None
    skip_control: bool = True
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt and how to answer it.

    Attributes:
        request_id: unique among the requests in flight; the handle for :meth:`Engine.abort`.
        token_ids: the prompt, each image a pair ``<img> </img>`` (see :class:`qwenvl.chat.Rendered`).
        images: in the order of their pairs, of any mode and size. Images fitted to the model's size already
            (:func:`qwenvl.model_executor.pictures.fit_image`) cost the engine nothing.
        priority: requests of a lower number run first, 0 is interactive; work that can wait has 1 or more.
        cache_salt: requests of different salts share no blocks of the prefix cache.
        trace_headers: W3C trace context, under which the engine reports its own spans.
        adapter: name of the adapter to answer with; None is the model as it is. Requests of different adapters run in
            one batch and share no blocks of the prefix cache.
    """

    request_id: str
    token_ids: tuple[int, ...]
    images: tuple[PIL.Image.Image, ...]
    sampling: SamplingOptions
    priority: int = 0
    cache_salt: str | None = None
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and its log probability (natural logarithm) under the model."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class PositionLogprobs:
    """The chosen token at one position of the answer, and the likeliest ones, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one of the answers gained since the last delta. The last delta of each answer has a ``finish_reason``.

    Attributes:
        index: which of the ``n`` answers.
        text: never ends in the middle of a character or inside a possible stop string.
        token_ids: what was generated; ``text`` may lag behind it. Holds the stop token that ended the answer.
        logprobs: one entry a token of ``token_ids``, where asked for.
        stop_reason: the stop string that ended the answer, or the id of a stop token other than end-of-text.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. Image positions count as prompt tokens, as in the original's context length."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a generation: what is new, and the usage so far.

    Attributes:
        prompt_logprobs: in the first step, where asked for: one entry a prompt token, image positions too; the first
            token has none.
    """

    deltas: Sequence[Delta]
    usage: Usage
    prompt_logprobs: tuple[PositionLogprobs | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the engine serves.

    Attributes:
        names: the first is the model's own, the rest aliases.
        max_model_len: context in tokens, prompt and answer together.
        tokens_per_image: positions one image takes between its two tags; 0 where the model sees no images.
        image_size: side in pixels of the square that every image is fitted to; 0 where the model sees no images.
        max_images: most images in one prompt.
        max_logprobs: most alternatives reported for each token.
        prompt_format: ``chat_format`` of the checkpoint's ``generation_config.json``.
        versions: versions of the parts below, for ``/version``.
    """

    names: tuple[str, ...]
    vocabulary: Vocabulary
    vocab_size: int
    max_model_len: int
    tokens_per_image: int
    image_size: int
    max_images: int
    max_logprobs: int
    defaults: SamplingDefaults
    prompt_format: PromptFormat = PromptFormat.CHATML
    created: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """An adapter to serve: its name in requests, and the folder that PEFT saved it in."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that is served beside the model.

    Attributes:
        name: what requests call it.
        rank: the largest of its ranks.
        created: when it was loaded, in seconds since the epoch.
    """

    name: str
    rank: int
    created: int


class Engine(Protocol):
    """An engine that answers token prompts with images.

    Life: :meth:`start`, any number of concurrent :meth:`generate`, then :meth:`stop`. ``info`` is there after start.
    """

    @property
    def info(self) -> ModelInfo:
        """What is served."""

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """The adapters that requests can name, in the order of their loading."""

    @property
    def is_alive(self) -> bool:
        """True between a start that succeeded and a stop or the engine's death."""

    @property
    def in_flight(self) -> int:
        """Requests accepted and not finished, aborted ones not counted."""

    async def start(self) -> None:
        """Load the model and answer one request to warm up.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
            EngineError: the engine did not come up for another reason.
        """

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        """Answer one request.

        Closing the iterator (``aclose``, or cancelling the task that reads it) aborts the request and frees what it
        held. Deltas of the ``n`` answers come interleaved. It ends when every answer has its ``finish_reason``, or
        raises; after :meth:`abort` alone it may end before.

        Raises:
            UserError: the engine refuses this request and would take another.
            ModelNotFoundError: there is no such adapter, any more or yet.
            EngineBusyError: the engine is full and would take the same request later.
            EngineDeadError: the engine died; every request in flight gets this.
        """

    async def abort(self, request_id: str) -> None:
        """End a request; its ``generate`` iterator stops. Unknown ids are ignored."""

    async def load_adapter(
        self, source: AdapterSource, *, inside: Path | None = None, replace: bool = False
    ) -> Adapter:
        """Check an adapter and serve it. What is served is a copy: the folder may change or go afterwards.

        Args:
            source: where it is, and its name.
            inside: the folder must lie in this one, wherever links lead.
            replace: take the place of the adapter of that name. Requests that run on the old one finish on it.

        Raises:
            UserError: the folder is not inside, the name is taken, or there is no room for another.
            CheckpointError: the adapter does not fit the model; the message names it, the file and the field.
            EngineError: the engine failed to load it.
        """

    async def unload_adapter(self, name: str) -> None:
        """Serve an adapter no more. Requests that run on it finish; then its memory is freed.

        Raises:
            UserError: there is no such adapter.
        """

    async def running(self) -> int:
        """Requests the engine core itself holds, waiting or running: asked of the core, not counted here."""

    def metrics(self) -> bytes:
        """The engine's own metrics in Prometheus' text format; empty where it has none."""

    async def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the requests in flight to end; False where some are left.

        Returns at once where none are, or where the engine is dead.
        """

    async def stop(self) -> None:
        """End the engine; requests in flight end with :class:`EngineDeadError`. Safe to call twice."""

    async def wait_dead(self) -> None:
        """Return when the engine has died by itself; never returns after an orderly :meth:`stop`."""
