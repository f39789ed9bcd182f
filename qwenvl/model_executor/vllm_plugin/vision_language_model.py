"""Qwen-VL on vLLM: the visual encoder's vectors take the place of image tokens in the language model.

Shape suffixes: B images, C, H, W pixels, Q vectors per image, F their channels.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_world_size
from vllm.model_executor.models.interfaces import SupportsMultiModal
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.vision import run_dp_sharded_vision_model
from vllm.multimodal import MULTIMODAL_REGISTRY

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.vision import VisionTransformer
from qwenvl.model_executor.vllm_plugin.language_model import QWenLMHeadModel
from qwenvl.model_executor.vllm_plugin.processing import (
    QwenVLDummyInputs,
    QwenVLMultiModalProcessor,
    QwenVLProcessingInfo,
)


@MULTIMODAL_REGISTRY.register_processor(
    QwenVLMultiModalProcessor, info=QwenVLProcessingInfo, dummy_inputs=QwenVLDummyInputs
)
class QwenVLForConditionalGeneration(QWenLMHeadModel, SupportsMultiModal):
    """A first-generation Qwen with eyes.

    The tower exists on every rank: tensor-parallel ranks each run it whole, or share the images out with
    ``mm_encoder_tp_mode="data"``; pipeline stages past the first need it for vLLM's memory profiling.
    """

    supports_encoder_tp_data: ClassVar[bool] = True
    embed_input_ids = SupportsMultiModal.embed_input_ids

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if self.config.vision is None:
            raise CheckpointError("config.json: visual is missing, so this is a text model and not a Qwen-VL")
        multimodal_config = vllm_config.model_config.multimodal_config
        self._shares_images: bool = (
            multimodal_config.mm_encoder_tp_mode == "data" and get_tensor_model_parallel_world_size() > 1
        )
        with self._mark_tower_model(vllm_config, "image"):  # type: ignore[operator]  # vLLM's types are not read
            self.visual = VisionTransformer(self.config.vision)

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What vLLM writes for an image where a chat template of one's own takes contents as strings."""
        return f"Picture {i}: <img></img>" if modality == "image" else None

    def get_language_model(self) -> torch.nn.Module:
        """The module that embeds tokens."""
        return self.transformer

    def get_mm_mapping(self) -> MultiModelKeys:
        """Which modules LoRA may touch: those of the language model."""
        return MultiModelKeys.from_string_field(language_model="transformer", tower_model="visual")

    def embed_multimodal(self, **kwargs: Any) -> Iterable[Tensor]:
        """Vectors (Q, F) of each image in ``pixel_values``, uint8 (B, 3, H, W)."""
        pixels_BCHW: Tensor | None = kwargs.get("pixel_values")
        if pixels_BCHW is None:
            return ()
        if self._shares_images:
            return run_dp_sharded_vision_model(pixels_BCHW, self.visual).unbind(0)
        return self.visual(pixels_BCHW).unbind(0)
