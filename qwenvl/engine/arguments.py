"""vLLM's engine options on a command line, under vLLM's own names."""

import argparse
import os
from collections.abc import Sequence
from typing import get_args

import psutil
from vllm import AsyncEngineArgs
from vllm.config import LoggingConfig
from vllm.config.lora import LoRAConfig, MaxLoRARanks
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser

from qwenvl.engine.adapter_config import read_adapter_config
from qwenvl.engine.adapters import unfit
from qwenvl.engine.protocol import AdapterSource
from qwenvl.errors import CheckpointError

ADAPTERS_AT_ONCE = 4
"""Adapters in one batch where nothing else is asked for. Each takes 0.3 GB of the real model at rank 64, used or not;
requests of a fifth wait until one of these has none."""
LOADABLE_ADAPTERS = 16
"""Adapters there can be at a time where they are loaded while the server runs, and nothing else is asked for."""
LOADABLE_RANK = 64
"""Of what is loaded while the server runs: the rank that the original is fine-tuned with."""

CPU_KV_CACHE_BYTES = 4 * 2**30
"""KV cache on a CPU where nothing else is asked for: 8,192 tokens of the real model at bfloat16."""


def serve_parser(prog: str) -> argparse.ArgumentParser:
    """A parser with every engine option of the installed vLLM; the caller adds its own.

    Requests run by priority where vLLM's default is first come, first served: among equals the two are the same.
    """
    parser: argparse.ArgumentParser = FlexibleArgumentParser(prog=prog)
    AsyncEngineArgs.add_cli_args(parser)
    # None is what nobody asked for; see _with_adapters.
    parser.set_defaults(scheduling_policy="priority", max_lora_rank=None, max_loras=None)
    return parser


def engine_args(
    namespace: argparse.Namespace,
    *,
    json_logs: bool = False,
    adapters: Sequence[AdapterSource] = (),
    loads_adapters: bool = False,
) -> AsyncEngineArgs:
    """Engine options out of what the parser read.

    Args:
        namespace: of :func:`serve_parser`.
        json_logs: have every process of the engine log JSON, unless the user has configured vLLM's log.
        adapters: those to serve from the start; room is made for them.
        loads_adapters: there may be others later.

    Raises:
        CheckpointError: the configuration of an adapter cannot be read.
        ValueError: options that exclude each other; vLLM's message names them.
    """
    args = AsyncEngineArgs.from_cli_args(namespace)
    _with_adapters(args, adapters, loads_adapters=loads_adapters)
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


def _with_adapters(args: AsyncEngineArgs, adapters: Sequence[AdapterSource], *, loads_adapters: bool) -> None:
    """Turn LoRA on where it is needed, since it costs memory and time, with room for what is given."""
    if args.default_mm_loras:
        raise ValueError("--default-mm-loras is not supported: each request names its adapter in model")
    if not adapters and not loads_adapters:
        args.max_lora_rank = args.max_lora_rank or LoRAConfig.max_lora_rank
        args.max_loras = args.max_loras or LoRAConfig.max_loras
        return
    if args.lora_target_modules:
        raise ValueError("--lora-target-modules would leave out parts of an adapter: train it on fewer modules instead")
    args.enable_lora = True
    args.max_lora_rank = args.max_lora_rank or _least_rank(adapters, LOADABLE_RANK if loads_adapters else 1)
    room = max(len(adapters), args.max_loras or 1, LOADABLE_ADAPTERS if loads_adapters else 1)
    args.max_cpu_loras = args.max_cpu_loras or room
    args.max_loras = args.max_loras or min(args.max_cpu_loras, ADAPTERS_AT_ONCE)
    if len(adapters) > args.max_cpu_loras:
        raise ValueError(f"{len(adapters)} adapters are given, but --max-cpu-loras is {args.max_cpu_loras}")


def _least_rank(adapters: Sequence[AdapterSource], least: int) -> int:
    """The smallest rank among vLLM's that every adapter fits into."""
    needed = max([least, *(_rank(adapter) for adapter in adapters)])
    ranks: tuple[int, ...] = get_args(MaxLoRARanks)
    # What fits into none is refused with the adapter's name, when it is checked.
    return next((rank for rank in ranks if rank >= needed), ranks[-1])


def _rank(adapter: AdapterSource) -> int:
    try:
        return read_adapter_config(adapter.folder).largest_rank
    except CheckpointError as error:
        raise unfit(adapter.name, error) from None
