"""The ``qwenvl`` command: parsing and wiring only."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

import qwenvl
from qwenvl.api.settings import Settings
from qwenvl.errors import QwenVLError

if TYPE_CHECKING:
    from qwenvl.engine import Engine

API_KEY_VARIABLE = "QWENVL_API_KEY"
BUILT_IN_NAME = "qwenvl-tiny-random"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 1 where something failed, or 2 where the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="qwenvl", description="Qwen-VL and Qwen-VL-Chat, served.")
    parser.add_argument("--version", action="version", version=f"qwenvl {qwenvl.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Options of serve are vLLM's, and importing vLLM takes seconds: its parser is made once serve is asked for.
    commands.add_parser("serve", add_help=False, help="serve a checkpoint behind an OpenAI-compatible API")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser.parse_args(arguments[:1])
    return serve(arguments[1:])


def serve(arguments: Sequence[str]) -> int:
    """``qwenvl serve [MODEL]``: start the engine and the API, and run until told to stop."""
    from qwenvl.engine.arguments import engine_args, serve_parser

    parser = serve_parser("qwenvl serve")
    parser.description = "Serve MODEL, a checkpoint directory or hub name, or a small built-in checkpoint."
    parser.add_argument(
        "model_tag", nargs="?", metavar="MODEL", help="checkpoint directory or hub name; without it, the built-in one"
    )
    _add_settings(parser.add_argument_group("API server"))
    namespace = parser.parse_args(list(arguments))
    try:
        settings = _settings(namespace)
        _choose_model(namespace, parser)
        engine = _engine(engine_args(namespace))
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}")
    except QwenVLError as error:
        print(f"qwenvl: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))

    from qwenvl.api.server import run

    # vLLM configures its own loggers and leaves the root alone.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(asctime)s [%(name)s] %(message)s")
    # One line for every picture fetched says little, and its URL may hold a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return run(engine, settings)


def _engine(args: Any) -> "Engine":
    from qwenvl.engine.vllm_engine import VLLMEngine

    return VLLMEngine(args)


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
        from qwenvl.demo.checkpoint import ensure_checkpoint

        namespace.model = str(ensure_checkpoint())
        namespace.served_model_name = namespace.served_model_name or [BUILT_IN_NAME]
        # Compiling takes longer than a checkpoint of this size can win back.
        namespace.enforce_eager = True
        print(
            "qwenvl: no MODEL given: serving the built-in checkpoint. Its weights are RANDOM, so its answers mean "
            "nothing;\nqwenvl: it shows that everything works. For real answers: qwenvl serve Qwen/Qwen-VL-Chat",
            file=sys.stderr,
        )


def _add_settings(group: Any) -> None:
    """One option for each setting, named after it."""
    for name, field in Settings.model_fields.items():
        option, default = f"--{name.replace('_', '-')}", field.default
        if name == "api_keys":
            group.add_argument(
                "--api-key",
                dest=name,
                # vLLM's takes several values, and a MODEL that follows with them.
                action="append",
                metavar="KEY",
                help=f"{field.description} Give it once for each key. Also read from {API_KEY_VARIABLE}.",
            )
        elif isinstance(default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=field.description)
        elif isinstance(default, tuple):
            group.add_argument(
                option, action="append", default=None, help=f"{field.description} Give it once for each."
            )
        else:
            # pydantic reads the text, and says what is wrong with it.
            group.add_argument(option, default=default, help=field.description)


def _settings(namespace: argparse.Namespace) -> Settings:
    values = {name: getattr(namespace, name) for name in Settings.model_fields}
    keys = values["api_keys"]
    if not keys and (key := os.environ.get(API_KEY_VARIABLE)) is not None:
        if not key:
            raise ValueError(f"{API_KEY_VARIABLE} is set but empty: set a key, or unset it to serve everyone")
        keys = [key]
    lists = {name: tuple(values[name] or ()) for name, field in Settings.model_fields.items() if field.default == ()}
    return Settings(**{**values, **lists, "api_keys": tuple(map(SecretStr, keys or ()))})


if __name__ == "__main__":
    sys.exit(main())
