import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from qwenvl.chat import VOCABULARY_FILE
from qwenvl.engine.checkpoint import verify_checkpoint
from qwenvl.errors import CheckpointError
from tests.parity.checkpoints import METHODS, golden_tensors, write_checkpoint, write_dequantized, write_quantized
from tests.parity.golden import CHECKPOINT

NORM = "transformer.h.1.ln_2.weight"


def test_good_checkpoints(tmp_path: Path) -> None:
    verify_checkpoint(str(CHECKPOINT))
    verify_checkpoint("Qwen/Qwen-VL-Chat")
    verify_checkpoint(str(write_dequantized(tmp_path / "dense")))
    for method in METHODS:
        verify_checkpoint(str(write_quantized(tmp_path / method, method)))


def test_shards_and_stale_buffers(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "bin", {})
    (folder / "model.safetensors").unlink()
    tensors = golden_tensors() | {"transformer.h.0.attn.rotary_emb.inv_freq": torch.zeros(64)}
    names = sorted(tensors)
    torch.save({name: tensors[name] for name in names[:20]}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({name: tensors[name] for name in names[20:]}, folder / "pytorch_model-00002-of-00002.bin")
    verify_checkpoint(str(folder))
    (folder / "pytorch_model-00002-of-00002.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"pytorch_model-00002-of-00002\.bin cannot be read"):
        verify_checkpoint(str(folder))


def test_what_trainers_leave_beside_the_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", golden_tensors())
    save_file({"base_model.model.lora_A": torch.zeros(1)}, folder / "adapter_model.safetensors")
    verify_checkpoint(str(folder))
    (folder / "model.safetensors").unlink()
    (folder / "adapter_model.safetensors").unlink()
    torch.save(golden_tensors(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder / "training_args.bin").write_bytes(b"a pickled object of some trainer")
    verify_checkpoint(str(folder))


def test_index(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", golden_tensors())
    save_file({"something.else": torch.zeros(1)}, folder / "stray.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(golden_tensors(), "model.safetensors")}))
    verify_checkpoint(str(folder))
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing, which"):
        verify_checkpoint(str(folder))


def test_tied_embeddings_with_a_head_of_their_own(tmp_path: Path) -> None:
    verify_checkpoint(str(write_checkpoint(tmp_path / "c", golden_tensors(), tie_word_embeddings=True)))


def test_missing_tensor(tmp_path: Path) -> None:
    tensors = golden_tensors()
    del tensors[NORM]
    with pytest.raises(CheckpointError, match=f"lacks the tensor {NORM}"):
        verify_checkpoint(str(write_checkpoint(tmp_path / "c", tensors)))


def test_misshapen_tensor(tmp_path: Path) -> None:
    tensors = golden_tensors() | {NORM: torch.zeros(255)}
    with pytest.raises(CheckpointError, match=rf"{NORM} has shape \(255,\), but config.json asks for \(256,\)"):
        verify_checkpoint(str(write_checkpoint(tmp_path / "c", tensors)))


def test_unexpected_tensor(tmp_path: Path) -> None:
    tensors = golden_tensors() | {"transformer.h.0.mlp.w3.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"unexpected tensor: transformer\.h\.0\.mlp\.w3\.weight"):
        verify_checkpoint(str(write_checkpoint(tmp_path / "c", tensors)))


def test_truncated_file(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", golden_tensors())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        verify_checkpoint(str(folder))


def test_no_weights_no_config_no_vocabulary(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", {})
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        verify_checkpoint(str(folder))
    (folder / VOCABULARY_FILE).unlink()
    with pytest.raises(CheckpointError, match=VOCABULARY_FILE):
        verify_checkpoint(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        verify_checkpoint(str(folder))
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must hold a JSON object"):
        verify_checkpoint(str(folder))
    (folder / "config.json").write_text('{"model_type": "qwen"}')
    with pytest.raises(CheckpointError, match="vocab_size is missing"):
        verify_checkpoint(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        verify_checkpoint(str(folder))


def test_another_kind_of_model(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", golden_tensors(), model_type="qwen2_vl")
    with pytest.raises(CheckpointError, match="model_type must be 'qwen', not 'qwen2_vl'"):
        verify_checkpoint(str(folder))


def test_vocabulary_that_does_not_fit(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c", golden_tensors(), vocab_size=700)
    with pytest.raises(CheckpointError, match=r"qwen\.tiktoken holds 729 tokens, but config\.json's vocab_size is 700"):
        verify_checkpoint(str(folder))
    config = json.loads((CHECKPOINT / "config.json").read_text())
    folder = write_checkpoint(tmp_path / "d", golden_tensors(), visual=config["visual"] | {"image_start_id": 151857})
    with pytest.raises(CheckpointError, match="image_start_id is 151857, but <img> is token 726"):
        verify_checkpoint(str(folder))
