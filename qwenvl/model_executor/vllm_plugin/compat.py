"""Every place where the plugin reaches into vLLM instead of going through an interface, with its reason.

Tested on vLLM 0.32; 0.33 has every name used here, by its source. Each patch can go when vLLM offers a hook for what it
does.
"""

import functools
from typing import Any

import numpy as np
from vllm.exceptions import VLLMValidationError
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.platforms import current_platform
from vllm.renderers.registry import RENDERER_REGISTRY
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.registry import TokenizerRegistry
from vllm.v1.engine.core import EngineCore
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.config import TEXT_ARCHITECTURE, VISION_ARCHITECTURE, QWenConfig
from qwenvl.model_executor.rotary import prompt_bucket
from qwenvl.model_executor.tokenizer import QWenTokenizer
from qwenvl.model_executor.vllm_plugin.detokenizer import QWenDetokenizer
from qwenvl.model_executor.vllm_plugin.orphans import end_with_parent

TOKENIZER_MODE = "qwen"
"""Our own way to load the tokenizer, and a renderer of our own: vLLM chooses both by this one name."""

GRAMMAR_BACKEND = "xgrammar"
"""The one backend of structured output that gets our tokens' bytes."""


class QWenModelConfig(VerifyAndUpdateConfig):
    """What vLLM lets a model change or refuse in its configuration."""

    @staticmethod
    def verify_and_update_model_config(model_config: Any) -> None:
        """Choose our tokenizer mode where the user left it to vLLM; no tokenizer is loaded yet.

        Raises:
            ValueError: an option that Qwen models do not support.
        """
        if model_config.enable_prompt_embeds:
            raise ValueError("--enable-prompt-embeds is not supported for Qwen models: their vocabulary is fixed")
        if model_config.tokenizer_mode in ("auto", "hf"):
            model_config.tokenizer_mode = TOKENIZER_MODE

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        """Choose xgrammar where the user left the backend of structured output to vLLM.

        ``auto`` hands what xgrammar refuses to another backend, and one engine has but one: the first request decides.
        The others cannot read our tokenizer.

        Raises:
            ValueError: another backend was asked for.
        """
        config = vllm_config.structured_outputs_config
        if config.backend not in ("auto", GRAMMAR_BACKEND):
            raise ValueError(
                f"structured output of Qwen models needs the backend {GRAMMAR_BACKEND}, not {config.backend}"
            )
        config.backend = GRAMMAR_BACKEND


def apply() -> None:
    """Install the patches, once."""
    if hasattr(EngineCore, "count_unfinished_requests"):
        return
    end_with_parent()
    TokenizerRegistry.register(TOKENIZER_MODE, "qwenvl.model_executor.vllm_plugin.tokenizer", "ServedTokenizer")
    RENDERER_REGISTRY.register(TOKENIZER_MODE, "qwenvl.model_executor.vllm_plugin.renderer", "QWenRenderer")
    for architecture in (TEXT_ARCHITECTURE, VISION_ARCHITECTURE):
        MODELS_CONFIG_MAP[architecture] = QWenModelConfig
    EngineCore.count_unfinished_requests = _count_unfinished_requests
    IncrementalDetokenizer.from_new_request = _with_our_detokenizer(IncrementalDetokenizer.from_new_request)
    InputProcessor.__init__ = _stop_at_turn_ends(InputProcessor.__init__)
    InputProcessor.process_inputs = _salt_by_bucket(InputProcessor.process_inputs)
    SamplingParams.update_from_tokenizer = _bad_words_as_text(SamplingParams.update_from_tokenizer)
    XgrammarBackend.__post_init__ = _on_token_bytes(XgrammarBackend.__post_init__)


def _count_unfinished_requests(self: EngineCore) -> int:
    """Requests the core holds, for its clients to ask after: vLLM's own counts come with outputs only."""
    count: int = self.scheduler.get_num_unfinished_requests()
    return count


def _with_our_detokenizer(from_new_request: Any) -> Any:
    """Detokenize with our vocabulary; vLLM chooses between two detokenizers of its own and takes no third."""

    @functools.wraps(from_new_request)
    def wrapper(tokenizer: Any, request: Any) -> Any:
        if isinstance(tokenizer, QWenTokenizer):
            return QWenDetokenizer(tokenizer.vocabulary, request)
        return from_new_request(tokenizer, request)

    return staticmethod(wrapper)


def _stop_at_turn_ends(init: Any) -> Any:
    """End answers at ``<|im_end|>`` and ``<|im_start|>``: released generation configs name ``<|endoftext|>`` alone."""

    @functools.wraps(init)
    def wrapper(self: InputProcessor, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if isinstance(self.tokenizer, QWenTokenizer):
            fields = self.generation_config_fields
            named = fields.get("eos_token_id") or []
            stop_ids = {*([named] if isinstance(named, int) else named), *self.tokenizer.vocabulary.stop_ids}
            self.generation_config_fields = {**fields, "eos_token_id": sorted(stop_ids)}

    return wrapper


def _salt_by_bucket(process_inputs: Any) -> Any:
    """Keep prompts of different dynamic-NTK buckets apart in the prefix cache.

    KV computed under one alpha is wrong under another, and vLLM's block hashes know tokens, images, adapters and the
    salt, but no positions. Every entry point goes through ``process_inputs``; a user's own salt stays part of it.
    """

    @functools.wraps(process_inputs)
    def wrapper(self: InputProcessor, *args: Any, **kwargs: Any) -> Any:
        config = self.model_config.hf_config
        if not isinstance(config, QWenConfig):
            return process_inputs(self, *args, **kwargs)
        if kwargs.get("resumable"):
            raise VLLMValidationError(
                "Qwen models take no input in pieces: their rotary base is fixed by the length of the whole prompt"
            )
        request = process_inputs(self, *args, **kwargs)
        bucket = prompt_bucket(config, len(request.prompt_token_ids))
        if bucket or request.cache_salt:
            # The bucket stands in front of every user's salt, so that no salt can pass for a bucket.
            request.cache_salt = f"{bucket}|{request.cache_salt or ''}"
        return request

    return wrapper


class _TextEncoder:
    """A tokenizer to whom no control token is one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.max_token_id = vocabulary.size - 1

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._vocabulary.encode_text(text)


def _bad_words_as_text(update_from_tokenizer: Any) -> Any:
    """Read ``bad_words`` as the text they are.

    vLLM gives them to the tokenizer like a prompt, where ``<|im_end|>`` is the token: with it banned no answer ends.
    """

    @functools.wraps(update_from_tokenizer)
    def wrapper(self: SamplingParams, tokenizer: Any) -> None:
        if isinstance(tokenizer, QWenTokenizer):
            tokenizer = _TextEncoder(tokenizer.vocabulary)
        update_from_tokenizer(self, tokenizer)

    return wrapper


def _on_token_bytes(post_init: Any) -> Any:
    """Give xgrammar the bytes of our tokens.

    It would take the vocabulary's strings and count control tokens as the text of their names, so that a free string
    could hold ``<img>`` or an invisible ``<|extra_0|>``. vLLM has no way to hand it anything but a tokenizer.
    """

    @functools.wraps(post_init)
    def wrapper(self: XgrammarBackend) -> None:
        # Imported late, as vLLM does: no engine pays for it before the first structured request.
        import xgrammar

        info: Any = xgrammar.TokenizerInfo
        if isinstance(self.tokenizer, QWenTokenizer) and not hasattr(info.from_huggingface, "__wrapped__"):
            info.from_huggingface = staticmethod(_of_our_tokenizer(info.from_huggingface))
        post_init(self)

    return wrapper


def _of_our_tokenizer(from_huggingface: Any) -> Any:
    @functools.wraps(from_huggingface)
    def wrapper(tokenizer: Any, *, vocab_size: int | None = None, **options: Any) -> Any:
        from qwenvl.model_executor.grammar import tokenizer_info

        if isinstance(tokenizer, QWenTokenizer):
            return tokenizer_info(tokenizer.vocabulary, vocab_size or tokenizer.vocabulary.size)
        return from_huggingface(tokenizer, vocab_size=vocab_size, **options)

    return wrapper


def reserve_base_slot() -> None:
    """On CPUs, give LoRA layers one slot more than they have adapters, and leave it empty.

    The CPU kernels index the slots with -1 for requests without an adapter, which is the last slot: with as many
    adapters loaded as there are slots, base requests would get the last adapter. GPU kernels skip -1.
    """
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
    from vllm.lora.layers.column_parallel_linear import MergedColumnParallelLinearWithLoRA

    if not current_platform.is_cpu():
        return
    for layer in (BaseLinearLayerWithLoRA, MergedColumnParallelLinearWithLoRA):
        if not hasattr(layer.create_lora_weights, "__wrapped__"):
            layer.create_lora_weights = _with_extra_slot(layer.create_lora_weights)


def _with_extra_slot(create_lora_weights: Any) -> Any:
    @functools.wraps(create_lora_weights)
    def wrapper(self: Any, max_loras: int, *args: Any, **kwargs: Any) -> None:
        create_lora_weights(self, max_loras + 1, *args, **kwargs)

    return wrapper


def keep_seeds_of_unfinished_prompts() -> None:
    """On CPUs, leave a request's generator alone until its whole prompt is read.

    A prompt read in chunks samples a token after each and throws all but the last away. vLLM then turns the seeded
    generator back by an offset, which CPU generators do not have: the engine would die of any long prompt with a seed.
    """
    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    if hasattr(CPUModelRunner._sample, "__wrapped__"):
        return
    CPUModelRunner._sample = _without_unfinished_seeds(CPUModelRunner._sample)
    CPUModelRunner._bookkeeping_sync = _without_unfinished_seeds(CPUModelRunner._bookkeeping_sync)


def _without_unfinished_seeds(method: Any) -> Any:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        generators = self.input_batch.generators
        unfinished = np.flatnonzero(self.discard_request_mask.np[: self.input_batch.num_reqs]).tolist()
        aside = {row: generators.pop(row) for row in unfinished if row in generators}
        try:
            return method(self, *args, **kwargs)
        finally:
            generators.update(aside)

    return wrapper
