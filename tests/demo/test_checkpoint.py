import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from qwenvl.chat import Message, Vocabulary, render_chatml
from qwenvl.demo import ensure_checkpoint
from qwenvl.demo.checkpoint import default_cache_dir, model_config
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import checkpoint_shapes

FILES = {"config.json", "generation_config.json", "tokenizer_config.json", "qwen.tiktoken", "model.safetensors"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ensure_checkpoint(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def vocabulary(checkpoint):
    return Vocabulary.from_file(checkpoint / "qwen.tiktoken")


@pytest.fixture(scope="module")
def weights(checkpoint):
    return load_file(checkpoint / "model.safetensors")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_holds_what_a_release_holds(checkpoint):
    assert {path.name for path in checkpoint.iterdir()} == FILES


def test_ids_agree_with_the_vocabulary(checkpoint, vocabulary):
    config, generation = read(checkpoint / "config.json"), read(checkpoint / "generation_config.json")
    assert config["visual"]["image_start_id"] == vocabulary.image_start
    assert vocabulary.size <= config["vocab_size"]
    assert generation["eos_token_id"] == generation["pad_token_id"] == vocabulary.end_of_text
    assert read(checkpoint / "tokenizer_config.json")["model_max_length"] == config["max_position_embeddings"]


def test_tensors_are_those_the_configuration_asks_for(checkpoint, weights):
    config = QWenConfig(**read(checkpoint / "config.json"))
    assert {name: weight.shape for name, weight in weights.items()} == checkpoint_shapes(config)
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float16)}


def test_weights_are_finite_and_not_all_alike(weights):
    assert all(np.isfinite(weight).all() for weight in weights.values())
    first, second = (weights[f"transformer.h.{layer}.attn.c_attn.weight"] for layer in range(2))
    assert not np.array_equal(first, second)


def test_noise_says_no_control_tokens(weights, vocabulary):
    head = weights["lm_head.weight"]
    silent = np.flatnonzero(~head.any(axis=1))
    assert set(silent) == {*vocabulary.control_ids, *range(vocabulary.size, len(head))}


def test_text_of_both_languages_is_short_and_comes_back(vocabulary):
    for text, longest in (("What is in the picture?", 6), ("框出图中红色圆形的位置", 6), ("naïve 🙂", 12)):
        token_ids = vocabulary.encode_text(text)
        assert vocabulary.decode(token_ids) == text
        assert len(token_ids) <= longest
    assert render_chatml([Message.of("user", "Hello")], vocabulary).token_ids


def test_a_second_call_builds_nothing(checkpoint):
    before = (checkpoint / "model.safetensors").stat()
    assert ensure_checkpoint(checkpoint.parent) == checkpoint
    after = (checkpoint / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def build_and_read(cache_dir):
    directory = ensure_checkpoint(cache_dir)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_processes_that_build_at_once_agree(tmp_path, checkpoint):
    expected = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(build_and_read, [tmp_path, tmp_path])
    assert results == [expected, expected]
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


def test_losing_the_race_uses_the_winners_copy(tmp_path, monkeypatch, checkpoint):
    from qwenvl.demo import checkpoint as module

    def build_while_another_finishes(directory):
        directory.mkdir()
        (tmp_path / checkpoint.name).mkdir()
        (tmp_path / checkpoint.name / "winner").touch()

    monkeypatch.setattr(module, "_build", build_while_another_finishes)
    assert [path.name for path in ensure_checkpoint(tmp_path).iterdir()] == ["winner"]
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    from qwenvl.demo import checkpoint as module

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", no_space)
    with pytest.raises(CheckpointError, match=r"No space left.*QWENVL_CACHE"):
        ensure_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"QWENVL_CACHE": "/q", "XDG_CACHE_HOME": "/x"}, "/q"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/qwenvl"),
        ({}, "/home/me/.cache/qwenvl"),
    ],
)
def test_where_the_cache_is(monkeypatch, environment, expected):
    for name in ("QWENVL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == Path(expected)


def test_geometry_is_the_released_one(vocabulary):
    config = QWenConfig(**model_config(vocabulary))
    assert config.vision is not None
    assert (config.vision.image_size, config.vision.patch_size, config.vision.n_queries) == (448, 14, 256)
    assert (config.train_length, config.max_position_embeddings, config.kv_channels) == (2048, 8192, 128)
    assert config.use_dynamic_ntk
    assert config.use_logn_attn
