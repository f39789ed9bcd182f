"""The engine on vLLM's ``AsyncLLM``: start, warm-up, generate, abort, drain, and noticing when it dies."""

import asyncio
import contextlib
import copy
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import prometheus_client
import psutil
import torch
import transformers
import vllm
from vllm import AsyncEngineArgs
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.inputs import TokensPrompt
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError as VLLMEngineDeadError
from vllm.v1.engine.exceptions import EngineGenerateError
from vllm.v1.metrics.loggers import PrometheusStatLogger

import qwenvl
from qwenvl.chat import Image, Message, PromptFormat, render_chatml
from qwenvl.engine.checkpoint import ORIGINAL_FORMATS, read_config, verify_checkpoint
from qwenvl.engine.protocol import (
    Adapter,
    AdapterSource,
    GenerationRequest,
    ModelInfo,
    SamplingDefaults,
    SamplingOptions,
    Step,
)
from qwenvl.engine.structure import StructureChecker
from qwenvl.engine.vllm_adapters import VLLMAdapters
from qwenvl.engine.vllm_outputs import StepReader, is_aborted, sampling_params
from qwenvl.errors import CheckpointError, EngineBusyError, EngineDeadError, EngineError, UserError
from qwenvl.model_executor import plugin
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.tokenizer import QWenTokenizer
from qwenvl.model_executor.vllm_plugin import orphans

DEATH_POLL_SECONDS = 0.25


OUTPUTS_AT_ONCE = 32
"""Answers that a step moves on between two rounds of the event loop. By vLLM's own 128 each round takes four times as
long, and so does whatever else waits for its turn."""


class VLLMEngine:
    """Implements :class:`qwenvl.engine.Engine`.

    Args:
        args: vLLM's own engine arguments; ``model`` is a directory or a hub name. Adapters need ``enable_lora``.
        adapters: those to serve from the start.
    """

    def __init__(self, args: AsyncEngineArgs, adapters: Sequence[AdapterSource] = ()) -> None:
        self._args = args
        self._max_adapters = (args.max_cpu_loras or args.max_loras) if args.enable_lora else 0
        self._adapters = VLLMAdapters(adapters, self._max_adapters, args.max_lora_rank, self._ask_core)
        self._llm: AsyncLLM | None = None
        self._info: ModelInfo | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._dead = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._structures: StructureChecker | None = None

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        if self._info is None:
            raise EngineError("the engine has not started")
        return self._info

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """The adapters that requests can name."""
        return self._adapters.adapters

    @property
    def is_alive(self) -> bool:
        """True between a start that succeeded and a stop or the engine's death."""
        return self._info is not None and self._llm is not None and not self._llm.errored

    @property
    def in_flight(self) -> int:
        """Requests accepted and not finished."""
        return self._in_flight

    async def start(self) -> None:
        """Load the model and answer one request."""
        plugin.register()
        # Here already if it can be: mistakes of adapters cost seconds then.
        config = await asyncio.to_thread(self._verify_files)
        if config is not None:
            await asyncio.to_thread(self._adapters.prepare, config, _names(self._args))
        try:
            self._llm = await self._load()
            info = _describe(self._llm, self._args)
            if config is None:
                await asyncio.to_thread(self._adapters.prepare, self._llm.model_config.hf_config, info.names)
            self._structures = StructureChecker(self._llm.get_tokenizer().vocab_file, info.vocab_size)
            self._watcher = asyncio.create_task(self._watch(), name="engine-watcher")
            await self._adapters.start()
            await self._warm_up(info)
            # Ahead of the first structure, which would wait for it for seconds.
            await self._structures.start()
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(f"the engine did not start: {error}") from error
        self._info = info

    async def _load(self) -> AsyncLLM:
        os.environ[orphans.VARIABLE] = "1"
        os.environ.setdefault("VLLM_V1_OUTPUT_PROC_CHUNK_SIZE", str(OUTPUTS_AT_ONCE))
        args = copy.copy(self._args)
        if self._max_adapters:
            # One more than there may be: see AdapterTable.
            args.max_cpu_loras = self._max_adapters + 1
        loading = asyncio.ensure_future(asyncio.to_thread(AsyncLLM.from_engine_args, args))
        try:
            llm = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # Loading cannot be called off, but it fails at once when its processes are gone.
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            await asyncio.wait([loading])
            if loading.exception() is None:
                await asyncio.to_thread(loading.result().shutdown)
            raise
        _without_adapter_names(llm)
        return llm

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        """Answer one request; closing the iterator aborts it."""
        llm = self._running_llm()
        with self._counted(), _translated_errors(), self._adapters.used(request.adapter) as adapter:
            structure = None
            if request.sampling.structure is not None:
                assert self._structures is not None
                structure = await self._structures.check(request.sampling.structure)
            prompt = await self._prepare(llm, request)
            reader = StepReader(request.sampling)
            outputs = llm.generate(
                prompt,
                sampling_params(request.sampling, structure),
                request.request_id,
                lora_request=adapter,
                trace_headers=request.trace_headers or None,
                priority=request.priority,
            )
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    if is_aborted(output):
                        return
                    yield reader.read(output)

    async def abort(self, request_id: str) -> None:
        """End a request; unknown ids are ignored."""
        if self._llm is not None and not self._llm.errored:
            await self._llm.abort(request_id)

    async def load_adapter(
        self, source: AdapterSource, *, inside: Path | None = None, replace: bool = False
    ) -> Adapter:
        """Check an adapter and serve it."""
        self._running_llm()
        return await self._adapters.load(source, self.info.names, inside=inside, replace=replace)

    async def unload_adapter(self, name: str) -> None:
        """Serve an adapter no more."""
        self._running_llm()
        await self._adapters.unload(name)

    async def running(self) -> int:
        """Requests the engine core holds, waiting or running."""
        if self._llm is None or self._llm.errored:
            return 0
        counts: list[int] = await self._ask_core("count_unfinished_requests")
        return sum(counts)

    def metrics(self) -> bytes:
        """VLLM's metrics, which it keeps in the process's default registry."""
        return prometheus_client.generate_latest()

    async def drain(self, timeout: float) -> bool:
        """Wait for the requests in flight to end; False where some are left."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End the engine."""
        await self._adapters.stop()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._structures is not None:
            await self._structures.stop()
        if self._llm is not None:
            llm, self._llm = self._llm, None
            # In this order: vLLM's own would log the death of an engine that was told to stop.
            llm.output_processor.propagate_error(VLLMEngineDeadError())
            if llm.output_handler is not None:
                llm.output_handler.cancel()
            await asyncio.to_thread(llm.shutdown)

    async def wait_dead(self) -> None:
        """Return when the engine has died by itself."""
        await self._dead.wait()

    def _running_llm(self) -> AsyncLLM:
        if self._llm is None or self._llm.errored:
            raise EngineDeadError("the engine is not running")
        return self._llm

    def _verify_files(self) -> QWenConfig | None:
        """Check what lies on this machine; the model's configuration, if that does."""
        args = self._args
        if args.model.startswith(("/", "./", "../", "~")) and not Path(args.model).is_dir():
            raise CheckpointError(f"there is no directory {args.model}")
        if args.hf_config_path or args.hf_overrides:
            return None
        check_tensors = args.load_format in ORIGINAL_FORMATS and args.quantization is None
        verify_checkpoint(args.model, tokenizer=args.tokenizer, check_tensors=check_tensors)
        folder = Path(args.model)
        return read_config(folder / "config.json") if folder.is_dir() else None

    async def _ask_core(self, method: str, *arguments: Any) -> list[Any]:
        """What a method of each engine core answers; vLLM has some ask one of several data-parallel ones.

        Raises:
            EngineDeadError: the engine died meanwhile. vLLM would wait for its answer forever.
        """
        core = self._running_llm().engine_core
        asking = asyncio.ensure_future(core.call_utility_all_async(method, *arguments))
        dying = asyncio.create_task(self._dead.wait())
        try:
            await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise EngineDeadError("the engine died")
            with _translated_errors():
                return asking.result()
        finally:
            asking.cancel()
            dying.cancel()

    async def _watch(self) -> None:
        # vLLM's monitor thread sets a flag and offers nothing to wait on.
        assert self._llm is not None
        while not self._llm.errored:  # noqa: ASYNC110
            await asyncio.sleep(DEATH_POLL_SECONDS)
        self._dead.set()

    async def _warm_up(self, info: ModelInfo) -> None:
        picture = PIL.Image.new("RGB", (64, 64), "white")
        parts = [Image(picture), "Hello"] if info.tokens_per_image else ["Hello"]
        prompt = render_chatml([Message.of("user", *parts)], info.vocabulary)
        sampling = SamplingOptions(temperature=0.0, top_p=1.0, top_k=0, max_tokens=2, ignore_eos=True)
        images = (picture,) if info.tokens_per_image else ()
        async for _ in self.generate(GenerationRequest("warm-up", prompt.token_ids, images, sampling)):
            pass

    async def _prepare(self, llm: AsyncLLM, request: GenerationRequest) -> Any:
        prompt = TokensPrompt(prompt_token_ids=list(request.token_ids))
        if request.images:
            prompt["multi_modal_data"] = {"image": list(request.images)}
        if request.cache_salt:
            prompt["cache_salt"] = request.cache_salt
        # Without skip_mm_cache vLLM leaves out the pixels of images it has sent before. A request that is cancelled on
        # its way would count as sent, and the next one with that image would fail.
        (engine_input,) = await llm.renderer.render_cmpl_async([prompt], skip_mm_cache=True)
        return engine_input

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()


def _without_adapter_names(llm: AsyncLLM) -> None:
    """Drop vLLM's gauge of adapters: it keeps a series for every set of names that ever ran together."""
    for stat_logger in llm.logger_manager.stat_loggers if llm.logger_manager else ():
        if isinstance(stat_logger, PrometheusStatLogger):
            stat_logger.gauge_lora_info = None


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except VLLMEngineDeadError as error:
        raise EngineDeadError("the engine died") from error
    except EngineGenerateError as error:
        raise EngineError("the engine failed on this request") from error
    except GracefulHTTPError as error:
        raise EngineBusyError(error.message) from error
    except VLLMClientError as error:
        # Its text goes on with the parameter and the whole value.
        raise UserError(str(error.args[0]), param=getattr(error, "parameter", None)) from error


def _describe(llm: AsyncLLM, args: AsyncEngineArgs) -> ModelInfo:
    model_config = llm.model_config
    config = model_config.hf_config
    tokenizer = llm.get_tokenizer()
    if not isinstance(config, QWenConfig) or not isinstance(tokenizer, QWenTokenizer):
        raise EngineError(f"{model_config.model} is not a first-generation Qwen model: its model_type must be 'qwen'")
    max_images = _max_images(model_config, config)
    return ModelInfo(
        names=_names(args),
        vocabulary=tokenizer.vocabulary,
        vocab_size=config.vocab_size,
        max_model_len=model_config.max_model_len,
        tokens_per_image=config.vision.n_queries if config.vision and max_images else 0,
        image_size=config.vision.image_size if config.vision and max_images else 0,
        max_images=max_images,
        max_logprobs=model_config.max_logprobs if model_config.max_logprobs >= 0 else config.vocab_size,
        defaults=_defaults(model_config.get_diff_sampling_param()),
        prompt_format=PromptFormat(model_config.try_get_generation_config().get("chat_format", PromptFormat.CHATML)),
        created=int(time.time()),
        versions={
            "qwenvl": qwenvl.__version__,
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )


def _names(args: AsyncEngineArgs) -> tuple[str, ...]:
    # vLLM keeps the first name alone.
    names = args.served_model_name or args.model
    return (names,) if isinstance(names, str) else tuple(names)


def _max_images(model_config: Any, config: QWenConfig) -> int:
    """As many as fit the context, or as the operator allows."""
    if config.vision is None or model_config.multimodal_config is None:
        return 0
    fitting = model_config.max_model_len // (config.vision.n_queries + len(("<img>", "</img>")))
    limit: int = min(fitting, model_config.multimodal_config.get_limit_per_prompt("image"))
    return limit


def _defaults(values: dict[str, Any]) -> SamplingDefaults:
    known = {name: values[name] for name in SamplingDefaults.__dataclass_fields__ if values.get(name) is not None}
    return SamplingDefaults(**known)
