"""Random LoRA adapters as PEFT makes them, and what PEFT's own model answers with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tests.parity.golden import CHECKPOINT, STEPS, GoldenCase

OFFICIAL = ["c_attn", "attn.c_proj", "w1", "w2"]
"""What the original's fine-tuning adapts."""
EVERY = r"transformer\.h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.w1|mlp\.w2|mlp\.c_proj)"


@dataclass(frozen=True)
class Answer:
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


def write_peft_adapter(folder: Path, *, seed: int = 0, targets: Any = OFFICIAL, **options: Any) -> Path:
    """A random adapter over the golden checkpoint, saved by PEFT."""
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=targets, **{"r": 8, "lora_alpha": 16} | options)
    model = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            scale = parameter.shape[1] ** -0.5 if ".lora_A." in name else 0.05
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    model.save_pretrained(folder)
    return folder


def peft_answers(adapter: Path, cases: Sequence[GoldenCase], inputs_of: Any) -> Mapping[str, Answer]:
    """Greedy answers to golden cases by name, one at a time."""
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    answers = {}
    for case in cases:
        output = model.generate(
            **inputs_of(base, [case]),
            do_sample=False,
            max_new_tokens=STEPS,
            eos_token_id=None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
        token_ids = tuple(output.sequences[0, -STEPS:].tolist())
        logprobs = [
            float(logits[0].log_softmax(dim=-1)[token_id])
            for logits, token_id in zip(output.logits, token_ids, strict=True)
        ]
        answers[case.name] = Answer(token_ids, tuple(logprobs))
    return answers
