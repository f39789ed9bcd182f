from pathlib import Path

import pytest

from qwenvl.terminal.backend import Sampling
from qwenvl.terminal.options import read_options


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("QWENVL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("arguments", "model", "question"),
    [
        ([], None, None),
        (["What is this?"], None, "What is this?"),
        (["描述这张图片"], None, "描述这张图片"),
        (["--image", "a.png", "yes or no", "--seed", "1"], None, "yes or no"),
        (["Qwen/Qwen-VL-Chat"], "Qwen/Qwen-VL-Chat", None),
        (["./model"], "./model", None),
        (["model", "What?"], "model", "What?"),
        (["--model", "model", "a/b"], "model", "a/b"),
        (["--base-url", "localhost:1", "a/b"], None, "a/b"),
        (["--base-url", "localhost:1", "--model", "model", "What?"], "model", "What?"),
    ],
)
def test_a_model_is_told_from_a_question(arguments: list[str], model: str | None, question: str | None) -> None:
    options = read_options(arguments)
    assert (options.model, options.question) == (model, question)


def test_a_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_options(["checkpoint"]).question == "checkpoint"
    (tmp_path / "checkpoint").mkdir()
    assert read_options(["checkpoint"]).model == "checkpoint"


def test_the_rest() -> None:
    sampling = ["--temperature", "0", "--top-p", "0.5", "--max-tokens", "9", "--seed", "-1"]
    options = read_options(["--image", "a", "--image", "b", "--system", "Be brief.", *sampling])
    assert options.images == ("a", "b")
    assert options.system == "Be brief."
    assert options.sampling == Sampling(0.0, 0.5, 9, -1)


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_options([]).api_key is None
    monkeypatch.setenv("OPENAI_API_KEY", "openai")
    assert read_options([]).api_key == "openai"
    monkeypatch.setenv("QWENVL_API_KEY", "own")
    assert read_options([]).api_key == "own"
    assert read_options(["--api-key", "given"]).api_key == "given"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "3"], "--temperature: must be between 0 and 2, not 3"),
        (["--temperature", "nan"], "must be between 0 and 2, not nan"),
        (["--max-tokens", "0"], "--max-tokens: must be between 1"),
        (["--seed", "1.5"], "invalid whole number value: '1.5'"),
        (["--base-url", "ftp://a"], "--base-url: ftp://a is no http or https URL"),
        (["--api-key", "schlüssel"], "--api-key"),
        (["model", "one", "two"], "put quotes around it: two"),
        ([" "], "the question is empty"),
        (["--nothing"], "--nothing"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
