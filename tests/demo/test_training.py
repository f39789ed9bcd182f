import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.demo import built_in_checkpoint, scoring, training
from qwenvl.demo.patch_heads import PatchHeads
from qwenvl.demo.small_model import place_queries, small_config
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.modeling import QWenLMHeadModel
from qwenvl.model_executor.vision import VisionTransformer
from qwenvl.model_executor.weights import checkpoint_shapes

pytestmark = pytest.mark.slow

MAX_BYTES = 25_000_000


@pytest.fixture(scope="module")
def config() -> QWenConfig:
    return small_config(Vocabulary.from_file(built_in_checkpoint() / VOCABULARY_FILE))


def test_queries_start_out_at_their_own_places(config: QWenConfig) -> None:
    vision = config.vision
    assert vision is not None
    torch.manual_seed(0)
    visual = VisionTransformer(vision)
    place_queries(visual)
    pool = visual.attn_pool
    seen: list[torch.Tensor] = []
    pool.attn.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    visual(torch.randint(0, 255, (1, 3, 224, 224), dtype=torch.uint8))
    query_QF, key_BLF, _ = seen
    weight_q, weight_k, _ = pool.attn.in_proj_weight.chunk(3)
    heads = vision.resampler_heads
    query = (query_QF @ weight_q.T).unflatten(-1, (heads, -1)).transpose(0, 1)
    key = (key_BLF[0] @ weight_k.T).unflatten(-1, (heads, -1)).transpose(0, 1)
    best = (query @ key.transpose(1, 2)).argmax(dim=-1)
    side = vision.grid // 2
    rows, columns = best // vision.grid // 2, best % vision.grid // 2
    places = torch.arange(vision.n_queries)
    near = ((rows - places // side).abs() <= 1) & ((columns - places % side).abs() <= 1)
    assert near.float().mean() > 0.9


def test_patch_heads_tell_each_patch_apart(config: QWenConfig) -> None:
    torch.manual_seed(0)
    heads = PatchHeads(config)
    kinds, boxes = torch.zeros(1, 256, 3, dtype=torch.long), torch.zeros(1, 256, 4)
    # The left column of patches holds circles: seen by the first query of each row alone.
    kinds[0, ::16, 0] = 1
    vectors = torch.zeros(1, 64, config.hidden_size)
    vectors[0, ::8, 0] = 10.0
    vectors[0, :, 1] = 1.0
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.05)
    for _ in range(150):
        loss = heads(vectors, kinds, boxes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_a_run_goes_on_where_it_was_left_and_ends_in_a_checkpoint(tmp_path: Path) -> None:
    run = ["--output", str(tmp_path), "--batch-size", "2", "--workers", "0", "--save-steps", "2", "--vision-steps", "1"]
    training.main([*run, "--steps", "2"])
    with pytest.raises(SystemExit, match=r"learning_rate was 0.002 in this run and is 0.1 now"):
        training.main([*run, "--steps", "4", "--learning-rate", "0.1"])
    training.main([*run, "--steps", "4"])
    (last,) = (tmp_path / "training" / "checkpoints").iterdir()
    state = json.loads((last / "trainer_state.json").read_text())
    assert state["global_step"] == 4

    config = QWenConfig.from_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert shapes == checkpoint_shapes(config)
    assert (tmp_path / "model.safetensors").stat().st_size < MAX_BYTES

    scores = tmp_path / "scores.json"
    scoring.main([str(tmp_path), "--count", "1", "--output", str(scores)])
    assert json.loads(scores.read_text())["grounding, 5"]["n"] == 1


def test_an_earlier_run_is_started_from_whole_or_not_at_all(config: QWenConfig, tmp_path: Path) -> None:
    model = QWenLMHeadModel(config)
    model.auxiliary = PatchHeads(config)
    weights = built_in_checkpoint() / "model.safetensors"
    training.start_from(weights, model)
    tensors = load_file(weights)
    assert torch.equal(model.lm_head.weight, tensors["lm_head.weight"].float())
    cut = tmp_path / "model.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be started from"):
        training.start_from(cut, model)
    del tensors["transformer.ln_f.weight"]
    save_file(tensors, cut)
    with pytest.raises(CheckpointError, match=r"transformer\.ln_f\.weight is missing"):
        training.start_from(cut, model)


def test_a_run_that_starts_from_another_keeps_its_vocabulary(tmp_path: Path) -> None:
    vocabulary = (built_in_checkpoint() / VOCABULARY_FILE).read_text().splitlines()
    # Two words that no longer come in the order in which today's questions would put them.
    first, second = (line.split()[0] for line in vocabulary[-2:])
    vocabulary[-2:] = [f"{second} {len(vocabulary) - 2}", f"{first} {len(vocabulary) - 1}"]
    earlier = tmp_path / "earlier"
    shutil.copytree(built_in_checkpoint(), earlier)
    (earlier / VOCABULARY_FILE).write_text("\n".join(vocabulary) + "\n")
    run = ["--output", str(tmp_path / "out"), "--steps", "1", "--batch-size", "1", "--workers", "0"]
    training.main([*run, "--start", str(earlier)])
    assert (tmp_path / "out" / VOCABULARY_FILE).read_text() == (earlier / VOCABULARY_FILE).read_text()
    (earlier / VOCABULARY_FILE).unlink()
    with pytest.raises(SystemExit, match=r"earlier cannot be started from: .*qwen\.tiktoken"):
        training.main([*run, "--output", str(tmp_path / "other"), "--start", str(earlier)])
