"""Runs of every method on a tiny checkpoint, stopped, killed and gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from qwenvl.engine.checkpoint import verify_checkpoint
from qwenvl.errors import CheckpointError, UserError
from qwenvl.finetuning.run_folder import RunFolder
from qwenvl.finetuning.running import finetune
from qwenvl.finetuning.settings import FinetuneSettings
from tests.finetuning.checkpoints import COLOURS, write_data, write_tiny
from tests.parity.checkpoints import write_quantized

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {
    "batch_size": 3,
    "accumulation": 1,
    "learning_rate": 5e-3,
    "warmup": 0.0,
    "max_steps": 12,
    "lora_dropout": 0.0,
    "workers": 0,
}


@pytest.fixture
def settings(tiny: Path, data: Path) -> Callable[..., FinetuneSettings]:
    defaults = QUICK | {"model": str(tiny), "data": data, "output": data.parent / "out"}
    return lambda **given: FinetuneSettings(**(defaults | given))


def losses(output: Path) -> list[float]:
    log = json.loads(RunFolder(output).summary.read_text())["log"]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_learns(settings: Callable[..., FinetuneSettings], tiny: Path, method: str) -> None:
    run = settings(method=method)
    outcome = finetune(run)
    assert outcome.is_complete
    assert outcome.steps == 12
    first, *_, last = losses(run.output)
    assert last < first / 2
    config = json.loads((run.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny)
    assert (config["r"], config["lora_alpha"], config["modules_to_save"]) == (64, 16, None)
    names = load_file(run.output / "adapter_model.safetensors").keys()
    assert len(names) == 2 * 4 * 2
    assert not any("visual" in name for name in names)


def test_an_adapter_on_an_int4_checkpoint_learns(settings: Callable[..., FinetuneSettings], tmp_path: Path) -> None:
    run = settings(model=str(write_quantized(tmp_path / "int4", "gptq")), method="qlora", max_steps=6)
    finetune(run)
    first, *_, last = losses(run.output)
    assert last < first / 2


def test_on_a_base_model_embeddings_are_learned_too(settings: Callable[..., FinetuneSettings], tmp_path: Path) -> None:
    base = str(write_tiny(tmp_path / "base", chat_format="raw"))
    finetune(settings(model=base, max_steps=1))
    names = load_file(tmp_path / "out" / "adapter_model.safetensors").keys()
    assert {"base_model.model.lm_head.weight", "base_model.model.transformer.wte.weight"} <= names
    without = settings(model=base, max_steps=1, train_embeddings=False, output=tmp_path / "without")
    finetune(without)
    assert not any("wte" in name for name in load_file(without.output / "adapter_model.safetensors"))


@pytest.mark.parametrize(
    ("vision", "moved"),
    [
        ("none", set()),
        (None, {"attn_pool", "ln_post", "proj"}),
        ("all", {"attn_pool", "ln_post", "proj", "conv1", "transformer"}),
    ],
)
def test_full_training_moves_what_it_should(
    settings: Callable[..., FinetuneSettings], tiny: Path, vision: str | None, moved: set[str]
) -> None:
    run = settings(method="full", train_vision=vision, learning_rate=1e-3)
    finetune(run)
    first, *_, last = losses(run.output)
    assert last < first / 2
    verify_checkpoint(str(run.output))
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, run.output))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    visual = {name.split(".")[2] for name in changed if ".visual." in name}
    assert visual & {"attn_pool", "ln_post", "proj", "conv1", "transformer"} == moved
    assert "transformer.visual.attn_pool.pos_embed" not in changed
    assert {"lm_head.weight", "transformer.wte.weight", "transformer.h.0.mlp.c_proj.weight"} <= changed
    for name in ("qwen.tiktoken", "tokenizer_config.json"):
        assert (run.output / name).read_bytes() == (tiny / name).read_bytes()
    saved, original = (json.loads((folder / "config.json").read_text()) for folder in (run.output, tiny))
    assert {key: saved[key] for key in original} | {"transformers_version": ""} == original | {
        "transformers_version": ""
    }
    assert AutoModelForCausalLM.from_pretrained(run.output).dtype == torch.float16


def test_files_of_a_run(settings: Callable[..., FinetuneSettings]) -> None:
    run = settings(eval_share=0.3, save_steps=2, max_steps=4, keep=1)
    outcome = finetune(run)
    folder = RunFolder(run.output)
    summary = json.loads(folder.summary.read_text())
    assert summary["eval_loss"] == outcome.eval_loss
    assert outcome.eval_loss is not None
    assert summary["samples"] == 2
    assert summary["settings"]["learning_rate"] == 5e-3
    assert summary["tokens_per_second"] > 0
    assert summary["peak_memory"] > 2**20
    assert {"qwenvl", "torch", "transformers", "peft"} <= summary["versions"].keys()
    assert folder.curve.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in folder.checkpoints.iterdir()] == ["checkpoint-4"]
    events = EventAccumulator(str(folder.events)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("eval/loss")] == [2, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"length": 9000}, "--length 9000 is more than the model's 8192 positions"),
        ({"lora_targets": "c_attn,q_proj"}, "no linear 'q_proj'"),
        ({"schedule": "sine"}, "sine"),
        (
            {"fsdp": "none.json"},
            "cannot read none.json: No such file or directory; known by name are full_shard, zero2",
        ),
        ({"eval_data": Path("none.json")}, "cannot read none.json"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: Callable[..., FinetuneSettings], given: dict[str, Any], message: str
) -> None:
    run = settings(**given)
    with pytest.raises(UserError, match=message):
        finetune(run)
    assert not RunFolder(run.output).checkpoints.exists()


def test_packed_weights_are_for_qlora(settings: Callable[..., FinetuneSettings], tmp_path: Path) -> None:
    int4 = str(write_quantized(tmp_path / "int4", "gptq"))
    with pytest.raises(UserError, match="is quantised: it can be trained by --method qlora alone"):
        finetune(settings(model=int4))


def test_a_truncated_checkpoint(settings: Callable[..., FinetuneSettings], tmp_path: Path) -> None:
    cut = write_tiny(tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        finetune(settings(model=str(cut)))
    with pytest.raises(CheckpointError, match="cannot load"):
        finetune(settings(model=str(tmp_path / "none")))


def command(settings: FinetuneSettings, *more: str, launcher: Sequence[str] = (sys.executable,)) -> list[str]:
    values = settings.model_dump(mode="json", exclude_defaults=True, exclude={"model"})
    options = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    return [*launcher, "-m", "qwenvl.cli", "finetune", settings.model, *options, *more]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def started(settings: FinetuneSettings, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, **options
    )


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        if said in line:
            return
        lines.append(line)
    raise AssertionError("the run ended first:\n" + "".join(lines))


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(settings: Callable[..., FinetuneSettings]) -> None:
    given = {"save_steps": 3, "batch_size": 1, "lora_dropout": 0.1}
    undisturbed = settings(**given)
    finetune(undisturbed)
    killed = settings(**given, output=undisturbed.output.parent / "killed")
    process = started(killed)
    wait_for(process, "'epoch': '1.667'")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed.output / "adapter_config.json").exists()
    assert RunFolder(killed.output).last_checkpoint() is not None
    # A save that was cut short must not be taken for one.
    (RunFolder(killed.output).checkpoints / "checkpoint-11").mkdir()
    with pytest.raises(UserError, match=r"learning_rate was 0.005 in this run and is 0.001 now"):
        finetune(killed.model_copy(update={"resume": True, "learning_rate": 1e-3}))
    with pytest.raises(UserError, match="holds a run: go on with it by --resume"):
        finetune(killed)
    (RunFolder(killed.output).checkpoints / "checkpoint-11").rmdir()
    outcome = finetune(killed.model_copy(update={"resume": True}))
    assert outcome.steps == 12
    assert losses(killed.output) == losses(undisturbed.output)
    weights = [load_file(run.output / "adapter_model.safetensors") for run in (undisturbed, killed)]
    torch.testing.assert_close(*weights, atol=0, rtol=0)


def test_ctrl_c_saves_and_says_how_to_go_on(settings: Callable[..., FinetuneSettings]) -> None:
    run = settings(max_steps=500)
    process = started(run)
    wait_for(process, "'loss'")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 130
    last = RunFolder(run.output).last_checkpoint()
    assert last is not None
    step = last.name.removeprefix("checkpoint-")
    assert f"stopped after step {step}; the same command with --resume goes on from there" in said


def test_a_signal_to_the_whole_group_loses_nothing(settings: Callable[..., FinetuneSettings]) -> None:
    # As a service manager sends it: to the workers that load samples as well.
    run = settings(max_steps=500, workers=2)
    process = started(run, start_new_session=True)
    wait_for(process, "'loss'")
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate()
    assert "the same command with --resume goes on" in said
    assert RunFolder(run.output).last_checkpoint() is not None


def test_the_second_signal_ends_a_run_and_its_workers_at_once(settings: Callable[..., FinetuneSettings]) -> None:
    run = settings(max_steps=500, workers=2, accumulation=200)
    process = started(run, start_new_session=True)
    wait_for(process, "parameters are trained")
    children = psutil.Process(process.pid).children
    while not (workers := children()):
        pass
    os.killpg(process.pid, signal.SIGINT)
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    psutil.wait_procs(workers)
    assert not any(worker.is_running() for worker in workers)


def test_two_processes_learn_what_one_does(settings: Callable[..., FinetuneSettings], data: Path) -> None:
    # So many that they share them evenly.
    write_data(data, [*COLOURS, COLOURS[0]])
    alone = settings(batch_size=2, max_steps=3, learning_rate=1e-3)
    finetune(alone)
    pair = settings(batch_size=1, max_steps=3, learning_rate=1e-3, output=alone.output.parent / "pair")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        command(pair, launcher=torchrun), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(RunFolder(pair.output).settings.read_text())["processes"] == 2
    assert losses(pair.output) == pytest.approx(losses(alone.output), abs=1e-3)
