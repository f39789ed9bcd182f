"""An adapter and its model made one checkpoint."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM

from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE
from qwenvl.errors import UserError
from qwenvl.finetuning.models import is_quantized, lasting_name, read_config, stored_dtype
from qwenvl.finetuning.saving import save_checkpoint
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.modeling import QWenLMHeadModel
from qwenvl.model_executor.weights import checkpoint_shapes

logger = logging.getLogger(__name__)

_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Adapter:
    """A PEFT folder that has been looked at.

    Attributes:
        base: the model it was trained on; empty where the folder does not say.
    """

    folder: Path
    base: str


def merge(adapter_folder: Path, output: Path, base: str | None = None) -> None:
    """Write the checkpoint that an adapter makes of its model, in the original's layout.

    Packed weights are unpacked first: the result has the model's own 16 bits.

    Args:
        adapter_folder: as PEFT or ``qwenvl finetune`` wrote it.
        output: a directory that is not there yet, or is empty.
        base: the model to merge into; by default the one the adapter was trained on.

    Raises:
        UserError: the folder is no LoRA adapter, does not fit the model, or the output is taken.
        CheckpointError: the model cannot be loaded.
    """
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty: choose another --output")
    adapter = read_adapter(adapter_folder)
    base = base or adapter.base
    if not base:
        raise UserError(f"{adapter_folder / CONFIG_FILE} names no base model: give it by --base")
    if adapter.base and lasting_name(base) != lasting_name(adapter.base):
        logger.warning("the adapter was trained on %s and is merged into %s", adapter.base, base)
    config = read_config(base)
    verify_adapter(adapter, config)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=stored_dtype(config))
    assert isinstance(model, QWenLMHeadModel)
    if is_quantized(config):
        logger.warning("%s is packed in 4 bits: it is unpacked, and the merged checkpoint is in 16 bits", base)
        model.dequantize()  # type: ignore[no-untyped-call]
    adapted = PeftModel.from_pretrained(model, str(adapter.folder))
    merged = adapted.merge_and_unload(safe_merge=True)
    save_checkpoint(merged, merged.state_dict(), base, output)
    logger.info("saved in %s", output)


def read_adapter(folder: Path) -> Adapter:
    """See that a folder holds a LoRA adapter.

    Raises:
        UserError: it does not; the message names the file.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} is no adapter: cannot read {CONFIG_FILE}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        raise UserError(f"{path} is no LoRA adapter's: peft_type must be 'LORA'")
    return Adapter(folder, values.get("base_model_name_or_path") or "")


def verify_adapter(adapter: Adapter, config: QWenConfig) -> None:
    """See that an adapter's tensors fit a model, without reading their data.

    Raises:
        UserError: one does not; the message names it.
    """
    shapes = checkpoint_shapes(config)
    path = adapter.folder / WEIGHTS_FILE
    stored = dict(_stored(path))
    for name, shape in stored.items():
        module, kind = _parted(name)
        expected = shapes.get(f"{module}.weight") if kind else shapes.get(module)
        if expected is None:
            raise UserError(f"{path}: {name} is for a tensor that the model does not have")
        # Rows of the first factor and columns of the second are the rank, which the adapter chooses.
        fits = {"A": shape[1:] == expected[1:], "B": shape[:1] == expected[:1], "": shape == expected}[kind]
        if not fits:
            raise UserError(f"{path}: {name} has shape {shape} and does not fit the model's {expected}")
        if kind and (other := f"{_PREFIX}{module}.lora_{'B' if kind == 'A' else 'A'}.weight") not in stored:
            raise UserError(f"{path} lacks {other}")


def _stored(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, tuple(file.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _parted(name: str) -> tuple[str, str]:
    """The module that an adapter's tensor is for, and which factor it is: A, B or, of one trained whole, none."""
    name = name.removeprefix(_PREFIX)
    for factor in "AB":
        if name.endswith(f".lora_{factor}.weight"):
            return name.removesuffix(f".lora_{factor}.weight"), factor
    return name, ""
