"""The ``qwenvl chat`` command. What takes time to import is imported when it runs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from qwenvl.errors import QwenVLError
from qwenvl.terminal.options import read_options


def chat(arguments: Sequence[str], built_in: Callable[[], Path]) -> int:
    """Run ``qwenvl chat``; the exit code is 0, 1 where something failed, or 130 where Ctrl-C ended it.

    Args:
        arguments: what follows the command's name.
        built_in: the checkpoint to load where none is named.
    """
    options = read_options(arguments)
    from qwenvl.terminal.running import run
    from qwenvl.terminal.session import INTERRUPTED

    try:
        return run(options, built_in)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has gone, and knows.
        return 1
    except QwenVLError as error:
        print(f"qwenvl: {error}", file=sys.stderr)
        return 1
