"""Images into vLLM: pixels, placeholders and the checks that keep the two in step."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import PIL.Image
import torch
from transformers import BatchFeature
from vllm.config.multimodal import BaseDummyOptions
from vllm.exceptions import VLLMValidationError
from vllm.inputs import MultiModalInput
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import ImageProcessorItems, ModalityDataItems, MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    ProcessorInputs,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
    TimingContext,
)

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.config import QWenConfig, VisionConfig
from qwenvl.model_executor.image_processor import resize_image


class QwenVLDataParser(MultiModalDataParser):
    """Takes images as they are; vLLM's own parser rotates by EXIF and paints transparency white first."""

    def _parse_image_data(self, data: Any) -> ModalityDataItems[Any, Any] | None:
        if data is None or self.is_embeddings(data):
            return super()._parse_image_data(data)
        if not isinstance(data, list | tuple):
            is_batch = isinstance(data, np.ndarray | torch.Tensor) and data.ndim == 4
            data = list(data) if is_batch else [data]
        return ImageProcessorItems([_as_pil(item) for item in data])


def _as_pil(item: Any) -> Any:
    """Arrays of uint8 (H, W, 3) become pictures; pictures, cached items and vLLM's wrappers stay."""
    if isinstance(item, torch.Tensor):
        item = item.numpy(force=True)
    if not isinstance(item, np.ndarray):
        return item
    if item.dtype != np.uint8 or item.ndim != 3 or item.shape[-1] != 3:
        raise VLLMValidationError(
            f"an image array must be uint8 of shape (height, width, 3), not {item.dtype} {item.shape}",
            parameter="multi_modal_data",
        )
    return PIL.Image.fromarray(item)


class QwenVLProcessingInfo(BaseProcessingInfo):
    """What vLLM asks of the model before it sees a prompt."""

    def get_hf_config(self) -> QWenConfig:
        """The checkpoint's configuration."""
        return self.ctx.get_hf_config(QWenConfig)

    @property
    def vision(self) -> VisionConfig:
        """The checkpoint's visual section."""
        vision = self.get_hf_config().vision
        assert vision is not None, "the visual architecture is selected only where the config has `visual`"
        return vision

    @property
    def vocabulary(self) -> Vocabulary:
        """The checkpoint's vocabulary, behind the tokenizer."""
        return self.get_tokenizer().vocabulary

    def get_data_parser(self) -> MultiModalDataParser:
        """Parser of ``multi_modal_data``."""
        return QwenVLDataParser(expected_hidden_size=self._get_expected_hidden_size())

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of images; the context is what bounds them."""
        return {"image": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Positions of an image, all of them embedded from pixels."""
        return {"image": self.vision.n_queries}

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """None: preprocessing is fixed by the checkpoint."""
        return {"text_kwargs": set(), "images_kwargs": set()}


class QwenVLDummyInputs(BaseDummyInputsBuilder[QwenVLProcessingInfo]):
    """Blank pictures for memory profiling."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """One pair of image tags for each picture."""
        return "<img></img>" * mm_counts.get("image", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, BaseDummyOptions]
    ) -> dict[str, Any]:
        """Pictures of the size the tower takes."""
        side = self.info.vision.image_size
        return {"image": self._get_dummy_images(width=side, height=side, num_images=mm_counts.get("image", 0))}


class QwenVLMultiModalProcessor(BaseMultiModalProcessor[QwenVLProcessingInfo]):
    """Fills each pair ``<img> </img>`` of a prompt with the positions of one image.

    Pairs are found by token id and never by text, so what users write cannot stand for an image.
    """

    def _call_hf_processor(self, hf_data: Mapping[str, Any], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        side = self.info.vision.image_size
        return BatchFeature({"pixel_values": torch.stack([resize_image(image, side) for image in hf_data["images"]])})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {"pixel_values": MultiModalFieldConfig.batched("image")}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        vocabulary, n_queries = self.info.vocabulary, self.info.vision.n_queries
        tags = [vocabulary.image_start, vocabulary.image_end]
        filled = [vocabulary.image_start, *[vocabulary.image_pad] * n_queries, vocabulary.image_end]
        details = PromptUpdateDetails.select_token_id(filled, embed_token_id=vocabulary.image_pad)
        return [PromptReplacement(modality="image", target=tags, replacement=details)]

    def apply(self, inputs: ProcessorInputs, timing_ctx: TimingContext) -> MultiModalInput:
        """Process one prompt with its images.

        A prompt that does not match its images is refused before anything is done. Later would be too late: vLLM's
        fallback for placeholders it does not find decodes the prompt, edits the text and encodes it again, which would
        turn a user's words into control tokens; and its image cache would hold images the engine never saw.
        """
        start, pad, end = (
            self.info.vocabulary.image_start,
            self.info.vocabulary.image_pad,
            self.info.vocabulary.image_end,
        )
        images = inputs.mm_data_items.get_all_counts().get("image", 0)
        pairs = sum(pair == (start, end) for pair in pairwise(inputs.prompt))
        if pairs != images or pad in inputs.prompt:
            raise VLLMValidationError(
                f"the prompt has {pairs} <img></img> pairs for {images} images: each image needs one, left empty",
                parameter="multi_modal_data",
            )
        return super().apply(inputs, timing_ctx)
