"""First-generation Qwen on vLLM's layers: paged attention, dynamic NTK and log-n past the training length.

Shape suffixes: T tokens of the batch, E hidden channels, H heads on this rank, K channels of a head, D half of K.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CacheConfig, VllmConfig
from vllm.distributed import get_pp_group, get_tensor_model_parallel_world_size
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.quantization import QuantizationConfig
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsMRoPE, SupportsPP, SupportsQuant
from vllm.model_executor.models.utils import (
    PPMissingLayer,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from vllm.sequence import IntermediateTensors

from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.rotary import prompt_bucket, rotary_table, rotate
from qwenvl.model_executor.vllm_plugin import compat
from qwenvl.model_executor.vllm_plugin.weight_loading import CheckpointLoader

Rotary = tuple[Tensor, Tensor, Tensor]
"""Cosines (T, 1, D), sines (T, 1, D) and log-n factors (T, 1, 1) of the batch, float32."""


class QWenAttention(nn.Module):
    """Multi-head attention; ``c_attn`` stacks q, k and v, each with all heads."""

    def __init__(
        self, config: QWenConfig, cache_config: CacheConfig | None, quant_config: QuantizationConfig | None, prefix: str
    ) -> None:
        super().__init__()
        self.head_size = config.kv_channels
        self.heads = config.num_attention_heads // get_tensor_model_parallel_world_size()
        self.c_attn = QKVParallelLinear(
            config.hidden_size,
            self.head_size,
            config.num_attention_heads,
            bias=True,
            quant_config=quant_config,
            prefix=f"{prefix}.c_attn",
        )
        self.c_proj = RowParallelLinear(
            config.attention_size,
            config.hidden_size,
            bias=not config.no_bias,
            quant_config=quant_config,
            prefix=f"{prefix}.c_proj",
        )
        self.attn = Attention(
            self.heads,
            self.head_size,
            self.head_size**-0.5,
            cache_config=cache_config,
            quant_config=quant_config,
            prefix=f"{prefix}.attn",
        )

    def forward(self, x_TE: Tensor, rotary: Rotary) -> Tensor:
        cos_T1D, sin_T1D, logn_T11 = rotary
        qkv, _ = self.c_attn(x_TE)
        query, key, value = qkv.chunk(3, dim=-1)
        query_THK = rotate(query.unflatten(-1, (self.heads, self.head_size)), cos_T1D, sin_T1D) * logn_T11
        key_THK = rotate(key.unflatten(-1, (self.heads, self.head_size)), cos_T1D, sin_T1D)
        attended = self.attn(query_THK.to(qkv.dtype).flatten(1), key_THK.to(qkv.dtype).flatten(1), value)
        output_TE, _ = self.c_proj(attended)
        return output_TE


class QWenMLP(nn.Module):
    """``c_proj(w1(x) * silu(w2(x)))``, with w2 and w1 side by side in ``gate_up_proj``."""

    def __init__(self, config: QWenConfig, quant_config: QuantizationConfig | None, prefix: str) -> None:
        super().__init__()
        bias = not config.no_bias
        self.gate_up_proj = MergedColumnParallelLinear(
            config.hidden_size,
            [config.mlp_size] * 2,
            bias=bias,
            quant_config=quant_config,
            prefix=f"{prefix}.gate_up_proj",
        )
        self.c_proj = RowParallelLinear(
            config.mlp_size, config.hidden_size, bias=bias, quant_config=quant_config, prefix=f"{prefix}.c_proj"
        )
        self.activation = SiluAndMul()

    def forward(self, x_TE: Tensor) -> Tensor:
        gate_up, _ = self.gate_up_proj(x_TE)
        output_TE, _ = self.c_proj(self.activation(gate_up))
        return output_TE


class QWenBlock(nn.Module):
    """One pre-norm layer; the residual travels beside the hidden states so that vLLM can fuse addition and norm."""

    def __init__(
        self, config: QWenConfig, cache_config: CacheConfig | None, quant_config: QuantizationConfig | None, prefix: str
    ) -> None:
        super().__init__()
        self.ln_1 = RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = QWenAttention(config, cache_config, quant_config, prefix=f"{prefix}.attn")
        self.ln_2 = RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = QWenMLP(config, quant_config, prefix=f"{prefix}.mlp")

    def forward(self, x_TE: Tensor, residual_TE: Tensor | None, rotary: Rotary) -> tuple[Tensor, Tensor]:
        if residual_TE is None:
            residual_TE, x_TE = x_TE, self.ln_1(x_TE)
        else:
            x_TE, residual_TE = self.ln_1(x_TE, residual_TE)
        x_TE = self.attn(x_TE, rotary)
        x_TE, residual_TE = self.ln_2(x_TE, residual_TE)
        return self.mlp(x_TE), residual_TE


@support_torch_compile(
    # Positions come with three equal rows (see QWenLMHeadModel), so their token axis is the last.
    dynamic_arg_dims={"input_ids": 0, "positions": -1, "intermediate_tensors": 0, "inputs_embeds": 0}
)
class QWenModel(nn.Module):
    """Embedding, layers and final norm; the part that is compiled and captured."""

    rotary_table: Tensor

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: QWenConfig = vllm_config.model_config.hf_config
        self.config = config
        on_first, on_last = get_pp_group().is_first_rank, get_pp_group().is_last_rank
        if on_first or (config.tie_word_embeddings and on_last):
            self.wte = VocabParallelEmbedding(config.vocab_size, config.hidden_size, prefix=f"{prefix}.wte")
        else:
            self.wte = PPMissingLayer()
        self.start_layer, self.end_layer, self.h = make_layers(
            config.num_hidden_layers,
            lambda prefix: QWenBlock(config, vllm_config.cache_config, vllm_config.quant_config, prefix),
            prefix=f"{prefix}.h",
        )
        self.ln_f = RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon) if on_last else PPMissingLayer()
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size
        )
        table = rotary_table(config, vllm_config.model_config.max_model_len)
        self.register_buffer("rotary_table", table.to(torch.get_default_device()), persistent=False)

    def embed_input_ids(self, input_ids: Tensor | None) -> Tensor:
        """Token embeddings (T, E)."""
        return self.wte(input_ids)

    def _rotary(self, rows_T: Tensor) -> Rotary:
        half = self.config.kv_channels // 2
        entries_T1X = self.rotary_table[rows_T].unsqueeze(1)
        cos_T1D, sin_T1D, logn_T11 = entries_T1X.split([half, half, 1], dim=-1)
        return cos_T1D, sin_T1D, logn_T11

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor | IntermediateTensors:
        if get_pp_group().is_first_rank:
            x_TE = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
            residual_TE = None
        else:
            assert intermediate_tensors is not None
            x_TE, residual_TE = intermediate_tensors["hidden_states"], intermediate_tensors["residual"]
        rotary = self._rotary(positions[0])
        for block in islice(self.h, self.start_layer, self.end_layer):
            x_TE, residual_TE = block(x_TE, residual_TE, rotary)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": x_TE, "residual": residual_TE})
        x_TE, _ = self.ln_f(x_TE, residual_TE)
        return x_TE


class QWenLMHeadModel(nn.Module, SupportsLoRA, SupportsPP, SupportsQuant, SupportsMRoPE):
    """A first-generation Qwen text model.

    Positions reach the model through vLLM's per-request position hook, meant for M-RoPE. Each request's positions are
    offset by ``bucket * max_model_len``, where the bucket says which dynamic-NTK alpha its prompt length asks for; the
    offset indexes one table of rotary values, and decode steps inherit it as the hook's delta. The hook's three rows
    are equal. Prefix caching stays right because ``compat`` salts the cache by bucket.
    """

    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {
        # One entry makes vLLM's LoRA take c_attn for the single fused linear it is.
        "c_attn": ["c_attn"],
        "gate_up_proj": ["w2", "w1"],
    }

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        self.config: QWenConfig = vllm_config.model_config.hf_config
        self.max_model_len = vllm_config.model_config.max_model_len
        compat.keep_seeds_of_unfinished_prompts()
        if vllm_config.lora_config is not None:
            compat.reserve_base_slot()
        self.transformer = QWenModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "transformer"))
        if get_pp_group().is_last_rank:
            self.lm_head = ParallelLMHead(
                self.config.vocab_size,
                self.config.hidden_size,
                quant_config=vllm_config.quant_config,
                prefix=maybe_prefix(prefix, "lm_head"),
            )
            if self.config.tie_word_embeddings:
                self.lm_head = self.lm_head.tie_weights(self.transformer.wte)
        else:
            self.lm_head = PPMissingLayer()
        self.logits_processor = LogitsProcessor(self.config.vocab_size)
        self.make_empty_intermediate_tensors = self.transformer.make_empty_intermediate_tensors

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """Token embeddings (T, E)."""
        return self.transformer.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        """Hidden states (T, E) of the batch; positions are (3, T), rows of the rotary table."""
        return self.transformer(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits (T, vocab_size); None on ranks that hold no part of them."""
        return self.logits_processor(self.lm_head, hidden_states)

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        """Rows of the rotary table for a prompt, and the offset of the answer's positions."""
        return self.table_rows(len(input_tokens), prompt_length=len(input_tokens))

    def table_rows(self, length: int, *, prompt_length: int) -> tuple[Tensor, int]:
        """Rows (3, length) of the rotary table for the first positions of a request, and their offset."""
        offset = prompt_bucket(self.config, prompt_length) * self.max_model_len
        return (torch.arange(length) + offset).expand(3, -1), offset

    @staticmethod
    def get_model_state_cls() -> type:
        """State of the V2 model runner that keeps alpha through a preemption."""
        from qwenvl.model_executor.vllm_plugin.model_state import QWenModelState

        return QWenModelState

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load an original checkpoint; see :class:`CheckpointLoader` for what it refuses."""
        return CheckpointLoader(self, self.config, quantized=self.quant_config is not None).load(weights)
