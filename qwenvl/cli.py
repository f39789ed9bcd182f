"""The ``qwenvl`` command: parsing and wiring only."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError

import qwenvl
from qwenvl.api.settings import Settings
from qwenvl.api.telemetry.collector import TRACES_PROTOCOL, read_collector
from qwenvl.api.telemetry.logs import configure_logging
from qwenvl.errors import QwenVLError
from qwenvl.evaluation import commands as evaluation
from qwenvl.finetuning import commands as finetuning
from qwenvl.terminal import command as terminal

if TYPE_CHECKING:
    from qwenvl.engine import Engine

ENVIRONMENT_PREFIX = "QWENVL_"
KEYS = {"api_keys": "api_key", "admin_keys": "admin_key"}
"""Settings that are named after one of their values. Their variables hold one, which may have a comma in it."""
SHARED_WITH_ENGINE = ("log_level",)
"""Settings that vLLM has an option of the same name for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 where something failed, or 2 where the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="qwenvl", description="Qwen-VL and Qwen-VL-Chat, served and fine-tuned.")
    parser.add_argument("--version", action="version", version=f"qwenvl {qwenvl.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Options of serve are vLLM's, and importing vLLM takes seconds: its parser is made once serve is asked for.
    commands.add_parser("serve", add_help=False, help="serve a checkpoint behind an OpenAI-compatible API")
    commands.add_parser("chat", add_help=False, help="talk to a model about pictures: on a server, or loaded here")
    commands.add_parser("finetune", add_help=False, help="teach a checkpoint conversations: LoRA, Q-LoRA or in full")
    commands.add_parser("evaluate", add_help=False, help="measure a model by the published benchmarks, on any server")
    commands.add_parser("merge", add_help=False, help="make one checkpoint of an adapter and its model")
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(arguments[:1]).command
    if chosen == "chat":
        return terminal.chat(arguments[1:], _built_in)
    if chosen == "finetune":
        return finetuning.finetune(arguments[1:], _built_in)
    if chosen == "evaluate":
        return evaluation.evaluate(arguments[1:])
    if chosen == "merge":
        return finetuning.merge(arguments[1:])
    return serve(arguments[1:])


def serve(arguments: Sequence[str]) -> int:
    """``qwenvl serve [MODEL]``: start the engine and the API, and run until told to stop."""
    _prepare_log(arguments)
    from qwenvl.engine.arguments import engine_args, serve_parser

    parser = serve_parser("qwenvl serve")
    parser.description = "Serve MODEL, a checkpoint directory or hub name, or a small built-in checkpoint."
    parser.add_argument(
        "model_tag", nargs="?", metavar="MODEL", help="checkpoint directory or hub name; without it, the built-in one"
    )
    _add_settings(parser)
    namespace = parser.parse_args(list(arguments))
    try:
        settings = _settings(namespace)
        _choose_model(namespace, parser)
        _share_collector(settings, namespace)
        args = engine_args(
            namespace,
            json_logs=settings.log_format == "json",
            adapters=settings.lora,
            loads_adapters=settings.lora_dir is not None,
        )
        engine = _engine(args, settings)
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"{option_of(str(first['loc'][0]))}: {first['msg'].removeprefix('Value error, ')}")
    except QwenVLError as error:
        print(f"qwenvl: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))

    from qwenvl.api.server import run

    configure_logging(settings.log_format, settings.log_level)
    return run(engine, settings)


def _prepare_log(arguments: Sequence[str]) -> None:
    """Keep vLLM from writing text where JSON is wanted: it logs as it is imported, long before its options are read."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--log-format", default=os.environ.get(f"{ENVIRONMENT_PREFIX}LOG_FORMAT"))
    if early.parse_known_args(arguments)[0].log_format == "json":
        configure_logging("json", "info")
        if "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
            os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")


def _share_collector(settings: Settings, namespace: argparse.Namespace) -> None:
    """The engine's spans go where the gateway's go, unless it has a collector of its own."""
    if settings.otlp_endpoint is not None and namespace.otlp_traces_endpoint is None:
        collector = read_collector(settings.otlp_endpoint)
        namespace.otlp_traces_endpoint = collector.url
        # vLLM asks this variable alone.
        os.environ.setdefault(TRACES_PROTOCOL, collector.protocol)


def _engine(args: Any, settings: Settings) -> "Engine":
    from qwenvl.engine.vllm_engine import VLLMEngine

    return VLLMEngine(args, settings.lora)


def _built_in() -> Path:
    from qwenvl.demo.checkpoint import built_in_checkpoint

    return built_in_checkpoint()


def _choose_model(namespace: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """MODEL, or ``--model`` as vLLM's engine options spell it, or the built-in checkpoint."""
    named = namespace.model != parser.get_default("model")
    if namespace.model_tag and named:
        parser.error(f"two models: {namespace.model_tag} and --model {namespace.model}")
    if namespace.model_tag:
        namespace.model = namespace.model_tag
    elif not named:
        for name in namespace.served_model_name or []:
            if os.path.isdir(name):
                parser.error(f"--served-model-name took {name} for a name: put MODEL first")
        namespace.model = str(_built_in())
        from qwenvl.demo.checkpoint import NAME

        namespace.served_model_name = namespace.served_model_name or [NAME]
        # Compiling takes longer than a checkpoint of this size can win back.
        namespace.enforce_eager = True
        print(
            "qwenvl: no MODEL given: serving the built-in small model, which knows coloured shapes and words.\n"
            "qwenvl: for photographs and documents: qwenvl serve Qwen/Qwen-VL-Chat",
            file=sys.stderr,
        )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """One option for each setting, named after it. pydantic reads what is given, and says what is wrong with it."""
    own = parser.add_argument_group("API server", f"Each is also read from {ENVIRONMENT_PREFIX}<NAME>.")
    # Its option takes the place of vLLM's, and is handed on to it.
    shared = parser.add_argument_group("API server and engine", conflict_handler="resolve")
    for name, field in Settings.model_fields.items():
        group = shared if name in SHARED_WITH_ENGINE else own
        help_text = f"{field.description}{_shown_default(field.default)}".replace("%", "%%")
        # Left out, the environment and the setting's own default have their say.
        given: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": help_text}
        if field.annotation is bool:
            group.add_argument(option_of(name), action=argparse.BooleanOptionalAction, **given)
        elif get_origin(field.annotation) is tuple:
            # vLLM's list options take several values, and a MODEL that follows with them.
            given["help"] += " Give it once for each."
            group.add_argument(
                option_of(name), action="append", metavar=option_of(name).removeprefix("--").upper(), **given
            )
        else:
            group.add_argument(option_of(name), **given)


def option_of(name: str) -> str:
    """The option of a setting."""
    return f"--{KEYS.get(name, name).replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{KEYS.get(name, name).upper()}"


def _shown_default(default: Any) -> str:
    return "" if default is None or default == () else f" Default: {default}."


def _settings(namespace: argparse.Namespace) -> Settings:
    """What the options say, else the environment, else the defaults."""
    given = {name: value for name, value in vars(namespace).items() if name in Settings.model_fields}
    settings = Settings(**{**_environment(), **given})
    if "log_level" in settings.model_fields_set:
        namespace.log_level = settings.log_level.upper()
    return settings


def _environment() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        variable = variable_of(name)
        value = os.environ.get(variable)
        # Kubernetes sets QWENVL_PORT so in every pod beside a service named qwenvl.
        if value is None or (name == "port" and value.startswith("tcp://")):
            continue
        if not value:
            raise ValueError(f"{variable} is set but empty: give it a value, or unset it")
        is_list = get_origin(field.annotation) is tuple
        values[name] = [value] if name in KEYS else value.split(",") if is_list else value
    return values


if __name__ == "__main__":
    sys.exit(main())
