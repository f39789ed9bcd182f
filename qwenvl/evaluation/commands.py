"""``qwenvl evaluate``: its options, and what each of its forms does."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qwenvl.errors import QwenVLError, UserError
from qwenvl.evaluation.tasks.catalogue import TASKS, find_task
from qwenvl.evaluation.tasks.task import Task

if TYPE_CHECKING:
    from qwenvl.evaluation.client import Server

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""


def evaluate(arguments: Sequence[str]) -> int:
    """Run ``qwenvl evaluate``; the exit code is 0, 1 where something failed or is incomplete, or 130 after Ctrl-C."""
    parser = evaluate_parser()
    options = parser.parse_args(list(arguments))
    try:
        return _chosen(options, parser)
    except QwenVLError as error:
        print(f"qwenvl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("qwenvl: stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def evaluate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "qwenvl evaluate",
        usage="%(prog)s TASK... --data DIR [--base-url URL --model NAME | --checkpoint PATH] [options]",
        description="Measure a model by the published benchmarks, on any server with an OpenAI API.",
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="what to measure; --list names them")
    _add_forms(parser.add_argument_group("in place of a run"))
    _add_places(parser.add_argument_group("what is asked"))
    _add_run(parser.add_argument_group("how it is asked"))
    _add_judge(parser.add_argument_group("the judge of TouchStone"))
    return parser


def _add_forms(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--list", action="store_true", help="tasks, where their data comes from and which files go where"
    )
    group.add_argument("--check", action="store_true", help="see whether the tasks' files are all there and sound")
    group.add_argument(
        "--report", action="store_true", help="write report.md and report.html of the results in --output"
    )
    group.add_argument(
        "--compare", nargs=2, type=Path, metavar=("A", "B"), help="paired differences of two directories of results"
    )
    group.add_argument("--draw", type=_count, metavar="COUNT", help="draw the small model's own tasks into --data")


def _add_places(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", type=Path, metavar="DIR", help="directory of the tasks' files")
    group.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="of results (%(default)s)")
    group.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server, /v1 and all")
    group.add_argument("--model", metavar="NAME", help="one of its models (its first)")
    group.add_argument("--api-key", metavar="KEY", help="also QWENVL_API_KEY or OPENAI_API_KEY")
    group.add_argument(
        "--checkpoint", metavar="PATH", help="serve this one for the run; without it and --base-url, the built-in one"
    )


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prompt-style", choices=("raw", "chat"), default="raw", help="chat for servers not ours (%(default)s)"
    )
    group.add_argument("--shots", type=_natural, default=0, metavar="K", help="samples of the training split first (0)")
    group.add_argument("--seed", type=int, default=0, help="which samples those are (0)")
    group.add_argument("--limit", type=_count, metavar="N", help="the first N samples alone")
    group.add_argument("--concurrency", type=_count, default=32, metavar="N", help="requests in flight (%(default)s)")
    group.add_argument(
        "--retries", type=_natural, default=5, metavar="N", help="of a request that failed (%(default)s)"
    )
    group.add_argument("--restart", action="store_true", help="forget earlier results")


def _add_judge(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--judge-base-url", metavar="URL", help="an OpenAI-compatible server")
    group.add_argument("--judge-model", metavar="NAME", help="one of its models (its first)")
    group.add_argument("--judge-api-key", metavar="KEY", help="also QWENVL_JUDGE_API_KEY")


def _chosen(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    tasks = [find_task(name) for name in options.tasks]
    if options.list:
        return _list(tasks)
    if options.compare:
        return _compare(options.compare, tasks)
    if options.report:
        return _report(options)
    if options.data is None:
        parser.error("--data is missing")
    if options.draw:
        return _draw(options.data, options.draw)
    if not tasks:
        parser.error("TASK is missing; --list names them")
    if options.check:
        return _check(tasks, options.data)
    if options.base_url and options.checkpoint:
        parser.error("--base-url and --checkpoint: one of them")
    return _run(tasks, options)


def _list(tasks: Sequence[Task]) -> int:
    from qwenvl.evaluation.checking import describe

    for task in tasks or TASKS.values():
        print(*describe(task), sep="\n")
    return 0


def _check(tasks: Sequence[Task], data: Path) -> int:
    from qwenvl.evaluation.checking import check

    is_whole = True
    for task in tasks:
        found = check(task, data)
        is_whole &= found.is_whole
        flaws = ", ".join(f"{count} {flaw}" for flaw, count in found.flaws.items())
        print(f"{task.name}: {found.samples} samples, {flaws or 'nothing wrong'}")
        print(*(f"  {line}\n" for line in found.named), sep="", end="")
    return 0 if is_whole else 1


def _draw(data: Path, count: int) -> int:
    from qwenvl.evaluation.synthetic import draw_tasks

    draw_tasks(data, count)
    return 0


def _report(options: argparse.Namespace) -> int:
    from qwenvl.evaluation.report import write_report

    for path in write_report(options.output, options.data):
        print(path)
    return 0


def _compare(folders: Sequence[Path], tasks: Sequence[Task]) -> int:
    from qwenvl.evaluation.comparison import compare_folders, table

    found = compare_folders(folders[0], folders[1], [task.name for task in tasks])
    print(table(found))
    return 0 if all(one.is_whole for one in found) else 1


def _run(tasks: Sequence[Task], options: argparse.Namespace) -> int:
    from qwenvl.evaluation.runner import run_task
    from qwenvl.evaluation.settings import PromptStyle, RunSettings
    from qwenvl.evaluation.summary import in_words

    is_sound = True
    with _base_url(options) as base_url:
        settings = RunSettings(
            data=options.data,
            output=options.output,
            server=asyncio.run(_server(base_url, options.model, _api_key(options), options)),
            judge=asyncio.run(_judge(options)),
            prompt_style=PromptStyle(options.prompt_style),
            shots=options.shots,
            seed=options.seed,
            limit=options.limit,
            concurrency=options.concurrency,
        )
        for task in tasks:
            summary = asyncio.run(run_task(task, settings, restart=options.restart))
            print(in_words(summary), flush=True)
            is_sound &= summary["complete"] or (options.limit is not None and summary["covered"] == summary["of"] > 0)
    return 0 if is_sound else 1


@contextmanager
def _base_url(options: argparse.Namespace) -> Iterator[str]:
    if options.base_url:
        yield _completed(options.base_url)
        return
    from qwenvl.evaluation.serving import serving

    with serving(options.checkpoint, options.output / "server.log") as base_url:
        yield base_url


def _completed(base_url: str) -> str:
    """``localhost:8000`` is ``http://localhost:8000/v1``.

    Raises:
        UserError: it is no http or https URL.
    """
    import httpx

    try:
        url = httpx.URL(base_url if "://" in base_url else f"http://{base_url}")
    except httpx.InvalidURL as error:
        raise UserError(f"{base_url}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"{base_url} is no http or https URL")
    return str(url.copy_with(path="/v1") if url.path == "/" else url).rstrip("/")


async def _server(base_url: str, model: str | None, api_key: str | None, options: argparse.Namespace) -> "Server":
    from qwenvl.evaluation.client import Server, first_model

    model = model or await first_model(base_url, api_key)
    return Server(base_url, model, api_key, options.retries, options.concurrency)


async def _judge(options: argparse.Namespace) -> "Server | None":
    if not options.judge_base_url:
        return None
    api_key = options.judge_api_key or os.environ.get("QWENVL_JUDGE_API_KEY")
    return await _server(_completed(options.judge_base_url), options.judge_model, api_key, options)


def _api_key(options: argparse.Namespace) -> str | None:
    return options.api_key or os.environ.get("QWENVL_API_KEY") or os.environ.get("OPENAI_API_KEY")


def _natural(value: str) -> int:
    if (number := int(value)) < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {value}")
    return number


def _count(value: str) -> int:
    if (number := int(value)) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return number
