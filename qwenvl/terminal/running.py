"""A chat from its start to its end."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from prompt_toolkit.input import create_input
from prompt_toolkit.output import create_output

from qwenvl.errors import CheckpointError, EngineError
from qwenvl.terminal.backend import Backend, BackendError
from qwenvl.terminal.chat import Chat
from qwenvl.terminal.in_process import InProcess, vllm_engine
from qwenvl.terminal.interrupts import InterruptedByUser
from qwenvl.terminal.lines import piped_lines, typed_lines
from qwenvl.terminal.loading import with_progress
from qwenvl.terminal.log_file import new_log, printing_to
from qwenvl.terminal.options import Options, is_path
from qwenvl.terminal.screen import Screen
from qwenvl.terminal.server import Server
from qwenvl.terminal.session import INTERRUPTED, Session

BUILT_IN = "the built-in small model, which knows coloured shapes and words"


def run(options: Options, built_in: Callable[[], Path]) -> int:
    """Talk until the person leaves, or the questions end; the exit code.

    Raises:
        QwenVLError: the chat did not begin, or cannot go on.
    """
    if options.base_url is None:
        return _run_in_process(options, built_in)
    server = Server(options.base_url, options.api_key, options.model)
    screen = Screen(sys.stdout, sys.stderr)
    return asyncio.run(_talk(options, server, server.start, screen))


def _run_in_process(options: Options, built_in: Callable[[], Path]) -> int:
    model = str(built_in()) if options.model is None else options.model
    # The engine says so too, once vLLM is imported, which takes ten seconds and more.
    if is_path(model) and not Path(model).is_dir():
        raise CheckpointError(f"there is no directory {model}")
    log = new_log()
    try:
        with printing_to(log) as (answers, notes):
            screen = Screen(answers, notes)
            is_small = options.model is None
            engine = InProcess(partial(vllm_engine, model, small=is_small), BUILT_IN if is_small else None)
            if is_small:
                screen.note(f"no MODEL given: loading {BUILT_IN}")
            start = partial(_load, engine, log, screen)
            code = asyncio.run(_talk(options, engine, start, screen, log))
    except EngineError as error:
        raise BackendError(f"{error}\nqwenvl: what the engine printed is in {log}") from error
    except BaseException:
        log.unlink()
        raise
    log.unlink()
    return code


async def _load(engine: InProcess, log: Path, screen: Screen) -> None:
    await with_progress(engine.start(), log, screen.notes)


async def _talk(
    options: Options,
    backend: Backend,
    start: Callable[[], Awaitable[None]],
    screen: Screen,
    log: Path | None = None,
) -> int:
    chat = Chat(backend, screen, options.sampling, options.system)
    # Python has none where whoever started this process closed it.
    display = screen.terminal if options.question is None and sys.stdin and sys.stdin.isatty() else None
    keyboard = create_input(sys.stdin) if display else None
    session = Session(chat, keyboard, log)
    try:
        # From here to the end, not prompt by prompt: between two, a terminal would turn keys into something else.
        with keyboard.raw_mode() if keyboard else nullcontext():
            await session.begin(start, options.images)
            if options.question is not None:
                return await session.ask_once(options.question)
            if keyboard is None:
                return await session.run(piped_lines(sys.stdin.fileno())) if sys.stdin else 0
            screen.note(f"{backend.name}; /help lists commands, Ctrl-D leaves")
            return await session.run(typed_lines(keyboard, create_output(display)))
    except InterruptedByUser:
        return INTERRUPTED
    finally:
        await backend.close()
