import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file
from torch import Tensor

from qwenvl.engine.adapter_config import read_adapter_config
from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE
from qwenvl.engine.adapter_files import LARGEST_HEADER, admit_adapter
from qwenvl.engine.checkpoint import read_config
from qwenvl.errors import CheckpointError
from tests.parity.checkpoints import golden_tensors, write_adapter, write_checkpoint
from tests.parity.golden import CHECKPOINT

SERVED = read_config(CHECKPOINT / "config.json")
MODULE = "base_model.model.transformer.h.1.mlp.w1"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter")


def verify(folder: Path, max_rank: int = 16) -> int:
    with tempfile.TemporaryDirectory() as copy:
        return admit_adapter(folder, Path(copy), SERVED, max_rank=max_rank).largest_rank


def with_config(folder: Path, **fields: Any) -> Path:
    path = folder / CONFIG_FILE
    values = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "left out"}))
    return folder


def with_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    return folder


def test_a_good_one(adapter: Path) -> None:
    assert verify(adapter) == 8


def test_ranks_by_module(adapter: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"{MODULE}.lora_A.weight"] = torch.zeros(12, SERVED.hidden_size)
        tensors[f"{MODULE}.lora_B.weight"] = torch.zeros(SERVED.mlp_size, 12)

    with_tensors(with_config(adapter, rank_pattern={"h.1.mlp.w1": 12}, alpha_pattern={"w1": 3.5}), change)
    assert verify(adapter) == 12
    with pytest.raises(CheckpointError, match="rank 12 is above --max-lora-rank, which is 8"):
        verify(adapter, max_rank=8)


def test_some_modules_and_half_precision(adapter: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensor = tensors.pop(name)
            if name.startswith(MODULE):
                tensors[name] = tensor.bfloat16()

    assert verify(with_tensors(with_config(adapter, use_rslora=True, target_modules="w1"), change)) == 8


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("peft_type", "IA3", "peft_type must be 'LORA', not 'IA3'"),
        ("r", "left out", "r is missing"),
        ("r", 0, "r must be a positive integer, not 0"),
        ("r", True, "r must be a positive integer, not True"),
        ("rank_pattern", {"w1": "8"}, r"rank_pattern\.w1 must be a positive integer"),
        ("rank_pattern", {"(a+)+": 8}, "rank_pattern may hold names of modules, and no expressions such as"),
        ("rank_pattern", [1], "rank_pattern must be an object"),
        ("rank_pattern", {"w3": 8}, "rank_pattern names 'w3', and no module that can be adapted is called so"),
        ("alpha_pattern", {f"k{i}": 8 for i in range(9000)}, "alpha_pattern has 9000 keys, and the model has"),
        ("alpha_pattern", {"a" * 500_000: 8}, "alpha_pattern names 'aaa"),
        ("r", 10**400, r"rank 10+\.\.\.0+ is above --max-lora-rank"),
        ("lora_alpha", "16", "lora_alpha must be a number from 0 to 1,000,000, not '16'"),
        ("lora_alpha", float("inf"), "lora_alpha must be a number from 0 to 1,000,000, not inf"),
        ("lora_alpha", float("nan"), "lora_alpha must be a number"),
        ("lora_alpha", 10**400, "lora_alpha must be a number"),
        ("alpha_pattern", {"w1": None}, r"alpha_pattern\.w1 must be a number"),
        ("target_modules", None, "target_modules is missing"),
        ("bias", "all", "bias must be 'none', not 'all'"),
        ("use_dora", True, "use_dora is True, which cannot be served"),
        ("lora_bias", True, "lora_bias is True"),
        ("layer_replication", [[0, 2]], "layer_replication is"),
        ("fan_in_fan_out", True, "fan_in_fan_out is True"),
        ("something_new", {"a": 1}, "something_new is"),
        ("modules_to_save", ["lm_head"], "modules_to_save is"),
        ("init_lora_weights", "pissa", "init_lora_weights is 'pissa', which changed the weights of the model too"),
    ],
)
def test_refused_fields(adapter: Path, field: str, value: Any, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as refused:
        verify(with_config(adapter, **{field: value}))
    assert str(adapter / CONFIG_FILE) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "is not JSON"), ("[]", "must hold a JSON object"), ("[" * 100_000, "is not JSON"), ("\xff", "is not JSON")],
)
def test_a_broken_configuration(adapter: Path, content: str, complaint: str) -> None:
    (adapter / CONFIG_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(CheckpointError, match=complaint):
        read_adapter_config(adapter)


@pytest.mark.parametrize(
    ("name", "shape", "complaint"),
    [
        (f"{MODULE}.lora_A.weight", (8, 128), r"h\.1\.mlp\.w1\.lora_A\.weight has shape \(8, 128\), and \(8, 256\) is"),
        (f"{MODULE}.lora_B.weight", (SERVED.mlp_size, 4), r"has shape \(\d+, 4\), and \(\d+, 8\) is expected"),
        (f"{MODULE}.lora_A.weight", (8, 256, 1), r"has shape \(8, 256, 1\)"),
        (f"{MODULE}.lora_magnitude_vector", (8,), "is none of an adapter for"),
        ("base_model.model.transformer.h.0.ln_1.lora_A.weight", (8, 256), "is none of an adapter for"),
        ("base_model.model.transformer.h.9.mlp.w1.lora_A.weight", (8, 256), "is of layer 9, and the served model has"),
        ("base_model.model.transformer.visual.proj.lora_A.weight", (8, 256), "adapts the vision tower"),
        ("base_model.model.lm_head.lora_A.weight", (8, 256), "adapts the embedding or the output layer"),
        ("base_model.model.transformer.wte.lora_embedding_A", (8, 768), "adapts the embedding or the output layer"),
    ],
)
def test_refused_tensors(adapter: Path, name: str, shape: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        verify(with_tensors(adapter, lambda tensors: tensors.update({name: torch.zeros(shape)})))


def test_half_a_module(adapter: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lacks the tensor .*h\.1\.mlp\.w1\.lora_B\.weight"):
        verify(with_tensors(adapter, lambda tensors: tensors.pop(f"{MODULE}.lora_B.weight")))


def test_no_tensors_no_numbers_no_file(adapter: Path) -> None:
    name = f"{MODULE}.lora_A.weight"
    integers = torch.zeros(8, 256, dtype=torch.int8)
    with pytest.raises(CheckpointError, match="is of type I8; F16, BF16, F32 can be served"):
        verify(with_tensors(adapter, lambda tensors: tensors.update({name: integers})))
    with pytest.raises(CheckpointError, match="holds no tensors"):
        verify(with_tensors(adapter, lambda tensors: tensors.clear()))
    for content in (b"", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"{broken}"):
        (adapter / WEIGHTS_FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            verify(adapter)


def test_a_header_that_takes_memory_to_read(adapter: Path) -> None:
    content = (LARGEST_HEADER + 1).to_bytes(8, "little") + b"{" + b" " * LARGEST_HEADER
    (adapter / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"its header has 1,048,577 bytes, above 1,048,576"):
        verify(adapter)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), -2000.0])
def test_numbers_that_would_spoil_the_answers_of_others(adapter: Path, value: float, dtype: torch.dtype) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in tensors:
            tensors[name] = tensors[name].to(dtype)
        tensors[f"{MODULE}.lora_A.weight"][3, 5] = value

    number = "nan" if value != value else "inf" if value < -1e30 else "2000"
    with pytest.raises(
        CheckpointError, match=rf"{WEIGHTS_FILE}: tensor {MODULE}\.lora_A\.weight holds {number}; up to"
    ):
        verify(with_tensors(adapter, change))


def test_numbers_that_their_scaling_makes_large(adapter: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[f"{MODULE}.lora_B.weight"][0, 0] = 30.0

    assert verify(with_tensors(adapter, change)) == 8
    with_config(adapter, alpha_pattern={"w1": 400})
    with pytest.raises(CheckpointError, match=r"w1\.lora_B\.weight holds 30 times its scaling of 50; up to 1000"):
        verify(adapter)


def test_what_the_engine_reads_is_written_anew(adapter: Path, tmp_path: Path) -> None:
    """It takes UTF-8 alone, no number past a float's range, and knows fields that we do not."""
    path = adapter / CONFIG_FILE
    values = json.loads(path.read_text()) | {"alpha_pattern": {"w1": 3}, "vllm_lora_scaling_factor": 0}
    path.write_bytes(json.dumps(values).encode("utf-16"))
    (copy := tmp_path / "copy").mkdir()
    admit_adapter(adapter, copy, SERVED, max_rank=8)
    assert json.loads((copy / CONFIG_FILE).read_bytes().decode("ascii")) == {
        "peft_type": "LORA",
        "target_modules": [],
        "bias": "none",
        "r": 8,
        "lora_alpha": 16.0,
        "rank_pattern": {},
        "alpha_pattern": {"w1": 3.0},
        "use_rslora": False,
    }
    assert {file.name for file in copy.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize("key", ["w1", "mlp.w1", "h.1.mlp.w1", "h.1.mlp.w.", "l.w1", "1.mlp.w1", "w", ".w1", "h.1"])
def test_patterns_match_as_they_do_for_peft(adapter: Path, key: str) -> None:
    config = read_adapter_config(with_config(adapter, rank_pattern={key: 3}))
    module = "transformer.h.1.mlp.w1"
    assert config.rank_of(module) == (3 if get_pattern_key([key], module) == key else 8)


def test_a_large_rank_is_named_before_the_size_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="rank 64 is above --max-lora-rank, which is 1"):
        verify(write_adapter(tmp_path / "large", rank=64), max_rank=1)


def test_the_base_it_was_made_for(adapter: Path, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").mkdir()
    (secret / "config.json").write_text("{")
    odd = ("/a\0b", "/\ud800", "/" + "x" * 5000, "/x" * 5000, str(secret), str(secret / "config.json"))
    for base in ("Qwen/Qwen-VL-Chat", str(tmp_path / "gone"), str(CHECKPOINT), "", "a\0b", *odd):
        verify(with_config(adapter, base_model_name_or_path=base))
    other = write_checkpoint(tmp_path / "other", golden_tensors(), num_hidden_layers=9)
    with pytest.raises(
        CheckpointError, match=f"base_model_name_or_path is {other}, whose num_hidden_layers is 9; that"
    ):
        verify(with_config(adapter, base_model_name_or_path=str(other)))
