"""A look at a local checkpoint before the engine loads it: seconds instead of a stack trace from another process."""

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import IGNORED, Shapes, checkpoint_shapes

REQUIRED_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "seq_length",
    "max_position_embeddings",
)
"""What tells one size of the model from another; no default would be right."""

ORIGINAL_FORMATS = ("auto", "safetensors", "pt", "hf")
"""vLLM load formats that read the original layout."""

_BESIDE_WEIGHTS = re.compile(r"(adapter_|training_args\.|optimizer\.|scheduler\.|scaler\.|rng_state|consolidated)")
"""What trainers leave beside the weights, under the same suffixes."""


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
    config = read_config(folder / "config.json")
    if (vocabulary_folder := Path(tokenizer or model)).is_dir():
        _verify_vocabulary(config, Vocabulary.from_file(vocabulary_folder / VOCABULARY_FILE))
    quantized = any(hasattr(config, key) for key in ("quantization_config", "compression_config"))
    if check_tensors and not quantized:
        _verify_tensors(stored_shapes(folder), checkpoint_shapes(config), tied=config.tie_word_embeddings)


def read_config(path: Path) -> QWenConfig:
    """Read and check ``config.json``.

    Raises:
        CheckpointError: names the file and the key.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.parent} holds no config.json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    if values.get("model_type") != QWenConfig.model_type:
        raise CheckpointError(f"{path}: model_type must be {QWenConfig.model_type!r}, not {values.get('model_type')!r}")
    if missing := [key for key in REQUIRED_KEYS if key not in values]:
        raise CheckpointError(f"{path}: {missing[0]} is missing")
    return QWenConfig.from_dict(values)


def stored_shapes(folder: Path) -> Shapes:
    """Name and shape of every tensor in a checkpoint's files, safetensors or ``.bin``.

    Raises:
        CheckpointError: there are no such files, or one is damaged.
    """
    shapes: Shapes = {}
    for path in weight_files(folder):
        try:
            shapes |= _safetensors_shapes(path) if path.suffix == ".safetensors" else _pickled_shapes(path)
        except Exception as error:
            # Both libraries raise whatever their parser stumbles on.
            raise CheckpointError(f"{path} cannot be read: {error}") from error
    return shapes


def weight_files(folder: Path) -> list[Path]:
    """The files vLLM would load: those the index names, else every safetensors file, else every ``.bin``.

    Raises:
        CheckpointError: there are none, or one that the index names is not there.
    """
    for suffix in ("safetensors", "bin"):
        if index := next(iter(sorted(folder.glob(f"*.{suffix}.index.json"))), None):
            files = sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
            if missing := [path for path in files if not path.is_file()]:
                raise CheckpointError(f"{missing[0]} is missing, which {index.name} names")
            return files
        if files := sorted(path for path in folder.glob(f"*.{suffix}") if not _BESIDE_WEIGHTS.match(path.name)):
            return files
    raise CheckpointError(f"{folder} holds no weights: neither *.safetensors nor *.bin")


def _safetensors_shapes(path: Path) -> Shapes:
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _pickled_shapes(path: Path) -> Shapes:
    try:
        tensors = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except RuntimeError:
        # Files from before PyTorch 1.6 cannot be mapped.
        tensors = torch.load(path, map_location="meta", weights_only=True)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _verify_tensors(stored: Shapes, expected: Shapes, *, tied: bool) -> None:
    for name, shape in expected.items():
        if name not in stored:
            raise CheckpointError(f"the checkpoint lacks the tensor {name} {shape}")
        if stored[name] != shape:
            raise CheckpointError(f"tensor {name} has shape {stored[name]}, but config.json asks for {shape}")
    unexpected = [name for name in stored if name not in expected and not IGNORED.search(name)]
    if tied and "lm_head.weight" in unexpected:
        unexpected.remove("lm_head.weight")
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
