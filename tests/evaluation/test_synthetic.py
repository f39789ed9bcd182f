import hashlib
from pathlib import Path

from qwenvl.evaluation.checking import check
from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.reading import read_samples

COUNT = 6


def digests(data: Path) -> dict[str, str]:
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_drawn_tasks_are_sound_and_always_the_same(tmp_path):
    for name in ("first", "second"):
        assert evaluate(["--draw", str(COUNT), "--data", str(tmp_path / name)]) == 0
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    tasks = [task for task in TASKS.values() if task.name.startswith("shapes-")]
    assert len(tasks) == 4
    for task in tasks:
        found = check(task, tmp_path / "first")
        assert (found.samples, found.named) == (COUNT, [])


def test_choices_hold_the_right_answer_once(tmp_path):
    evaluate(["--draw", "20", "--data", str(tmp_path)])
    for sample in read_samples(TASKS["shapes-choice"], tmp_path):
        choices = sample.extra["choices"]
        assert len(set(choices)) == 4
        assert sample.target in "ABCD"
