"""The same weights in other forms and spread over other processes give the same tokens."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qwenvl.chat import Vocabulary
from tests.parity.checkpoints import (
    METHODS,
    golden_tensors,
    write_adapter,
    write_checkpoint,
    write_dequantized,
    write_merged,
    write_quantized,
)
from tests.parity.conftest import answer_ids, greedy_answers, open_llm
from tests.parity.golden import STEPS, case_named, cases
from tests.vocabularies import SMALL

pytestmark = pytest.mark.slow

Variants = Callable[[str], Path]

BFLOAT16_MEAN_BOUND = 0.08
"""Nats; 0.040 measured. Random weights make bfloat16 look worse than trained ones do."""


def all_answers(llm: Any, **options: Any) -> list[tuple[int, ...]]:
    return [answer_ids(output) for output in greedy_answers(llm, cases(), **options)]


GOLDEN_ANSWERS = [case.answer_ids for case in cases()]


def test_bfloat16_logprobs(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Log probabilities of the golden answers under bfloat16; argmax chains say little at that precision."""
    from vllm import SamplingParams

    prompts = [case.prompt for case in cases()]
    for prompt, case in zip(prompts, cases(), strict=True):
        prompt["prompt_token_ids"] = [*prompt["prompt_token_ids"], *case.answer_ids]
    with open_llm(dtype="bfloat16") as llm:
        outputs = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0), use_tqdm=False)
    differences = []
    for output, case in zip(outputs, cases(), strict=True):
        # A prompt is longer than the golden's by its answer: crosses_seq_length would fall under another alpha.
        if case.name == "crosses_seq_length":
            continue
        for i, (token_id, best) in enumerate(zip(case.answer_ids, case.top_logprobs, strict=True)):
            logprob = output.prompt_logprobs[case.prompt_length + i][token_id].logprob
            differences.append(abs(logprob - best[token_id]))
    mean, worst = sum(differences) / len(differences), max(differences)
    record_property("bfloat16_mean_abs_logprob_difference", mean)
    with capsys.disabled():
        print(f"\nbfloat16: mean |difference of logprobs| {mean:.4f}, worst {worst:.4f}, {len(differences)} tokens")
    assert mean < BFLOAT16_MEAN_BOUND


@pytest.fixture(scope="module")
def dequantized_answers(variants: Variants) -> list[tuple[int, ...]]:
    with open_llm(write_dequantized(variants("dequantized")), dtype="float16") as llm:
        answers = all_answers(llm)
    assert answers != GOLDEN_ANSWERS
    return answers


@pytest.mark.parametrize("method", METHODS)
def test_4_bit_equals_its_dequantized_twin(
    method: str, variants: Variants, dequantized_answers: list[tuple[int, ...]]
) -> None:
    with open_llm(write_quantized(variants(method), method), dtype="float16") as llm:
        assert llm.llm_engine.model_config.quantization is not None
        assert all_answers(llm) == dequantized_answers


def test_pickled_shards_with_stale_buffers(variants: Variants) -> None:
    """``pytorch_model-*.bin`` shards, with the buffers that some checkpoints carry."""
    folder = write_checkpoint(variants("bin"), golden_tensors())
    (folder / "model.safetensors").unlink()
    tensors = golden_tensors() | {
        "transformer.h.0.attn.rotary_emb.inv_freq": torch.zeros(64),
        "transformer.h.1.attn.masked_bias": torch.tensor(-1e4),
    }
    names = sorted(tensors)
    for i, shard in enumerate((names[::2], names[1::2]), start=1):
        torch.save({name: tensors[name] for name in shard}, folder / f"pytorch_model-0000{i}-of-00002.bin")
    with open_llm(folder) as llm:
        assert all_answers(llm) == GOLDEN_ANSWERS


def test_text_model(variants: Variants) -> None:
    """The language model alone is a first-generation Qwen; text does not need the tower."""
    tensors = {name: tensor for name, tensor in golden_tensors().items() if ".visual." not in name}
    texts = [case for case in cases() if not case.image_names]
    with open_llm(write_checkpoint(variants("text"), tensors, visual=None)) as llm:
        assert llm.llm_engine.model_config.multimodal_config is None
        answers = [answer_ids(output) for output in greedy_answers(llm, texts)]
        (chatted,) = llm.chat([{"role": "user", "content": "<ref>a</ref><img>b</img>"}], use_tqdm=False)
    assert answers == [case.answer_ids for case in texts]
    # It was never taught the tags of grounding, nor pictures.
    assert "<ref>a</ref><img>b</img>" in Vocabulary.from_file(SMALL).decode(chatted.prompt_token_ids)
    assert max(chatted.prompt_token_ids) == Vocabulary.from_file(SMALL).im_end


def test_alpha_survives_preemption() -> None:
    """Four answers that pass the training length, with room for the prompts and little more."""
    case = case_named("crosses_seq_length")
    # 2,040 tokens fill 16 blocks of 128; past 2,048 each answer wants another, and there are two.
    with open_llm(
        enable_prefix_caching=False, block_size=128, num_gpu_blocks_override=67, disable_log_stats=False
    ) as llm:
        answers = [answer_ids(output) for output in greedy_answers(llm, [case] * 4)]
        preempted = sum(metric.value for metric in llm.get_metrics() if metric.name == "vllm:num_preemptions")
    assert preempted > 0
    assert answers == [case.answer_ids] * 4


def test_adapter_equals_merged_weights_beside_base_requests(variants: Variants) -> None:
    """One slot for adapters, and base requests in the same batch."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    adapter = write_adapter(variants("adapter"))
    with open_llm(write_merged(variants("merged"), adapter)) as llm:
        merged = all_answers(llm)
    lora = LoRARequest("random", 1, str(adapter))
    prompts = [case.prompt for case in cases()]
    with open_llm(enable_lora=True, max_loras=1, max_lora_rank=8) as llm:
        outputs = llm.generate(
            prompts + prompts,
            SamplingParams(temperature=0, max_tokens=STEPS, ignore_eos=True),
            lora_request=[lora] * len(prompts) + [None] * len(prompts),
            use_tqdm=False,
        )
    answers = [answer_ids(output) for output in outputs]
    assert answers[: len(prompts)] == merged
    assert answers[len(prompts) :] == GOLDEN_ANSWERS
    assert all(with_adapter != base for with_adapter, base in zip(merged, GOLDEN_ANSWERS, strict=True))


CORES = sorted(os.sched_getaffinity(0))


@pytest.mark.skipif(len(CORES) < 2, reason="two workers need two cores")
@pytest.mark.parametrize(
    "options",
    [
        {"tensor_parallel_size": 2},
        {"tensor_parallel_size": 2, "mm_encoder_tp_mode": "data"},
        # vLLM 0.32 cannot run pipeline stages on a CPU without compiling, whatever the model.
        {"pipeline_parallel_size": 2, "enforce_eager": False},
    ],
    ids=["tensor-parallel", "tensor-parallel-images-shared-out", "pipeline-parallel"],
)
def test_spread_over_two_processes(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "|".join(map(str, CORES[:2])))
    with open_llm(**options) as llm:
        assert all_answers(llm) == GOLDEN_ANSWERS
