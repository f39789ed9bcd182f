"""Real engines on the golden checkpoint, opened one at a time: each takes seconds to start and most of two cores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parity.golden import CHECKPOINT, STEPS, GoldenCase
from tests.stack import KV_CACHE_BYTES


@contextmanager
def open_llm(model: Path = CHECKPOINT, **options: Any) -> Iterator[Any]:
    """Plain ``vllm.LLM``, as a user of the plugin alone would make it; its processes end with the block."""
    from vllm import LLM

    defaults = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": KV_CACHE_BYTES}
    llm = LLM(str(model), **(defaults | options))
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()


def greedy_answers(llm: Any, cases: Sequence[GoldenCase], **options: Any) -> list[Any]:
    """Run cases in one batch, greedily for as long as the goldens are; the outputs are vLLM's."""
    from vllm import SamplingParams

    sampling = SamplingParams(
        temperature=0, max_tokens=STEPS, ignore_eos=True, logprobs=5, skip_special_tokens=False, **options
    )
    return llm.generate([case.prompt for case in cases], sampling, use_tqdm=False)


def answer_ids(output: Any) -> tuple[int, ...]:
    return tuple(output.outputs[0].token_ids)


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Fresh folders for variants of the checkpoint, by name."""
    root = tmp_path_factory.mktemp("checkpoints")
    return lambda name: root / name
