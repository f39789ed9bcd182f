import subprocess
import sys
from pathlib import Path

import pytest

from qwenvl import cli
from qwenvl.finetuning.settings import FREE_TO_CHANGE, FinetuneSettings, lasting

DATA = ("--data", "train.json", "--output", "out")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["model", "--data", "train.json"], "--output"),
        ([*DATA, "--lora-rank", "0"], "--lora-rank: "),
        ([*DATA, "--learning-rate", "fast"], "--learning-rate: "),
        ([*DATA, "--eval-share", "1"], "--eval-share: "),
        ([*DATA, "--method", "prompt"], "--method: "),
        ([*DATA, "--train-vision", "all"], "--train-vision is for --method full"),
        ([*DATA, "--method", "full", "--train-embeddings"], "--train-embeddings is for adapters"),
        ([*DATA, "--eval-share", "0.1", "--eval-data", "eval.json"], "--eval-data and --eval-share"),
        ([*DATA, "--deepspeed", "zero2", "--fsdp", "full_shard"], "--deepspeed and --fsdp"),
        ([*DATA, "--method", "qlora", "--deepspeed", "zero3"], "--method qlora cannot be sharded"),
        ([*DATA, "--nothing"], "--nothing"),
    ],
)
def test_bad_options(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["finetune", "model", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_help_names_every_setting_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom qwenvl import cli\n"
        "try: cli.main(['finetune', '--help'])\n"
        "finally: print('heavy:', *sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    shown = done.stdout.replace("-\n", "-")
    assert done.returncode == 0
    assert shown.strip().endswith("heavy:")
    for name in FinetuneSettings.model_fields.keys() - {"model"}:
        assert f"--{name.replace('_', '-')}" in shown


def test_what_a_resumed_run_must_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = FinetuneSettings(model="m", data=Path("train.json"), output=Path("out"))
    assert lasting(settings).keys() == FinetuneSettings.model_fields.keys() - FREE_TO_CHANGE
    assert lasting(settings)["data"] == str(tmp_path / "train.json")


def test_defaults_are_those_of_the_recipes() -> None:
    settings = FinetuneSettings(model="m", data=Path("train.json"), output=Path("out"))
    assert (settings.learning_rate, settings.weight_decay, settings.adam_beta2) == (1e-5, 0.1, 0.95)
    assert (settings.warmup, settings.schedule, settings.length) == (0.01, "cosine", 2048)
    assert (settings.lora_rank, settings.lora_alpha, settings.lora_dropout) == (64, 16, 0.05)
    assert settings.lora_targets == "c_attn,attn.c_proj,w1,w2"
    assert settings.gradient_checkpointing


def test_failures_are_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["merge", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert f"{tmp_path} is no adapter: cannot read adapter_config.json" in capsys.readouterr().err
