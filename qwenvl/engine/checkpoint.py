"""A look at a local checkpoint before the engine loads it: seconds instead of a stack trace from another process."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import IGNORED, Shapes, checkpoint_shapes

ORIGINAL_FORMATS = ("auto", "safetensors", "pt", "hf")
"""vLLM load formats that read the original layout."""


def verify_checkpoint(model: str, *, tokenizer: str | None = None, check_tensors: bool = True) -> None:
    """Check configuration, vocabulary, and names and shapes of all tensors, without reading their data.

    Hub names are left to vLLM, as are the tensors of quantised checkpoints: their layout belongs to the method.

    Args:
        model: directory or hub name.
        tokenizer: directory or hub name of the vocabulary, where it is not the model's.
        check_tensors: look at the weight files too.

    Raises:
        CheckpointError: names the file and the key or tensor at fault.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    config = _read_config(folder / "config.json")
    if (vocabulary_folder := Path(tokenizer or model)).is_dir():
        _verify_vocabulary(config, Vocabulary.from_file(vocabulary_folder / VOCABULARY_FILE))
    quantized = any(hasattr(config, key) for key in ("quantization_config", "compression_config"))
    if check_tensors and not quantized:
        _verify_tensors(stored_shapes(folder), checkpoint_shapes(config))


def _read_config(path: Path) -> QWenConfig:
    if not path.is_file():
        raise CheckpointError(f"{path.parent} holds no config.json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if values.get("model_type") != QWenConfig.model_type:
        raise CheckpointError(f"{path}: model_type must be {QWenConfig.model_type!r}, not {values.get('model_type')!r}")
    return QWenConfig.from_dict(values)


def stored_shapes(folder: Path) -> Shapes:
    """Name and shape of every tensor in a checkpoint's files, safetensors or ``.bin``.

    Raises:
        CheckpointError: there are no such files, or one is damaged.
    """
    safetensors, pickled = sorted(folder.glob("*.safetensors")), sorted(folder.glob("*.bin"))
    if not safetensors and not pickled:
        raise CheckpointError(f"{folder} holds no weights: neither *.safetensors nor *.bin")
    shapes: Shapes = {}
    for path in safetensors or pickled:
        try:
            shapes |= _safetensors_shapes(path) if safetensors else _pickled_shapes(path)
        except Exception as error:
            # Both libraries raise whatever their parser stumbles on.
            raise CheckpointError(f"{path} cannot be read: {error}") from error
    return shapes


def _safetensors_shapes(path: Path) -> Shapes:
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _pickled_shapes(path: Path) -> Shapes:
    tensors = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _verify_tensors(stored: Shapes, expected: Shapes) -> None:
    for name, shape in expected.items():
        if name not in stored:
            raise CheckpointError(f"the checkpoint lacks the tensor {name} {shape}")
        if stored[name] != shape:
            raise CheckpointError(f"tensor {name} has shape {stored[name]}, but config.json asks for {shape}")
    unexpected = [name for name in stored if name not in expected and not IGNORED.search(name)]
    if unexpected:
        raise CheckpointError(f"the checkpoint holds an unexpected tensor: {unexpected[0]} {stored[unexpected[0]]}")


def _verify_vocabulary(config: QWenConfig, vocabulary: Vocabulary) -> None:
    if vocabulary.size > config.vocab_size:
        raise CheckpointError(
            f"{VOCABULARY_FILE} holds {vocabulary.size} tokens, but config.json's vocab_size is {config.vocab_size}"
        )
    if config.vision is not None and config.vision.image_start_id != vocabulary.image_start:
        raise CheckpointError(
            f"config.json: visual.image_start_id is {config.vision.image_start_id}, but <img> is token "
            f"{vocabulary.image_start} of {VOCABULARY_FILE}"
        )
