import json
from pathlib import Path

import pytest

from qwenvl.errors import UserError
from qwenvl.finetuning.run_folder import RunFolder

SETTINGS = {"learning_rate": 1e-5, "model": "a"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "out")


def test_the_newest_whole_checkpoint(folder: RunFolder) -> None:
    assert folder.last_checkpoint() is None
    for step, state in ((9, "{}"), (100, "{}"), (200, '{"cut": '), (300, None)):
        checkpoint = folder.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if state is not None:
            (checkpoint / "trainer_state.json").write_text(state)
    (folder.checkpoints / "checkpoint-tmp").mkdir()
    assert folder.last_checkpoint() == folder.checkpoints / "checkpoint-100"


def test_a_fresh_folder(folder: RunFolder) -> None:
    folder.check(SETTINGS, resume=False)
    # Pictures may have been downloaded by a run that was refused afterwards.
    folder.pictures.mkdir(parents=True)
    folder.check(SETTINGS, resume=False)
    with pytest.raises(UserError, match="holds no run"):
        folder.check(SETTINGS, resume=True)


def test_another_run_or_other_files_are_there(folder: RunFolder) -> None:
    folder.write_json(folder.settings, SETTINGS)
    with pytest.raises(UserError, match="holds a run: go on with it by --resume, or choose another --output"):
        folder.check(SETTINGS, resume=False)
    folder.settings.unlink()
    (folder.output / "model.safetensors").touch()
    with pytest.raises(UserError, match="is not empty"):
        folder.check(SETTINGS, resume=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (SETTINGS | {"learning_rate": 1e-3}, "learning_rate was 1e-05 in this run and is 0.001 now"),
        (SETTINGS | {"new": True}, "new was None in this run and is True now"),
        ({"model": "a"}, "learning_rate was 1e-05 in this run and is None now"),
    ],
)
def test_only_the_same_run_goes_on(folder: RunFolder, given: dict[str, object], message: str) -> None:
    folder.write_json(folder.settings, SETTINGS)
    folder.check(SETTINGS, resume=True)
    with pytest.raises(UserError, match=message):
        folder.check(given, resume=True)
    folder.settings.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        folder.check(SETTINGS, resume=True)


def test_files_are_whole(folder: RunFolder) -> None:
    folder.write_json(folder.summary, {"a": "é"})
    assert json.loads(folder.summary.read_text(encoding="utf-8")) == {"a": "é"}
    assert [path.name for path in folder.root.iterdir()] == ["summary.json"]
