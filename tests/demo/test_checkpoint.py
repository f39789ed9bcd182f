import json
from pathlib import Path

import pytest
from safetensors import safe_open

from qwenvl.chat import Vocabulary
from qwenvl.demo import built_in_checkpoint, checkpoint
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import checkpoint_shapes

DIRECTORY = built_in_checkpoint()
MAX_BYTES = 25_000_000


def read(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((DIRECTORY / name).read_text(encoding="utf-8"))
    return content


def test_it_holds_what_a_release_holds_and_a_card() -> None:
    files = {"config.json", "generation_config.json", "tokenizer_config.json", "qwen.tiktoken", "model.safetensors"}
    assert {path.name for path in DIRECTORY.iterdir()} == files | {"README.md"}
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) <= MAX_BYTES


def test_ids_agree_with_the_vocabulary() -> None:
    vocabulary = Vocabulary.from_file(DIRECTORY / "qwen.tiktoken")
    config, generation = QWenConfig(**read("config.json")), read("generation_config.json")
    assert config.vision is not None
    assert config.vision.image_start_id == vocabulary.image_start
    assert vocabulary.size <= config.vocab_size
    assert generation["eos_token_id"] == generation["pad_token_id"] == vocabulary.end_of_text
    assert read("tokenizer_config.json")["model_max_length"] == config.max_position_embeddings


def test_tensors_are_those_of_the_original_layout() -> None:
    with safe_open(DIRECTORY / "model.safetensors", "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(tensor.get_shape()) for name, tensor in slices.items()}
        dtypes = {tensor.get_dtype() for tensor in slices.values()}
    assert shapes == checkpoint_shapes(QWenConfig(**read("config.json")))
    assert dtypes == {"BF16"}


def test_an_installation_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_DIRECTORY", tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        built_in_checkpoint()
