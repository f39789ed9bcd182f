"""vLLM's engine options on a command line, under vLLM's own names."""

import argparse
import os

import psutil
from vllm import AsyncEngineArgs
from vllm.config import LoggingConfig
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser

CPU_KV_CACHE_BYTES = 4 * 2**30
"""KV cache on a CPU where nothing else is asked for: 8,192 tokens of the real model at bfloat16."""


def serve_parser(prog: str) -> argparse.ArgumentParser:
    """A parser with every engine option of the installed vLLM; the caller adds its own.

    Requests run by priority where vLLM's default is first come, first served: among equals the two are the same.
    """
    parser: argparse.ArgumentParser = FlexibleArgumentParser(prog=prog)
    AsyncEngineArgs.add_cli_args(parser)
    parser.set_defaults(scheduling_policy="priority")
    return parser


def engine_args(namespace: argparse.Namespace, *, json_logs: bool = False) -> AsyncEngineArgs:
    """Engine options out of what the parser read.

    Args:
        namespace: of :func:`serve_parser`.
        json_logs: have every process of the engine log JSON, unless the user has configured vLLM's log.

    Raises:
        ValueError: options that exclude each other; vLLM's message names them.
    """
    args = AsyncEngineArgs.from_cli_args(namespace)
    configured = args.logging_config or args.log_config_file or "VLLM_LOGGING_CONFIG_PATH" in os.environ
    if json_logs and not configured:
        args.logging_config = LoggingConfig(formatter="json", configure_logging=True)
    return _with_cpu_defaults(args) if current_platform.is_cpu() else args


def _with_cpu_defaults(args: AsyncEngineArgs) -> AsyncEngineArgs:
    # vLLM keeps a core free for its front end. On few cores the model needs it more: image and prefill of a small
    # model take 1.8 times as long without it.
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    # vLLM asks for 92 % of all memory, as on a GPU, and does not start where other programs hold the rest.
    chosen = (
        args.kv_cache_memory_bytes is not None or args.gpu_memory_utilization != AsyncEngineArgs.gpu_memory_utilization
    )
    if not chosen and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        args.kv_cache_memory_bytes = min(CPU_KV_CACHE_BYTES, psutil.virtual_memory().available // 4)
    return args
