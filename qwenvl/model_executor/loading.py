"""Options of the transformers model's ``from_pretrained``: precision, attention, what stays out of 4 bits."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import PRECISIONS, QWenConfig

KEPT_OUT = ("lm_head", "attn_pool.attn")
"""Modules that the original keeps out of bitsandbytes' quantisation."""

_PLACES = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
"""Options that say where a checkpoint is found, its config and its weights alike."""

_NOT_OF_CONFIG = ("dtype", "torch_dtype", "quantization_config")
"""Options that a config would take for its own, and keep."""

_SKIPPED = "llm_int8_skip_modules"

_DTYPES = dict(zip(PRECISIONS, (torch.bfloat16, torch.float16, torch.float32), strict=True))


def read_config(source: Any, options: dict[str, Any]) -> tuple[QWenConfig, dict[str, Any]]:
    """The config of a checkpoint with the options that are its own, and the options that are not."""
    kept = {name: value for name, value in options.items() if name in _NOT_OF_CONFIG}
    asked = {name: value for name, value in options.items() if name not in _NOT_OF_CONFIG}
    config, unused = QWenConfig.from_pretrained(source, return_unused_kwargs=True, **asked)
    return config, unused | kept | {name: value for name, value in options.items() if name in _PLACES}


def loading_options(config: QWenConfig, options: dict[str, Any]) -> dict[str, Any]:
    """Options of transformers' ``from_pretrained`` for those of the original.

    Args:
        config: with the flags that were passed as options: ``bf16``, ``fp16``, ``fp32``, ``use_flash_attn``.
        options: those that are not the config's; a ``dtype`` or an ``attn_implementation`` among them stays.

    Raises:
        ValueError: several precisions at once.
    """
    options = dict(options)
    if options.get("dtype") is None and options.get("torch_dtype") is None:
        options["dtype"] = _precision(config, options.get("device_map"))
    # transformers' Auto classes put an attn_implementation into the config.
    if config.use_flash_attn is True and not (options.get("attn_implementation") or config._attn_implementation):
        if is_flash_attn_2_available():
            options["attn_implementation"] = "flash_attention_2"
        else:
            logging.getLogger(__name__).warning(
                "use_flash_attn=True: flash_attn is not installed, SDPA takes its place"
            )
    if (quantization := options.get("quantization_config")) is not None:
        options["quantization_config"] = keep_out(quantization)
    return options


def _precision(config: QWenConfig, device_map: Any) -> torch.dtype:
    chosen = [name for name in PRECISIONS if getattr(config, name)]
    if len(chosen) > 1:
        raise ValueError(f"config.json: {' and '.join(chosen)} exclude each other: at most one can be true")
    return _DTYPES[chosen[0]] if chosen else _automatic_precision(device_map)


def _automatic_precision(device_map: Any) -> torch.dtype:
    """bfloat16 where the device has it, else float16 on GPUs, else float32."""
    places = set(map(str, device_map.values())) if isinstance(device_map, dict) else {str(device_map)}
    if places <= {"cpu", "disk"} or not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@contextmanager
def naming_damaged_files(source: Any) -> Iterator[None]:
    """Say which file of a checkpoint is cut or no safetensors file; transformers does not.

    Raises:
        CheckpointError: one of them is.
    """
    try:
        yield
    except SafetensorError as error:
        for path in sorted(Path(source).glob("*.safetensors")):
            try:
                with safe_open(path, "pt"):
                    pass
            except (SafetensorError, OSError) as damage:
                raise CheckpointError(f"{path} is damaged: {damage}") from error
        raise CheckpointError(f"a safetensors file of {source} is damaged: {error}") from error


def check_loaded(model: PreTrainedModel, info: Mapping[str, Any], *, may_mismatch: bool = False) -> None:
    """Set right what loading leaves behind.

    Args:
        model: that was loaded.
        info: what transformers says of it.
        may_mismatch: leave tensors of other shapes as they were drawn.

    Raises:
        CheckpointError: tensors are missing, unexpected or of another shape; the message names the first.
    """
    if missing := info["missing_keys"]:
        raise CheckpointError(f"the checkpoint lacks {min(missing)} ({len(missing)} tensors are missing)")
    if info["mismatched_keys"] and not may_mismatch:
        name, stored, expected = min(info["mismatched_keys"])
        raise CheckpointError(f"tensor {name} has shape {tuple(stored)}, but config.json asks for {tuple(expected)}")
    if unexpected := info["unexpected_keys"]:
        raise CheckpointError(
            f"the checkpoint holds an unexpected tensor: {min(unexpected)} ({len(unexpected)} in all)"
        )
    for name, parameter in model.named_parameters():
        if name.endswith("attn_pool.pos_embed"):
            # Stored, and never trained; loading makes every tensor one that is.
            parameter.requires_grad_(False)
    for flag, dtype in _DTYPES.items():
        # It contradicts the dtype that was asked for; saved, it would have the last word the next time.
        if getattr(model.config, flag) and model.config.dtype != dtype:
            setattr(model.config, flag, False)


def bitsandbytes_config(config: QWenConfig) -> QWenConfig:
    """The config of a checkpoint that bitsandbytes has quantised, with :func:`keep_out`; others as they are."""
    quantization = getattr(config, "quantization_config", None)
    if not isinstance(quantization, dict) or not _is_bitsandbytes(quantization):
        return config
    config = copy.deepcopy(config)
    config.quantization_config = keep_out(quantization, default=None)
    return config


def keep_out(quantization: Any, default: Sequence[str] | None = KEPT_OUT) -> Any:
    """A ``quantization_config`` of bitsandbytes whose ``llm_int8_skip_modules`` mean what they did to the original.

    transformers 5 takes them as beginnings or ends of a module's full name, and ``attn_pool.attn`` is neither for the
    linear inside it: as they are, that would be quantised.

    Args:
        quantization: as an object or a dict; of another method, it is returned as it is.
        default: modules to keep out where none are named; None leaves those to transformers.
    """
    if not _is_bitsandbytes(quantization):
        return quantization
    settings = quantization if isinstance(quantization, dict) else vars(quantization)
    names = default if settings.get(_SKIPPED) is None else settings[_SKIPPED]
    if names is None:
        return quantization
    anywhere = [rf".*\.{name}" for name in names if not name.startswith(".*")]
    names = [*names, *(name for name in anywhere if name not in names)]
    if isinstance(quantization, dict):
        return {**quantization, _SKIPPED: names}
    quantization = copy.copy(quantization)
    quantization.llm_int8_skip_modules = names
    return quantization


def _is_bitsandbytes(quantization: Any) -> bool:
    if not isinstance(quantization, dict):
        return isinstance(quantization, BitsAndBytesConfig)
    return any(quantization.get(key) for key in ("load_in_4bit", "load_in_8bit"))
