"""``adapter_config.json``: what PEFT says of an adapter, what of it can be served, and what vLLM is told."""

import json
import math
import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from qwenvl.engine.adapter_copy import CONFIG_FILE, LARGEST_CONFIG, read_file
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig

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

LARGEST_ALPHA = 1e6
_MODULE_NAME = re.compile(r"[\w.]+")
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "kv_channels", "intermediate_size")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What ``adapter_config.json`` says that matters for serving, under PEFT's names.

    Attributes:
        r: rank of every module that ``rank_pattern`` has no other for.
        lora_alpha: the same for what a module's output is multiplied with, before it is divided by the rank.
        use_rslora: it is divided by the rank's square root.
        base: the model that the adapter was made for, by path or name; empty where that is not said.
    """

    r: int
    lora_alpha: float
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    use_rslora: bool
    base: str

    @property
    def largest_rank(self) -> int:
        """Of all its modules."""
        return max(self.r, *self.rank_pattern.values(), 0)

    def rank_of(self, module: str) -> int:
        """Rank of one module, as PEFT and vLLM tell it: by the first key in the pattern that matches."""
        return next((rank for key, rank in self.rank_pattern.items() if _matches(key, module)), self.r)

    def scaling_of(self, module: str) -> float:
        """What one module's output is multiplied with."""
        alpha = next((alpha for key, alpha in self.alpha_pattern.items() if _matches(key, module)), self.lora_alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def write(self, path: Path) -> None:
        """Write all that vLLM is to know. It reads JSON by other rules than we do, so it never sees the original."""
        fields = asdict(self)
        del fields["base"]
        path.write_text(json.dumps({"peft_type": "LORA", "target_modules": [], "bias": "none", **fields}))


def _matches(key: str, module: str) -> bool:
    # The dots of a key stand for any character. It matches as many as it has, and is not compiled in vain.
    return len(key) <= len(module) and re.match(rf"(.*\.)?({key})$", module) is not None


def read_adapter_config(folder: Path, *, inside: Path | None = None) -> AdapterConfig:
    """Read ``adapter_config.json``.

    Args:
        inside: as in :func:`qwenvl.engine.adapter_copy.read_file`.

    Raises:
        UserError: it does not lie inside.
        CheckpointError: it is not PEFT's, or asks for what cannot be served; the message names the field.
    """
    path = folder / CONFIG_FILE
    values = _read_object(path, inside)
    if values.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: peft_type must be 'LORA', not {shown(values.get('peft_type'))}")
    for name in ("r", "lora_alpha", "target_modules"):
        if values.get(name) is None:
            raise CheckpointError(f"{path}: {name} is missing")
    _refuse_unsupported(path, values)
    return AdapterConfig(
        r=_rank(path, "r", values["r"]),
        lora_alpha=_alpha(path, "lora_alpha", values["lora_alpha"]),
        rank_pattern={key: _rank(path, name, value) for key, name, value in _pattern(path, "rank_pattern", values)},
        alpha_pattern={key: _alpha(path, name, value) for key, name, value in _pattern(path, "alpha_pattern", values)},
        use_rslora=bool(values.get("use_rslora")),
        base=str(values.get("base_model_name_or_path") or ""),
    )


def _read_object(path: Path, inside: Path | None = None) -> dict[str, Any]:
    content = read_file(path, largest=LARGEST_CONFIG, inside=inside)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return values


def _refuse_unsupported(path: Path, values: dict[str, Any]) -> None:
    if values.get("bias", "none") != "none":
        raise CheckpointError(f"{path}: bias must be 'none', not {shown(values['bias'])}: only matrices can be adapted")
    start = values.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        raise CheckpointError(
            f"{path}: init_lora_weights is {shown(start)}, which changed the weights of the model too: convert the "
            "adapter to a plain one with PEFT's path_initial_model_for_weight_conversion"
        )
    if modules := values.get("modules_to_save"):
        raise CheckpointError(
            f"{path}: modules_to_save is {shown(modules)}: an adapter with whole modules cannot be served "
            "beside the model: merge it"
        )
    # An empty value asks for nothing, and what PEFT may add tomorrow could mean anything.
    for name in sorted(values.keys() - _OF_TRAINING - _READ):
        if values[name]:
            raise CheckpointError(f"{path}: {name} is {shown(values[name])}, which cannot be served: merge the adapter")


def _rank(path: Path, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: {name} must be a positive integer, not {shown(value)}")
    return value


def _alpha(path: Path, name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LARGEST_ALPHA:
        raise CheckpointError(f"{path}: {name} must be a number from 0 to {LARGEST_ALPHA:,.0f}, not {shown(value)}")
    return float(value)


def _pattern(path: Path, field: str, values: dict[str, Any]) -> list[tuple[str, str, object]]:
    """Each key of a pattern, how errors name it, and its value."""
    pattern = values.get(field) or {}
    if not isinstance(pattern, dict):
        raise CheckpointError(f"{path}: {field} must be an object")
    for key in pattern:
        if not _MODULE_NAME.fullmatch(key):
            raise CheckpointError(f"{path}: {field} may hold names of modules, and no expressions such as {shown(key)}")
    return [(key, f"{field}.{key}", value) for key, value in pattern.items()]


def verify_config(
    folder: Path, adapter: AdapterConfig, config: QWenConfig, modules: Collection[str], *, max_rank: int
) -> None:
    """Check that an adapter can be one of the served model.

    Args:
        folder: of the adapter, for messages.
        config: the served model's.
        modules: all that can be adapted.
        max_rank: largest rank that the engine has room for.

    Raises:
        CheckpointError: it cannot; the message names the file and the field.
    """
    path = folder / CONFIG_FILE
    if adapter.largest_rank > max_rank:
        raise CheckpointError(
            f"{path}: rank {shown(adapter.largest_rank)} is above --max-lora-rank, which is {max_rank}"
        )
    for field, pattern in (("rank_pattern", adapter.rank_pattern), ("alpha_pattern", adapter.alpha_pattern)):
        # vLLM compares every key with every module, in the processes that answer requests.
        if len(pattern) > len(modules):
            raise CheckpointError(
                f"{path}: {field} has {len(pattern)} keys, and the model has {len(modules)} modules that can be adapted"
            )
        for key in pattern:
            if not any(_matches(key, module) for module in modules):
                raise CheckpointError(
                    f"{path}: {field} names {shown(key)}, and no module that can be adapted is called so"
                )
    _verify_base(path, adapter.base, config)


def _verify_base(path: Path, base: str, config: QWenConfig) -> None:
    """Compare sizes with the model the adapter was made for, where that lies on this machine."""
    if not os.path.isabs(base):
        return
    try:
        values = _read_object(Path(base) / "config.json")
    except ValueError:
        # Gone, not ours to read, or no path at all: it says nothing.
        return
    for name in _SIZES:
        ours = getattr(config, name)
        if values.get(name, ours) != ours:
            raise CheckpointError(
                f"{path}: base_model_name_or_path is {base}, whose {name} is {shown(values[name])}; that of the served "
                f"model is {ours}"
            )
