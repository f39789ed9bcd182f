"""A look at an adapter before the engine sees it: its PEFT configuration, and the header of its tensors."""

import json
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from qwenvl.engine.adapter_copy import CONFIG_FILE, LARGEST_CONFIG, WEIGHTS_FILE, explain_missing
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import LAYER_LINEARS, Shapes, checkpoint_shapes

_OF_TRAINING = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
"""Fields that say how an adapter was made, and change nothing once it is."""
_READ = frozenset(
    {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias", "init_lora_weights"}
)
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways to begin a training that leave the model's own weights alone; the others change them, and need that model."""

_TENSOR = re.compile(r"base_model\.model\.(transformer\.h\.(\d+)\.([a-z_0-9.]+))\.lora_([AB])\.weight")
_MODULE_NAME = re.compile(r"[\w.]+")
_DTYPES = ("F16", "BF16", "F32")
_BYTES_OF_HEADERS = 1 << 24
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "kv_channels", "intermediate_size")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What ``adapter_config.json`` says that matters for serving.

    Attributes:
        rank: of every module that ``rank_pattern`` has no other for.
        base: the model that the adapter was made for, by path or name; empty where that is not said.
    """

    rank: int
    rank_pattern: dict[str, int]
    base: str

    @property
    def largest_rank(self) -> int:
        """Of all its modules."""
        return max(self.rank, *self.rank_pattern.values(), 0)

    def rank_of(self, module: str) -> int:
        """Rank of one module, as PEFT tells it: by the first name in the pattern that the module's ends with."""
        for name, rank in self.rank_pattern.items():
            if module == name or module.endswith(f".{name}"):
                return rank
        return self.rank


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read ``adapter_config.json``.

    Raises:
        CheckpointError: it is not PEFT's, or asks for what cannot be served; the message names the field.
    """
    path = folder / CONFIG_FILE
    values = _read_object(path)
    if values.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: peft_type must be 'LORA', not {values.get('peft_type')!r}")
    for name in ("r", "lora_alpha", "target_modules"):
        if values.get(name) is None:
            raise CheckpointError(f"{path}: {name} is missing")
    _refuse_unsupported(path, values)
    alphas = values.get("alpha_pattern") or {}
    ranks = values.get("rank_pattern") or {}
    _check_pattern(path, "alpha_pattern", alphas)
    _check_pattern(path, "rank_pattern", ranks)
    for name, value in (("r", values["r"]), *((f"rank_pattern.{key}", rank) for key, rank in ranks.items())):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{path}: {name} must be a positive integer, not {value!r}")
    for name, value in (("lora_alpha", values["lora_alpha"]), *((f"alpha_pattern.{k}", v) for k, v in alphas.items())):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise CheckpointError(f"{path}: {name} must be a finite number, not {value!r}")
    return AdapterConfig(values["r"], ranks, str(values.get("base_model_name_or_path") or ""))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(LARGEST_CONFIG))
    except FileNotFoundError:
        raise CheckpointError(explain_missing(path.parent, path.name)) from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return values


def _refuse_unsupported(path: Path, values: dict[str, Any]) -> None:
    if values.get("bias", "none") != "none":
        raise CheckpointError(f"{path}: bias must be 'none', not {values['bias']!r}: only matrices can be adapted")
    start = values.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        raise CheckpointError(
            f"{path}: init_lora_weights is {start!r}, which changed the weights of the model too: convert the adapter "
            "to a plain one with PEFT's path_initial_model_for_weight_conversion"
        )
    if modules := values.get("modules_to_save"):
        raise CheckpointError(
            f"{path}: modules_to_save is {reprlib.repr(modules)}: an adapter with whole modules cannot be served "
            "beside the model: merge it"
        )
    # An empty value asks for nothing, and what PEFT may add tomorrow could mean anything.
    for name in sorted(values.keys() - _OF_TRAINING - _READ):
        if values[name]:
            raise CheckpointError(
                f"{path}: {name} is {reprlib.repr(values[name])}, which cannot be served: merge the adapter"
            )


def _check_pattern(path: Path, field: str, pattern: object) -> None:
    if not isinstance(pattern, dict):
        raise CheckpointError(f"{path}: {field} must be an object")
    for name in pattern:
        if not _MODULE_NAME.fullmatch(name):
            raise CheckpointError(f"{path}: {field} may hold names of modules, and no expressions such as {name!r}")


def largest_weights(config: QWenConfig, max_rank: int) -> int:
    """Bytes that the weights of an adapter of this rank can have at most, for every linear and at float32."""
    return _BYTES_OF_HEADERS + sum(4 * max_rank * sum(shape) for shape in _adaptable(config).values())


def verify_adapter(folder: Path, config: QWenConfig, *, max_rank: int) -> AdapterConfig:
    """Check an adapter's configuration, and names, types and shapes of all tensors, without reading their data.

    Args:
        config: the served model's.
        max_rank: largest rank that the engine has room for.

    Raises:
        CheckpointError: names the file, and the field or the tensor with its shape and the expected one.
    """
    adapter = read_adapter_config(folder)
    path = folder / CONFIG_FILE
    if adapter.largest_rank > max_rank:
        raise CheckpointError(f"{path}: rank {adapter.largest_rank} is above --max-lora-rank, which is {max_rank}")
    _verify_base(path, adapter.base, config)
    _verify_tensors(folder / WEIGHTS_FILE, adapter, config)
    return adapter


def _verify_base(path: Path, base: str, config: QWenConfig) -> None:
    """Compare sizes with the model the adapter was made for, where that lies on this machine."""
    base_config = Path(base) / "config.json"
    if not base or "\0" in base or not base_config.is_file():
        return
    values = _read_object(base_config)
    for name in _SIZES:
        ours = getattr(config, name)
        if values.get(name, ours) != ours:
            raise CheckpointError(
                f"{path}: base_model_name_or_path is {base}, whose {name} is {values[name]}; that of the served model "
                f"is {ours}"
            )


def _verify_tensors(path: Path, adapter: AdapterConfig, config: QWenConfig) -> None:
    linears = _adaptable(config)
    halves: dict[str, set[str]] = {}
    for name, dtype, shape in _tensors(path):
        found = _TENSOR.fullmatch(name)
        if found is None or found[1] not in linears:
            raise CheckpointError(f"{path}: {_why_not(name, config)}")
        module, half = found[1], found[4]
        rows, columns = linears[module]
        rank = adapter.rank_of(module)
        expected = (rank, columns) if half == "A" else (rows, rank)
        if shape != expected:
            raise CheckpointError(f"{path}: tensor {name} has shape {shape}, and {expected} is expected")
        if dtype not in _DTYPES:
            raise CheckpointError(f"{path}: tensor {name} is of type {dtype}; {', '.join(_DTYPES)} can be served")
        halves.setdefault(module, set()).add(half)
    if not halves:
        raise CheckpointError(f"{path} holds no tensors")
    _require_both(path, halves)


def _require_both(path: Path, halves: dict[str, set[str]]) -> None:
    for module, found in halves.items():
        for half in "AB":
            if half not in found:
                raise CheckpointError(f"{path} lacks the tensor base_model.model.{module}.lora_{half}.weight")


def _tensors(path: Path) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_slice(name)
                yield name, tensor.get_dtype(), tuple(tensor.get_shape())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _why_not(name: str, config: QWenConfig) -> str:
    if ".visual." in name:
        return f"tensor {name} adapts the vision tower, which all requests share: merge the adapter"
    if ".wte." in name or "lm_head." in name:
        return f"tensor {name} adapts the embedding or the output layer, which cannot be served: merge the adapter"
    found = _TENSOR.fullmatch(name)
    if found is not None and found[3] in LAYER_LINEARS:
        return f"tensor {name} is of layer {found[2]}, and the served model has {config.num_hidden_layers}"
    return f"tensor {name} is none of an adapter for {', '.join(LAYER_LINEARS)} in transformer.h.*"


def _adaptable(config: QWenConfig) -> Shapes:
    """(rows, columns) of every linear that can be adapted, by the name of its module."""
    shapes = checkpoint_shapes(config)
    names = [f"transformer.h.{i}.{linear}" for i in range(config.num_hidden_layers) for linear in LAYER_LINEARS]
    return {name: shapes[f"{name}.weight"] for name in names}
