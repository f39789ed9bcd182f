"""Every place where the plugin reaches into vLLM instead of going through an interface, with its reason.

Checked against vLLM 0.32 and 0.33. Each patch can go when vLLM offers a hook for what it does.
"""

import functools
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.v1.engine.input_processor import InputProcessor

from qwenvl.model_executor.config import TEXT_ARCHITECTURE, VISION_ARCHITECTURE, QWenConfig
from qwenvl.model_executor.rotary import prompt_bucket


def apply() -> None:
    """Install the patches, once."""
    for architecture in (TEXT_ARCHITECTURE, VISION_ARCHITECTURE):
        MODELS_CONFIG_MAP.setdefault(architecture, QWenEngineConfig)
    if not hasattr(InputProcessor.process_inputs, "_salts_by_bucket"):
        InputProcessor.process_inputs = _salt_by_bucket(InputProcessor.process_inputs)


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
        if request.prompt_token_ids is not None:
            bucket = prompt_bucket(config, len(request.prompt_token_ids))
            if bucket:
                request.cache_salt = f"{request.cache_salt or ''}|dynamic-ntk-{bucket}"
        return request

    wrapper._salts_by_bucket = True  # type: ignore[attr-defined]
    return wrapper


class QWenEngineConfig(VerifyAndUpdateConfig):
    """Adjustments vLLM lets a model make to its configuration, by architecture."""

    @staticmethod
    def verify_and_update_model_config(model_config: Any) -> None:
        """Nothing to adjust on the model's side yet."""
