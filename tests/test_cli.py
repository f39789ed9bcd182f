"""How options reach the settings and the engine; ``tests/server/test_command.py`` runs the command for real."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwenvl import cli
from qwenvl.api import Settings
from qwenvl.api.access.keys import hash_key
from qwenvl.api.telemetry.collector import TRACES_PROTOCOL
from qwenvl.api.telemetry.logs import LOGGERS
from qwenvl.demo import built_in_checkpoint
from qwenvl.demo.checkpoint import NAME
from qwenvl.engine import AdapterSource
from qwenvl.engine.arguments import engine_args, serve_parser
from tests.parity.checkpoints import write_adapter
from tests.parity.golden import CHECKPOINT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Undo what the command does to the log of this process."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, LOGGERS)]
    levels = [logger.level for logger in loggers]
    yield
    logging.captureWarnings(False)
    for handler in [handler for handler in root.handlers if handler.name == "qwenvl"]:
        root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


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
    assert settings.api_keys == (hash_key("one"), hash_key("two"))


def test_model_as_vllm_spells_it(run: dict[str, object]) -> None:
    args, settings = served(run, "--model", str(CHECKPOINT), "--served-model-name", "a", "b")
    assert (args.model, args.served_model_name) == (str(CHECKPOINT), ["a", "b"])
    assert settings.api_keys == ()


def test_key_from_the_environment(run: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWENVL_API_KEY", "secret")
    _, settings = served(run, str(CHECKPOINT))
    assert settings.api_keys == (hash_key("secret"),)


def test_settings_from_the_environment(run: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PORT": "9",
        "MAX_N": "3",
        "TOKENS_PER_MINUTE": "500",
        "IMAGE_DOMAINS": "a.example,b.example",
        "ALLOW_PRIVATE_ADDRESSES": "true",
        "LOG_LEVEL": "debug",
    }.items():
        monkeypatch.setenv(f"QWENVL_{name}", value)
    args, settings = served(run, str(CHECKPOINT), "--max-n", "4", "--no-allow-private-addresses")
    assert (settings.port, settings.max_n, settings.tokens_per_minute) == (9, 4, 500)
    assert settings.image_domains == ("a.example", "b.example")
    assert not settings.allow_private_addresses
    assert (settings.log_level, args.log_level) == ("debug", "DEBUG")


def test_port_of_a_service_is_none_of_ours(run: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWENVL_PORT", "tcp://10.0.0.1:80")
    _, settings = served(run, str(CHECKPOINT))
    assert settings.port == 8000


def test_one_log_level_for_both(run: dict[str, object]) -> None:
    args, settings = served(run, str(CHECKPOINT), "--log-level", "WARNING")
    assert (settings.log_level, args.log_level) == ("warning", "WARNING")
    args, settings = served(run, str(CHECKPOINT))
    assert (settings.log_level, args.log_level) == ("info", None)


def test_only_shared_settings_take_a_name_of_the_engine() -> None:
    engine = {action.dest for action in serve_parser("serve")._actions}
    assert engine & set(Settings.model_fields) == set(cli.SHARED_WITH_ENGINE)


def test_lists_of_settings(run: dict[str, object]) -> None:
    _, settings = served(run, "--image-domains", "a.example", "--image-domains", "b.example", str(CHECKPOINT))
    assert settings.image_domains == ("a.example", "b.example")


def test_built_in(run: dict[str, object]) -> None:
    args, _ = served(run)
    assert args.model == str(built_in_checkpoint())
    assert args.served_model_name == [NAME]


def test_adapters_make_room_for_themselves(run: dict[str, object], tmp_path: Path) -> None:
    small, large = (write_adapter(tmp_path / str(rank), rank=rank) for rank in (8, 24))
    args, _ = served(run, str(CHECKPOINT))
    assert not args.enable_lora
    args, settings = served(run, str(CHECKPOINT), "--lora", f"a={small}", "--lora", f"team/b={large}")
    assert settings.lora == (AdapterSource("a", small), AdapterSource("team/b", large))
    assert (args.enable_lora, args.max_lora_rank, args.max_loras, args.max_cpu_loras) == (True, 32, 2, 2)
    args, _ = served(run, str(CHECKPOINT), "--lora", f"a={small}", "--lora-dir", str(tmp_path))
    assert (args.enable_lora, args.max_lora_rank, args.max_loras, args.max_cpu_loras) == (True, 64, 4, 16)
    chosen = ["--max-lora-rank", "128", "--max-loras", "3"]
    args, _ = served(run, str(CHECKPOINT), "--lora", f"a={small}", *chosen)
    assert (args.max_lora_rank, args.max_loras, args.max_cpu_loras) == (128, 3, 3)


def test_adapters_and_admin_keys_from_the_environment(
    run: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "a")
    monkeypatch.setenv("QWENVL_LORA", f"a={folder},b={folder}")
    monkeypatch.setenv("QWENVL_LORA_DIR", str(tmp_path))
    monkeypatch.setenv("QWENVL_ADMIN_KEY", "one,key")
    _, settings = served(run, str(CHECKPOINT))
    assert [adapter.name for adapter in settings.lora] == ["a", "b"]
    assert (settings.lora_dir, settings.admin_keys) == (tmp_path, (hash_key("one,key"),))


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("nowhere", "adapter 'a': there is no folder nowhere"),
        (str(CHECKPOINT), "holds a whole checkpoint and no adapter: serve it as the model"),
    ],
)
def test_no_adapter(folder: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", str(CHECKPOINT), "--lora", f"a={folder}"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("qwenvl:")]
    assert complaint in line


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
        (["--log-level", "loud"], "--log-level: "),
        (["--api-key", "a b"], "--api-key: "),
        (["--admin-key", ""], "--admin-key: "),
        (["--lora", "somewhere"], "--lora: An adapter is given as NAME=FOLDER, not as 'somewhere'"),
        (["--lora", "a b=somewhere"], "--lora: The name of an adapter has up to 128 letters"),
        (["--lora", "a=b", "--lora", "a=c"], "--lora: two adapters are named 'a'"),
        (["--lora-dir", "nowhere"], "--lora-dir: "),
        (["--api-key", "a", "--admin-key", "a"], "--admin-key: a key is both --admin-key and --api-key"),
        (["--lora-dir", ".", "--lora-target-modules", "w1"], "--lora-target-modules would leave out"),
        (["--default-mm-loras", '{"image": "a"}'], "--default-mm-loras is not supported"),
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


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--help=all"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--max-queued" in shown
    assert "QWENVL_<NAME>" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("qwenvl ")


def test_no_command() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2


def test_the_engine_logs_and_traces_as_the_gateway_does(
    run: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the command sets for the engine's processes is undone after the test.
    for variable in ("VLLM_CONFIGURE_LOGGING", TRACES_PROTOCOL):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    args, _ = served(run, str(CHECKPOINT), "--log-format", "json", "--otlp-endpoint", "http://127.0.0.1:4318")
    assert (args.logging_config.formatter, args.logging_config.configure_logging) == ("json", True)
    assert args.otlp_traces_endpoint == "http://127.0.0.1:4318/v1/traces"
    assert os.environ[TRACES_PROTOCOL] == "http/protobuf"


def test_the_engines_own_collector_is_kept(run: dict[str, object]) -> None:
    own = ["--otlp-traces-endpoint", "http://127.0.0.1:1"]
    args, settings = served(run, str(CHECKPOINT), "--otlp-endpoint", "http://127.0.0.1:4317", *own)
    assert args.otlp_traces_endpoint == "http://127.0.0.1:1"
    assert settings.otlp_endpoint == "http://127.0.0.1:4317"
