"""``qwenvl chat``: its options."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwenvl.terminal.backend import Sampling

KEY_VARIABLES = ("QWENVL_API_KEY", "OPENAI_API_KEY")
"""Where a server's key is read from; the first that is set."""

# OWNER/NAME, as Hugging Face and ModelScope have it.
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """What a chat is asked to be.

    Attributes:
        model: on a server, its name there; else a directory or hub name. None is the server's first, or the built-in.
        question: to answer once; None asks for questions.
        base_url: of a server; None starts an engine.
        images: paths and URLs, shown with the first question.
    """

    model: str | None
    question: str | None
    base_url: str | None
    api_key: str | None
    images: tuple[str, ...]
    system: str | None
    sampling: Sampling


def read_options(arguments: Sequence[str]) -> Options:
    """What the arguments and the environment say. Ends the process where they are wrong."""
    parser = _parser()
    given = parser.parse_intermixed_args(list(arguments))
    model, question = _model_and_question(given, parser)
    if given.base_url is not None:
        _check_url(given.base_url, parser)
    api_key = given.api_key or next(filter(None, map(os.environ.get, KEY_VARIABLES)), None)
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        parser.error("--api-key: the key has characters that no header can hold")
    return Options(
        model=model,
        question=question,
        base_url=given.base_url,
        api_key=api_key,
        images=tuple(given.images),
        system=given.system,
        sampling=Sampling(given.temperature, given.top_p, given.max_tokens, given.seed),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "qwenvl chat",
        usage="%(prog)s [MODEL] [QUESTION] [options]",
        description="Talk to a model about pictures: on a server, or loaded here. Given a QUESTION, or lines that are "
        "piped in, it answers and ends; /help in a chat lists what else there is.",
    )
    parser.add_argument("words", nargs="*", metavar="MODEL, QUESTION", help="a directory or hub name; what to ask")
    parser.add_argument("--model", help="the same as MODEL; on a server, one that it serves (default: its first)")
    parser.add_argument(
        "--image", action="append", default=[], dest="images", metavar="PATH|URL", help="show it; once for each"
    )
    server = parser.add_argument_group("server")
    server.add_argument("--base-url", metavar="URL", help="ask this server, as http://localhost:8000/v1")
    server.add_argument("--api-key", metavar="KEY", help=f"its key; else {' or '.join(KEY_VARIABLES)}")
    answers = parser.add_argument_group("answers")
    answers.add_argument("--system", metavar="TEXT", help="what the model is told first")
    answers.add_argument("--temperature", type=_number(float, 0, 2), metavar="0..2", help="0 is always the same answer")
    answers.add_argument("--top-p", type=_number(float, 1e-6, 1), metavar="0..1", help="of the likeliest tokens alone")
    answers.add_argument("--max-tokens", type=_number(int, 1, 2**31 - 1), metavar="N", help="longest answer")
    answers.add_argument("--seed", type=_number(int, -(2**63), 2**63 - 1), metavar="N", help="repeat a sampled answer")
    return parser


def _model_and_question(given: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[str | None, str | None]:
    words = list(given.words)
    model = given.model
    # One word may be either; on a server, and where a model is named, it is the question.
    if model is None and given.base_url is None and words and (len(words) > 1 or _is_model(words[0])):
        model = words.pop(0)
    if len(words) > 1:
        parser.error(f"more than one question; put quotes around it: {words[1]}")
    if words and not words[0].strip():
        parser.error("the question is empty")
    return model, words[0] if words else None


def _is_model(word: str) -> bool:
    return _HUB_NAME.fullmatch(word) is not None or is_path(word) or Path(word).is_dir()


def is_path(model: str) -> bool:
    """Whether a model's name can be a directory's alone, and none of a hub."""
    return model.startswith(("/", "./", "../", "~"))


def _check_url(base_url: str, parser: argparse.ArgumentParser) -> None:
    from qwenvl.terminal.server import complete_url

    try:
        complete_url(base_url)
    except ValueError as error:
        parser.error(f"--base-url: {error}")


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be between {least:g} and {most:g}, not {text}")
        return value

    # argparse names it where the text is no number.
    read.__name__ = "whole number" if kind is int else "number"
    return read
