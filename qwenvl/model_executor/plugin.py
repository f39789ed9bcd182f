"""The vLLM plugin's entry point. vLLM calls it in each of its processes, more than once, before anything is loaded."""

import logging

_PLUGIN = "qwenvl.model_executor.vllm_plugin"

SUPPORTED_VLLM = ("0.32", "0.33")
"""Each minor version moves internals that ``compat`` builds on: a new one is added here when it has been tested."""


def register() -> None:
    """Teach transformers and vLLM about Qwen-VL. Idempotent; the models themselves are imported when first used."""
    import vllm

    if not vllm.__version__.startswith(SUPPORTED_VLLM):
        # Whoever has this package beside another vLLM may be running other models with it.
        message = "qwenvl does not know vLLM %s and leaves it alone; it supports %s"
        logging.getLogger(__name__).warning(message, vllm.__version__, " and ".join(SUPPORTED_VLLM))
        return

    from vllm import ModelRegistry

    from qwenvl.model_executor.config import TEXT_ARCHITECTURE, VISION_ARCHITECTURE
    from qwenvl.model_executor.vllm_plugin import compat

    # transformers' Auto classes know the checkpoints since the package was imported.
    models = {
        TEXT_ARCHITECTURE: f"{_PLUGIN}.language_model:QWenLMHeadModel",
        VISION_ARCHITECTURE: f"{_PLUGIN}.vision_language_model:QwenVLForConditionalGeneration",
    }
    registered = ModelRegistry.get_supported_archs()
    for architecture, path in models.items():
        if architecture not in registered:
            ModelRegistry.register_model(architecture, path)
    compat.apply()
