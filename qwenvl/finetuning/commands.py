"""``qwenvl finetune`` and ``qwenvl merge``: their options. What takes seconds to import is imported when they run."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import ValidationError

from qwenvl.errors import QwenVLError
from qwenvl.finetuning.settings import FinetuneSettings

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""


def finetune(arguments: Sequence[str], built_in: Callable[[], Path]) -> int:
    """Run ``qwenvl finetune``; the exit code is 0, 1 where something failed, or 130 where the run was stopped.

    Args:
        arguments: what follows the command's name.
        built_in: the checkpoint to train where none is named.
    """
    parser = finetune_parser()
    given = vars(parser.parse_args(list(arguments)))
    try:
        settings = FinetuneSettings.model_validate(given if "model" in given else given | {"model": str(built_in())})
    except ValidationError as error:
        first = error.errors()[0]
        option = f"{option_of(str(first['loc'][0]))}: " if first["loc"] else ""
        parser.error(option + first["msg"].removeprefix("Value error, "))
    _prepare_log()
    try:
        from qwenvl.finetuning.running import finetune as run

        outcome = run(settings)
    except ImportError as error:
        return _fail(f"{error}: fine-tuning needs pip install 'qwenvl[finetune]'")
    except QwenVLError as error:
        return _fail(str(error))
    if outcome.is_complete:
        return 0
    return _fail(f"stopped after step {outcome.steps}; the same command with --resume goes on from there", INTERRUPTED)


def merge(arguments: Sequence[str]) -> int:
    """Run ``qwenvl merge``; the exit code is 0, or 1 where something failed."""
    parser = argparse.ArgumentParser(
        "qwenvl merge", description="Make one checkpoint, in the original's layout, of an adapter and its model."
    )
    parser.add_argument("adapter", metavar="ADAPTER", type=Path, help="directory that qwenvl finetune or PEFT wrote")
    parser.add_argument("--output", type=Path, required=True, help="directory of the checkpoint; new or empty")
    parser.add_argument("--base", help="model to merge into; by default the one the adapter was trained on")
    namespace = parser.parse_args(list(arguments))
    _prepare_log()
    try:
        from qwenvl.finetuning.merging import merge as run

        run(namespace.adapter, namespace.output, namespace.base)
    except ImportError as error:
        return _fail(f"{error}: merging needs pip install 'qwenvl[finetune]'")
    except QwenVLError as error:
        return _fail(str(error))
    return 0


def finetune_parser() -> argparse.ArgumentParser:
    """One option for each setting, named after it. pydantic reads what is given, and says what is wrong with it."""
    parser = argparse.ArgumentParser(
        "qwenvl finetune",
        usage="%(prog)s [MODEL] --data FILE --output DIR [options]",
        description="Teach MODEL conversations: an adapter by LoRA or Q-LoRA, or all its weights.",
        argument_default=argparse.SUPPRESS,
    )
    for name, field in FinetuneSettings.model_fields.items():
        help_text = f"{field.description}{_shown_default(field.default)}".replace("%", "%%")
        if name == "model":
            help_text += "; without it, the built-in one"
            parser.add_argument(name, nargs="?", metavar="MODEL", help=help_text)
            continue
        given: dict[str, Any] = {"dest": name, "help": help_text, "required": field.is_required()}
        if bool in (field.annotation, *_members(field.annotation)):
            given["action"] = argparse.BooleanOptionalAction
        else:
            given["metavar"] = _choices(field.annotation) or name.upper()
        parser.add_argument(option_of(name), **given)
    return parser


def option_of(name: str) -> str:
    """The option of a setting."""
    return f"--{name.replace('_', '-')}"


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else ()


def _choices(annotation: Any) -> str:
    for kind in (annotation, *_members(annotation)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return "{" + ",".join(kind) + "}"
    return ""


def _shown_default(default: Any) -> str:
    if isinstance(default, bool):
        return " (on by default)" if default else ""
    return f" (default: {default})" if isinstance(default, str | int | float) else ""


def _prepare_log() -> None:
    logging.basicConfig(level=logging.WARNING, format="qwenvl: %(message)s", stream=sys.stderr)
    logging.getLogger("qwenvl").setLevel(logging.INFO)
    # On CPUs it looks for a faster kernel in a package that nobody needs, and warns.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _fail(message: str, code: int = 1) -> int:
    print(f"qwenvl: {message}", file=sys.stderr)
    return code
