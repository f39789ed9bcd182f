"""The loader on a small module with the checkpoint's names; the real model loads in tests/parity."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.vllm_plugin.weight_loading import CheckpointLoader, parameter_name
from tests.parity.checkpoints import golden_tensors, is_layer_linear
from tests.parity.golden import CHECKPOINT

CONFIG = QWenConfig.from_pretrained(CHECKPOINT)
NORM = "transformer.h.0.ln_1.weight"


class Parameters(nn.Module):
    """A parameter for each name, nested where the name has dots, as the model has them."""

    def __init__(self) -> None:
        super().__init__()
        shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in golden_tensors().items():
            target, shard = parameter_name(name)
            rows = tensor.shape[0] * (1 if shard is None else 2)
            shapes[target] = (rows, *tensor.shape[1:])
        for name, shape in shapes.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, nn.Parameter(torch.zeros(shape), requires_grad=False))
        for name, parameter in self.named_parameters():
            if "gate_up_proj" in name:
                parameter.weight_loader = load_half  # type: ignore[attr-defined]


def packed_tensors() -> dict[str, Tensor]:
    """The linears' weights in two parts, as quantised checkpoints have them."""
    tensors = golden_tensors()
    for name in filter(is_layer_linear, golden_tensors()):
        weight, module = tensors.pop(name), name.removesuffix("weight")
        tensors |= {f"{module}qweight": weight.to(torch.int32), f"{module}scales": weight[:1]}
    return tensors


class PackedParameters(Parameters):
    """Takes whatever a linear of the language model comes as."""

    def __init__(self) -> None:
        super().__init__()
        for name in filter(is_layer_linear, golden_tensors()):
            for kind in ("qweight", "scales"):
                target, _ = parameter_name(name.removesuffix("weight") + kind)
                module = self.get_submodule(target.rpartition(".")[0])
                parameter = nn.Parameter(torch.zeros(1), requires_grad=False)
                parameter.weight_loader = lambda *args: None  # type: ignore[attr-defined]
                module.register_parameter(kind, parameter)


def load_half(parameter: Tensor, tensor: Tensor, shard: int) -> None:
    parameter.chunk(2)[shard].copy_(tensor)


def stream(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield from tensors.items()


def test_everything_arrives() -> None:
    model, tensors = Parameters(), golden_tensors()
    loaded = CheckpointLoader(model, CONFIG, quantized=False).load(stream(tensors))
    parameters = dict(model.named_parameters())
    assert loaded == set(parameters)
    gate, up = parameters["transformer.h.1.mlp.gate_up_proj.weight"].chunk(2)
    torch.testing.assert_close(gate, tensors["transformer.h.1.mlp.w2.weight"].float())
    torch.testing.assert_close(up, tensors["transformer.h.1.mlp.w1.weight"].float())


@pytest.mark.parametrize("quantized", [False, True])
def test_missing(quantized: bool) -> None:
    tensors = golden_tensors()
    del tensors[NORM]
    with pytest.raises(CheckpointError, match=f"lacks the tensor {NORM}$"):
        CheckpointLoader(Parameters(), CONFIG, quantized=quantized).load(stream(tensors))


@pytest.mark.parametrize(
    "lost", ["transformer.h.1.mlp.w2.scales", "transformer.h.0.attn.c_attn.qweight", "transformer.h.0.attn.c_attn.bias"]
)
def test_missing_part_of_a_quantised_linear(lost: str) -> None:
    tensors = packed_tensors()
    del tensors[lost]
    with pytest.raises(CheckpointError, match=f"lacks the tensor {lost}"):
        CheckpointLoader(PackedParameters(), CONFIG, quantized=True).load(stream(tensors))


def test_whole_quantised_linear_missing() -> None:
    tensors = {name: t for name, t in packed_tensors().items() if not name.startswith("transformer.h.1.mlp.c_proj")}
    with pytest.raises(CheckpointError, match=r"lacks the tensor transformer\.h\.1\.mlp\.c_proj\.weight"):
        CheckpointLoader(PackedParameters(), CONFIG, quantized=True).load(stream(tensors))


def test_misshapen() -> None:
    tensors = golden_tensors() | {NORM: torch.zeros(8)}
    with pytest.raises(CheckpointError, match=rf"{NORM} has shape \(8,\), but config.json asks for \(256,\)"):
        CheckpointLoader(Parameters(), CONFIG, quantized=False).load(stream(tensors))


@pytest.mark.parametrize(
    ("name", "tensor", "quantized"),
    [
        ("transformer.h.0.attn.c_proj.bias", torch.zeros(256), False),
        ("transformer.h.0.attn.c_proj.bias", torch.ones(256), True),
        ("transformer.h.0.mlp.w1.g_idx", torch.tensor([1, 0]), True),
        ("transformer.visual.extra", torch.zeros(1), True),
    ],
)
def test_unexpected(name: str, tensor: Tensor, quantized: bool) -> None:
    with pytest.raises(CheckpointError, match=f"unexpected tensor: {name}"):
        CheckpointLoader(Parameters(), CONFIG, quantized=quantized).load(stream(golden_tensors() | {name: tensor}))


def test_what_the_packer_adds_is_passed_over() -> None:
    added = {
        "transformer.h.0.attn.c_proj.bias": torch.zeros(256),
        **{f"transformer.h.{layer}.mlp.w1.g_idx": torch.tensor([0, 0, 1]) for layer in range(2)},
        "transformer.h.0.attn.rotary_emb.inv_freq": torch.ones(4),
    }
    CheckpointLoader(Parameters(), CONFIG, quantized=True).load(stream(golden_tensors() | added))
