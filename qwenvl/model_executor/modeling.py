"""Qwen and Qwen-VL for transformers: training and generation.

Parameters carry the checkpoint's names, so what is saved loads in vLLM and in the original code, and the other way
round. The visual encoder is the module that serving uses.

Shape suffixes: B prompts, L positions, E hidden channels, H heads, K channels of a head, D half of K, V vocabulary,
N images, Q positions of an image, C colours, S side of an image in pixels.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from qwenvl.model_executor.attention import QWenAttention, Rotary
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.generation import QWenGenerationMixin
from qwenvl.model_executor.gptq import loadable
from qwenvl.model_executor.image_places import image_places, refuse_images_without_pixels
from qwenvl.model_executor.loading import (
    bitsandbytes_config,
    check_loaded,
    loading_options,
    naming_damaged_files,
    read_config,
)
from qwenvl.model_executor.ntk_cache import remember_buckets, remembered_buckets
from qwenvl.model_executor.rotary import inverse_frequencies, prompt_bucket
from qwenvl.model_executor.vision import CrossAttention, Resampler, VisionTransformer, sincos_grid
from qwenvl.model_executor.weights import IGNORED


class RMSNorm(nn.Module):
    """Root-mean-square norm: in float32, then cast, then times the weight."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x_BLE: Tensor) -> Tensor:
        return F.rms_norm(x_BLE.float(), x_BLE.shape[-1:], eps=self.epsilon).to(x_BLE.dtype) * self.weight


class QWenMLP(nn.Module):
    """``c_proj(w1(x) * silu(w2(x)))``: w2 is the gate."""

    def __init__(self, config: QWenConfig) -> None:
        super().__init__()
        bias = not config.no_bias
        self.w1 = nn.Linear(config.hidden_size, config.mlp_size, bias=bias)
        self.w2 = nn.Linear(config.hidden_size, config.mlp_size, bias=bias)
        self.c_proj = nn.Linear(config.mlp_size, config.hidden_size, bias=bias)

    def forward(self, x_BLE: Tensor) -> Tensor:
        return self.c_proj(self.w1(x_BLE) * F.silu(self.w2(x_BLE)))


class QWenBlock(GradientCheckpointingLayer):
    """One pre-norm layer."""

    def __init__(self, config: QWenConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = QWenAttention(config, layer)
        self.ln_2 = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = QWenMLP(config)

    def forward(
        self, x_BLE: Tensor, rotary: Rotary, mask: Tensor | None, past_key_values: Cache | None = None, **kwargs: Any
    ) -> Tensor:
        attended_BLE, _ = self.attn(self.ln_1(x_BLE), rotary, mask, past_key_values, **kwargs)
        x_BLE = x_BLE + attended_BLE
        return x_BLE + self.mlp(self.ln_2(x_BLE))


class QWenPreTrainedModel(PreTrainedModel):
    """What transformers asks of every model of a family."""

    config: QWenConfig
    config_class = QWenConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["QWenBlock", "VisionTransformer"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [IGNORED.pattern]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": QWenBlock, "attentions": QWenAttention}  # noqa: RUF012

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """As transformers has it, but all or nothing, and GPTQ checkpoints without another package's kernels.

        The original's options are there: ``bf16``, ``fp16`` and ``fp32`` choose the dtype, ``use_flash_attn`` the
        attention. With neither these nor ``dtype``, nor a flag in ``config.json``, the device at hand chooses: bfloat16
        or float16 on GPUs, float32 on CPUs.

        Raises:
            CheckpointError: tensors are missing, unexpected or of another shape than the config says, or a file is
                damaged; the message names it.
            ValueError: several precisions at once.
        """
        config = kwargs.pop("config", None)
        if not isinstance(config, QWenConfig):
            config, kwargs = read_config(config or pretrained_model_name_or_path, kwargs)
        options = loading_options(config, kwargs)
        # Refused below, with a name.
        may_mismatch = options.pop("ignore_mismatched_sizes", False)
        with naming_damaged_files(pretrained_model_name_or_path):
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path,
                *args,
                config=bitsandbytes_config(loadable(config)),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
        model, info = loaded
        check_loaded(model, info, may_mismatch=may_mismatch)
        return (model, info) if output_loading_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if getattr(self.config, "quantization_config", None) is not None:
            # Packed weights are loaded, never drawn; what is missing is refused afterwards.
            return
        std = self.config.initializer_range
        if isinstance(module, RMSNorm | nn.LayerNorm):
            init.ones_(module.weight)
            if isinstance(module, nn.LayerNorm):
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
            init.normal_(module.weight, std=module.weight[0].numel() ** -0.5 if isinstance(module, nn.Conv2d) else std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, QWenAttention | QWenMLP):
            # Each layer adds to the residual twice: as GPT-2, keep its size whatever the depth.
            init.normal_(module.c_proj.weight, std=std / math.sqrt(2 * self.config.num_hidden_layers))
        elif isinstance(module, CrossAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, Resampler):
            init.normal_(module.query, std=0.02)
            init.copy_(module.pos_embed, sincos_grid(*module.pos_embed.shape).to(module.pos_embed))
        elif isinstance(module, VisionTransformer):
            init.normal_(module.positional_embedding, std=module.config.width**-0.5)
            init.normal_(module.proj, std=module.config.output_dim**-0.5)


class QWenModel(QWenPreTrainedModel):
    """Embedding, layers, final norm, and the visual encoder where the config has one."""

    def __init__(self, config: QWenConfig) -> None:
        super().__init__(config)
        self.wte: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(QWenBlock(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        if config.vision is not None:
            self.visual = VisionTransformer(config.vision)
        self._frequencies: dict[torch.device, Tensor] = {}
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.wte = value

    @capture_outputs  # type: ignore[untyped-decorator]  # those that the caller asks for, at each block
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        if kwargs.get("output_attentions") and self.config._attn_implementation != "eager":
            raise ValueError('output_attentions needs a model that was loaded with attn_implementation="eager"')
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds is needed")
        x_BLE: Tensor = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past_length = past_key_values.get_seq_length() if past_key_values is not None else 0
        x_BLE = self._put_images(x_BLE, input_ids, pixel_values, past_length)
        if position_ids is None:
            position_ids = _positions(x_BLE, attention_mask, past_length)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=x_BLE,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        buckets_B = self._buckets(position_ids, past_key_values, past_length)
        rotary = self._rotary(position_ids, buckets_B)
        for block in self.h:
            # By name: gradient checkpointing leaves out a cache that it finds so.
            x_BLE = block(x_BLE, rotary, mask, past_key_values=past_key_values, **kwargs)
        if past_key_values is not None and not past_length:
            remember_buckets(past_key_values, buckets_B)
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(x_BLE), past_key_values=past_key_values)

    def _put_images(
        self, x_BLE: Tensor, input_ids: Tensor | None, pixels_NCSS: Tensor | None, past_length: int
    ) -> Tensor:
        vision = self.config.vision
        if pixels_NCSS is None:
            # A decode step brings no image, and looking at its tokens would wait for the device; what a model writes
            # itself is text.
            if vision is not None and input_ids is not None and not past_length:
                refuse_images_without_pixels(input_ids, vision)
            return x_BLE
        if vision is None:
            raise ValueError("pixel_values were given to a text model: its config.json has no visual section")
        if input_ids is None:
            raise ValueError("pixel_values need input_ids, which say where the images belong")
        prompts_N1, places_NQ = image_places(input_ids, pixels_NCSS, vision)
        return x_BLE.index_put((prompts_N1, places_NQ), self.visual(pixels_NCSS).to(x_BLE))

    def _buckets(self, positions_BL: Tensor, cache: Cache | None, past_length: int) -> Tensor | None:
        """Dynamic-NTK bucket of each prompt (B,), fixed at prefill and kept with its KV cache; None for all 0."""
        if self.training or not self.config.use_dynamic_ntk:
            return None
        if cache is not None and past_length:
            return remembered_buckets(cache)
        if positions_BL.shape[1] <= self.config.train_length:
            return None
        lengths = (positions_BL.amax(dim=-1) + 1).tolist()
        if max(lengths) > self.config.max_position_embeddings:
            raise ValueError(
                f"a prompt has {max(lengths)} positions, and the model's context is "
                f"{self.config.max_position_embeddings}"
            )
        buckets = [prompt_bucket(self.config, int(length)) for length in lengths]
        return torch.tensor(buckets, device=positions_BL.device)

    def _rotary(self, positions_BL: Tensor, buckets_B: Tensor | None) -> Rotary:
        device = positions_BL.device
        if device not in self._frequencies:
            n_buckets = prompt_bucket(self.config, self.config.max_position_embeddings) + 1
            tables = [inverse_frequencies(self.config, bucket) for bucket in range(n_buckets)]
            self._frequencies[device] = torch.stack(tables).to(device)
        table_XD = self._frequencies[device]
        if buckets_B is None:
            frequencies_B11D = table_XD[0].view(1, 1, 1, -1)
        else:
            frequencies_B11D = table_XD[buckets_B].unsqueeze(1).unsqueeze(1)
        angles_BL1D = positions_BL.float().unsqueeze(-1).unsqueeze(-1) * frequencies_B11D
        logn_BL11 = torch.ones((), device=device)
        # As in the original, neither is part of training, whose samples end at the training length.
        if self.config.use_logn_attn and not self.training:
            logs_BL = (positions_BL + 1).double().log() / math.log(self.config.train_length)
            logn_BL11 = logs_BL.clamp(min=1.0).float().unsqueeze(-1).unsqueeze(-1)
        return angles_BL1D.cos(), angles_BL1D.sin(), logn_BL11


def _positions(x_BLE: Tensor, attention_mask: Tensor | None, past_length: int) -> Tensor:
    """Positions (B or 1, L), counted from each prompt's first token that is not padding."""
    if attention_mask is not None and attention_mask.ndim == 2:
        return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -x_BLE.shape[1] :]
    return torch.arange(past_length, past_length + x_BLE.shape[1], device=x_BLE.device).unsqueeze(0)


class QWenLMHeadModel(QWenPreTrainedModel, QWenGenerationMixin):
    """A first-generation Qwen or Qwen-VL with its language-model head."""

    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012

    def __init__(self, config: QWenConfig) -> None:
        super().__init__(config)
        self.loss_type = "ForCausalLM"
        self.transformer = QWenModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_output_embeddings(self) -> nn.Module:
        """The language-model head."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the language-model head."""
        self.lm_head = new_embeddings

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss where there are labels.

        Args:
            input_ids: (B, L); each image is ``<img>``, ``n_queries`` positions whose ids do not matter, ``</img>``.
            attention_mask: (B, positions so far and L); 0 marks padding, on either side.
            position_ids: (B, L); counted from each prompt's first token by default.
            past_key_values: KV cache of the positions so far. It keeps each prompt's dynamic-NTK alpha.
            inputs_embeds: (B, L, E), instead of ``input_ids``.
            pixel_values: (N, 3, S, S) of all prompts' images in order: ``uint8`` as from
                :func:`~qwenvl.model_executor.image_processor.resize_image`, or normalised floating point.
            labels: (B, L) token ids to predict, each at its own place; -100 is ignored.
            use_cache: return the KV cache.
            logits_to_keep: only the last so many positions' logits, or those at these indices; 0 for all.
            **kwargs: for the loss and the attention function of transformers; ``output_hidden_states``,
                ``output_attentions`` (with eager attention) and ``return_dict`` are as in its models.

        Raises:
            ValueError: ``pixel_values`` do not fit ``input_ids``.
        """
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            pixel_values=pixel_values,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits_BLV = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits_BLV, labels, self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits_BLV,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


# Here and not in autoclasses: importing what this module needs imports AutoModelForCausalLM, before the class exists.
AutoModelForCausalLM.register(QWenConfig, QWenLMHeadModel, exist_ok=True)
