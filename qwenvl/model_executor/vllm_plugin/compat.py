"""Every place where the plugin reaches into vLLM instead of going through an interface, with its reason.

Tested on vLLM 0.32; 0.33 has every name used here, by its source. Each patch can go when vLLM offers a hook for what it
does.
"""

import functools
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.platforms import current_platform
from vllm.renderers.registry import RENDERER_REGISTRY
from vllm.tokenizers.registry import TokenizerRegistry
from vllm.v1.engine.core import EngineCore
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.input_processor import InputProcessor

from qwenvl.model_executor.config import TEXT_ARCHITECTURE, VISION_ARCHITECTURE, QWenConfig
from qwenvl.model_executor.rotary import prompt_bucket
from qwenvl.model_executor.tokenizer import QWenTokenizer
from qwenvl.model_executor.vllm_plugin.detokenizer import QWenDetokenizer

TOKENIZER_MODE = "qwen"
"""The usual transformers tokenizer, with a renderer of our own: vLLM chooses both by this one name."""


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


def apply() -> None:
    """Install the patches, once."""
    if hasattr(EngineCore, "count_unfinished_requests"):
        return
    TokenizerRegistry.register(TOKENIZER_MODE, "vllm.tokenizers.hf", "CachedHfTokenizer")
    RENDERER_REGISTRY.register(TOKENIZER_MODE, "qwenvl.model_executor.vllm_plugin.renderer", "QWenRenderer")
    for architecture in (TEXT_ARCHITECTURE, VISION_ARCHITECTURE):
        MODELS_CONFIG_MAP[architecture] = QWenModelConfig
    EngineCore.count_unfinished_requests = _count_unfinished_requests
    IncrementalDetokenizer.from_new_request = _with_our_detokenizer(IncrementalDetokenizer.from_new_request)
    InputProcessor.__init__ = _stop_at_turn_ends(InputProcessor.__init__)
    InputProcessor.process_inputs = _salt_by_bucket(InputProcessor.process_inputs)


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
