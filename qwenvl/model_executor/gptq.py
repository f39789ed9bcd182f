"""GPTQ's 4-bit checkpoints for the transformers model: frozen linears that unpack themselves where they are used.

transformers leaves GPTQ to kernels of other packages. Training an adapter needs none of them: a few operations of torch
unpack a weight, on any device. Serving has vLLM's kernels.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import LAYER_LINEARS

GPTQ = "gptq"
METHOD = "qwenvl_gptq"
"""What transformers knows this by while it loads a checkpoint; its own ``gptq`` stays as it is."""

BITS = 4
PACKED = 32 // BITS
"""Values in one int32."""


class GPTQLinear(nn.Linear):
    """A frozen linear in GPTQ's packing; to others, adapters among them, a linear whose ``weight`` is computed.

    Buffers, for I inputs, O outputs and groups of S inputs: ``qweight`` int32 (I / 8, O), ``qzeros`` int32
    (I / S, O / 8), which hold zero points less one, ``scales`` float32 (I / S, O), ``g_idx`` int32 (I), the group of
    each input, and ``bias`` (O), which the packer adds where a linear has none.

    Args:
        in_features: I.
        out_features: O.
        group_size: S; -1 for one group.
        dtype: of ``weight``.
    """

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor
    g_idx: Tensor

    def __init__(self, in_features: int, out_features: int, group_size: int, dtype: torch.dtype) -> None:
        # The base class would make a parameter of `weight`.
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.dtype = dtype
        n_groups = 1 if group_size == -1 else -(-in_features // group_size)
        for name, rows, columns in (
            ("qweight", in_features // PACKED, out_features),
            ("qzeros", n_groups, out_features // PACKED),
        ):
            self.register_buffer(name, torch.zeros(rows, columns, dtype=torch.int32))
        self.register_buffer("g_idx", torch.zeros(in_features, dtype=torch.int32))
        self.register_buffer("scales", torch.zeros(n_groups, out_features))
        self.register_buffer("bias", torch.zeros(out_features, dtype=dtype))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """(O, I), unpacked anew each time."""
        shifts = torch.arange(0, 32, BITS, dtype=torch.int32, device=self.qweight.device)
        mask = 2**BITS - 1
        values_IO = ((self.qweight.unsqueeze(1) >> shifts.unsqueeze(1)) & mask).flatten(0, 1)
        zeros_GO = ((self.qzeros.unsqueeze(2) >> shifts) & mask).flatten(1) + 1
        weight_IO = (values_IO - zeros_GO[self.g_idx]) * self.scales[self.g_idx]
        return weight_IO.to(self.dtype).t()

    def forward(self, x: Tensor) -> Tensor:
        return _FrozenProduct.apply(x, self)  # type: ignore[no-untyped-call]

    def unpacked(self, dtype: torch.dtype, *, bias: bool) -> nn.Linear:
        """An ordinary linear with the same numbers."""
        linear = nn.Linear(self.in_features, self.out_features, bias, device=self.qweight.device, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(self.weight)
            if bias:
                linear.bias.copy_(self.bias)
        return linear


class _FrozenProduct(torch.autograd.Function):
    """The linear, which unpacks the weight again for the gradient rather than keep it until then."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: GPTQLinear) -> Tensor:
        ctx.linear = linear
        ctx.dtype = x.dtype
        return F.linear(x, linear.weight, linear.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (gradient @ ctx.linear.weight.to(gradient)).to(ctx.dtype), None


@register_quantization_config(METHOD)
class GPTQSettings(QuantizationConfigMixin):
    """``quantization_config`` of a GPTQ checkpoint, kept as it is written there.

    Raises:
        CheckpointError: a packing that :class:`GPTQLinear` does not read; the message names the key.
    """

    def __init__(self, **settings: Any) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.bits: int = settings.get("bits", BITS)
        self.group_size: int = settings.get("group_size", 128)
        self.rest = {name: value for name, value in settings.items() if name != "quant_method"}
        if self.bits != BITS:
            raise CheckpointError(f"config.json: quantization_config.bits must be {BITS}, not {self.bits}")
        if self.rest.get("checkpoint_format", GPTQ) != GPTQ:
            raise CheckpointError(
                f"config.json: quantization_config.checkpoint_format must be {GPTQ!r}, "
                f"not {self.rest['checkpoint_format']!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As in ``config.json``, where every reader knows it as GPTQ."""
        return {**self.rest, "quant_method": GPTQ}


@register_quantizer(METHOD)
class GPTQQuantizer(HfQuantizer):
    """Has transformers load the language model's linears as :class:`GPTQLinear`."""

    quantization_config: GPTQSettings

    def __init__(self, quantization_config: QuantizationConfigMixin, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        # It has been found by the other name; by this one PEFT refuses to merge into packed weights.
        quantization_config.quant_method = GPTQ  # type: ignore[assignment]

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        layers = range(model.config.num_hidden_layers)
        for name in (f"transformer.h.{i}.{linear}" for i in layers for linear in LAYER_LINEARS):
            linear = model.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            packed = GPTQLinear(
                linear.in_features,
                linear.out_features,
                self.quantization_config.group_size,
                dtype or torch.get_default_dtype(),
            )
            model.set_submodule(name, packed)
        # Scales are exact in float16, as they are stored, but not in bfloat16.
        model._keep_in_fp32_modules_strict = {*(model._keep_in_fp32_modules_strict or ()), "scales"}
        return model

    def _dequantize(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> PreTrainedModel:
        for name, module in list(model.named_modules()):
            if isinstance(module, GPTQLinear):
                has_bias = "c_attn" in name or not model.config.no_bias
                model.set_submodule(name, module.unpacked(dtype or module.dtype, bias=has_bias))
        return model

    def is_serializable(self) -> bool:
        """What was packed is saved packed."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters on it are."""
        return True


def loadable(config: QWenConfig) -> QWenConfig:
    """The config that has transformers load a GPTQ checkpoint through :class:`GPTQQuantizer`; others as they are."""
    settings = getattr(config, "quantization_config", None)
    if not isinstance(settings, dict) or settings.get("quant_method") != GPTQ:
        return config
    config = copy.deepcopy(config)
    config.quantization_config = {**settings, "quant_method": METHOD}
    return config
