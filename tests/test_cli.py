"""How options reach the settings and the engine; ``tests/server/test_command.py`` runs the command for real."""

from pathlib import Path

import pytest

from qwenvl import cli
from qwenvl.engine.arguments import engine_args, serve_parser
from tests.parity.golden import CHECKPOINT

pytestmark = pytest.mark.slow


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What would be served, by running the command up to the server."""
    seen: dict[str, object] = {}

    def record(engine: object, settings: object) -> int:
        seen.update(engine=engine, settings=settings)
        return 0

    monkeypatch.setattr("qwenvl.api.server.run", record)
    return seen


def served(run: dict[str, object], *arguments: str) -> tuple[object, object]:
    assert cli.main(["serve", *arguments]) == 0
    return run["engine"]._args, run["settings"]  # type: ignore[attr-defined]


def test_model_and_options(run: dict[str, object]) -> None:
    args, settings = served(
        run, "--api-key", "one", "--api-key", "two", str(CHECKPOINT), "--port", "9", "--max-model-len", "4096"
    )
    assert (args.model, args.max_model_len, settings.port) == (str(CHECKPOINT), 4096, 9)
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]


def test_model_as_vllm_spells_it(run: dict[str, object]) -> None:
    args, settings = served(run, "--model", str(CHECKPOINT), "--served-model-name", "a", "b")
    assert (args.model, args.served_model_name) == (str(CHECKPOINT), ["a", "b"])
    assert settings.api_keys == ()


def test_key_from_the_environment(run: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWENVL_API_KEY", "secret")
    _, settings = served(run, str(CHECKPOINT))
    assert [key.get_secret_value() for key in settings.api_keys] == ["secret"]
    assert "secret" not in repr(settings)


def test_built_in(run: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QWENVL_CACHE", str(tmp_path))
    args, _ = served(run)
    assert Path(args.model).parent == tmp_path
    assert args.served_model_name == [cli.BUILT_IN_NAME]


def test_cpu_memory_is_bounded_unless_chosen() -> None:
    parser = serve_parser("serve")
    assert engine_args(parser.parse_args([])).kv_cache_memory_bytes > 0
    assert engine_args(parser.parse_args(["--gpu-memory-utilization", "0.5"])).kv_cache_memory_bytes is None
    assert engine_args(parser.parse_args(["--kv-cache-memory-bytes", "1G"])).kv_cache_memory_bytes == 2**30


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([str(CHECKPOINT), "--model", "other"], "two models"),
        (["--served-model-name", "a", str(CHECKPOINT)], "put MODEL first"),
        (["--max-images", "-1"], "--max-images: "),
    ],
)
def test_bad_options(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_empty_key_does_not_open_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWENVL_API_KEY", "")
    with pytest.raises(SystemExit):
        cli.main(["serve", str(CHECKPOINT)])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("qwenvl ")


def test_no_command() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
