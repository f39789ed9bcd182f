"""Original checkpoint to vLLM's parameters: a renaming table, and errors that name the tensor."""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models.utils import StageMissingLayer, is_pp_missing_parameter

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import IGNORED, LAYER_LINEARS, VISUAL_PREFIX, checkpoint_shapes

STACKED = {".mlp.w2.": (".mlp.gate_up_proj.", 0), ".mlp.w1.": (".mlp.gate_up_proj.", 1)}
"""Checkpoint tensors that share one parameter here: w2 is the gate and comes first."""

_LAYER_NUMBER = re.compile(r"\.\d+\.")


def parameter_name(name: str) -> tuple[str, int | None]:
    """Our parameter for a checkpoint tensor, and which of its shards the tensor is."""
    if name.startswith(VISUAL_PREFIX):
        return "visual." + name.removeprefix(VISUAL_PREFIX), None
    for original, (stacked, shard) in STACKED.items():
        if original in name:
            return name.replace(original, stacked), shard
    return name, None


class CheckpointLoader:
    """Loads one model from a stream of checkpoint tensors, on whichever ranks it is spread over.

    Args:
        model: its parameters carry the names :func:`parameter_name` gives.
        config: what the checkpoint says of itself.
        quantized: whether the linears of the language model come in a packed form.
    """

    def __init__(self, model: nn.Module, config: QWenConfig, *, quantized: bool) -> None:
        self._model = model
        self._shapes = checkpoint_shapes(config)
        self._tied = config.tie_word_embeddings
        self._quantized = quantized
        self._parameters = dict(model.named_parameters())
        self._skips_visual = isinstance(getattr(model, "visual", None), StageMissingLayer)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load every tensor that lives on this rank.

        Returns:
            Names of the parameters that were filled.

        Raises:
            CheckpointError: a tensor is missing, unexpected or misshapen; the message names it.
        """
        seen: set[str] = set()
        loaded: set[str] = set()
        for name, tensor in weights:
            if self._is_ignored(name):
                continue
            seen.add(name)
            target, shard = parameter_name(name)
            if is_pp_missing_parameter(target, self._model):
                continue
            if target not in self._parameters:
                if self._quantized and _says_nothing(name, tensor):
                    continue
                raise CheckpointError(f"the checkpoint holds an unexpected tensor: {name} {tuple(tensor.shape)}")
            self._load_one(name, tensor, target, shard)
            loaded.add(target)
        self._require_all(seen)
        return loaded

    def _is_ignored(self, name: str) -> bool:
        return (
            IGNORED.search(name) is not None
            or (self._skips_visual and name.startswith(VISUAL_PREFIX))
            or (self._tied and name == "lm_head.weight")
        )

    def _load_one(self, name: str, tensor: Tensor, target: str, shard: int | None) -> None:
        expected = self._shapes.get(name)
        if expected is not None and tensor.is_floating_point() and tuple(tensor.shape) != expected:
            raise CheckpointError(f"tensor {name} has shape {tuple(tensor.shape)}, but config.json asks for {expected}")
        parameter = self._parameters[target]
        load: Callable[..., Any] = getattr(parameter, "weight_loader", default_weight_loader)
        try:
            load(parameter, tensor) if shard is None else load(parameter, tensor, shard)
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            raise CheckpointError(f"tensor {name} of shape {tuple(tensor.shape)} does not fit: {error}") from error

    def _require_all(self, seen: Collection[str]) -> None:
        packed = _PackedLinears(seen) if self._quantized else None
        missing = [name for name in self._shapes if name not in seen and not (packed and packed.replaces(name))]
        missing += packed.missing() if packed else []
        missing = [name for name in missing if self._is_ours(name)]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise CheckpointError(f"the checkpoint lacks the tensor {missing[0]}{others}")

    def _is_ours(self, name: str) -> bool:
        if self._skips_visual and name.startswith(VISUAL_PREFIX):
            return False
        return not is_pp_missing_parameter(parameter_name(name)[0], self._model)


class _PackedLinears:
    """Which tensors a quantised checkpoint has in place of the weights of its linears.

    Their names belong to the method, but every layer has the same ones, so what some layers have the others lack.
    Biases are left out: those that mean something are known by name.
    """

    def __init__(self, seen: Iterable[str]) -> None:
        self._kinds: dict[str, set[str]] = {}
        for name in seen:
            module, kind = _linear_prefix(name), name.rpartition(".")[2]
            if module and kind != "bias":
                self._kinds.setdefault(module, set()).add(kind)

    def replaces(self, name: str) -> bool:
        """Whether a weight that is not there came in packed form."""
        module, _, kind = name.rpartition(".")
        return kind == "weight" and bool(self._kinds.get(module, set()) - {"weight"})

    def missing(self) -> list[str]:
        """What one layer lacks and another has."""
        usual: dict[str, set[str]] = {}
        for module, kinds in self._kinds.items():
            usual.setdefault(_LAYER_NUMBER.sub(".", module), set()).update(kinds)
        return [
            f"{module}.{kind}"
            for module, kinds in self._kinds.items()
            for kind in sorted(usual[_LAYER_NUMBER.sub(".", module)] - kinds)
        ]


def _linear_prefix(name: str) -> str | None:
    module, _, _ = name.rpartition(".")
    return module if module.endswith(LAYER_LINEARS) and not module.startswith(VISUAL_PREFIX) else None


def _says_nothing(name: str, tensor: Tensor) -> bool:
    """What GPTQ's packer adds to every linear, needed or not: a bias of zeros, and groups in their natural order."""
    if _linear_prefix(name) is None:
        return False
    if name.endswith(".bias"):
        return not torch.any(tensor)
    return name.endswith(".g_idx") and bool(torch.all(tensor[1:] >= tensor[:-1]))
