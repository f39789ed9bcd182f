"""vLLM's engine options on a command line, under vLLM's own names."""

import argparse
import os

from vllm import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser


def serve_parser(prog: str) -> argparse.ArgumentParser:
    """A parser with every engine option of the installed vLLM; the caller adds its own."""
    parser: argparse.ArgumentParser = FlexibleArgumentParser(prog=prog)
    return AsyncEngineArgs.add_cli_args(parser)


def engine_args(namespace: argparse.Namespace) -> AsyncEngineArgs:
    """Engine options out of what the parser read.

    Raises:
        ValueError: options that exclude each other; vLLM's message names them.
    """
    if current_platform.is_cpu():
        # vLLM keeps a core free for its front end. On few cores the model needs it more: image and prefill of a small
        # model take 1.8 times as long without it.
        os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    return AsyncEngineArgs.from_cli_args(namespace)
