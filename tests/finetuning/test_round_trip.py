"""What is trained here is loaded by transformers and by vLLM, and has the names of the original's own files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from qwenvl.chat import VOCABULARY_FILE, Image, Message, Vocabulary, render_chatml
from qwenvl.engine.checkpoint import verify_checkpoint
from qwenvl.finetuning.merging import merge
from qwenvl.finetuning.running import finetune
from qwenvl.finetuning.settings import FinetuneSettings
from tests.finetuning.checkpoints import COLOURS, turn, write_data, write_pictures
from tests.parity.checkpoints import golden_tensors
from tests.parity.conftest import answer_ids, open_llm
from tests.parity.model_inputs import inputs_of

pytestmark = pytest.mark.slow

TOKENS = 8

# The same pictures, told in other words.
MOODS = tuple(
    {"conversations": [sample["conversations"][0], turn("assistant", f"{mood}, if you ask me.")]}
    for sample, mood in zip(COLOURS, ("Anger", "Hope", "Calm"), strict=True)
)


@dataclass(frozen=True)
class Asked:
    """A question about one picture, as :func:`inputs_of` and vLLM take it."""

    token_ids: tuple[int, ...]
    images: list[PIL.Image.Image]

    @property
    def prompt(self) -> dict[str, Any]:
        return {"prompt_token_ids": list(self.token_ids), "multi_modal_data": {"image": self.images}}


def questions(folder: Path) -> list[Asked]:
    vocabulary = Vocabulary.from_file(folder / VOCABULARY_FILE)
    ids = render_chatml([Message.of("user", Image(0), "Which colour?")], vocabulary).token_ids
    return [Asked(ids, [PIL.Image.new("RGB", (40, 30), name)]) for name in ("red", "green", "blue")]


def train(model: Path, data: Path, output: Path, **options: Any) -> Path:
    quick = {"batch_size": 3, "accumulation": 1, "max_steps": 12, "workers": 0, "learning_rate": 3e-3}
    finetune(FinetuneSettings(model=str(model), data=data, output=output, **(quick | options)))
    return output


def greedy(model: Any, asked: Sequence[Asked]) -> list[tuple[int, ...]]:
    options = {"do_sample": False, "max_new_tokens": TOKENS, "eos_token_id": None, "pad_token_id": 0}
    return [tuple(model.generate(**inputs_of(model, [one]), **options)[0, -TOKENS:].tolist()) for one in asked]


def served(checkpoint: Path, adapter: Path, asked: Sequence[Asked]) -> tuple[list[Any], list[Any]]:
    """vLLM's answers: the checkpoint's, and beside it in one batch the adapter's."""
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    lora = LoRARequest("trained", 1, str(adapter))
    with open_llm(checkpoint, enable_lora=True, max_loras=1, max_lora_rank=64) as llm:
        outputs = llm.generate(
            [one.prompt for one in asked] * 2,
            SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True),
            lora_request=[None] * len(asked) + [lora] * len(asked),
            use_tqdm=False,
        )
    answers = [answer_ids(output) for output in outputs]
    return answers[: len(asked)], answers[len(asked) :]


def test_trained_in_full_then_by_lora_then_merged(tiny: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    full = train(tiny, write_data(tmp_path / "colours.json"), tmp_path / "full", method="full", train_vision="all")
    moods = write_data(tmp_path / "moods.json", MOODS)
    adapter = train(full, moods, tmp_path / "adapter", max_steps=60, lora_alpha=64)
    merged = tmp_path / "merged"
    merge(adapter, merged)
    for checkpoint in (full, merged):
        verify_checkpoint(str(checkpoint))
        # Of as many layers as this one, and written by the original's code.
        assert load_file(checkpoint / "model.safetensors").keys() == golden_tensors().keys()

    asked = questions(tiny)
    model = AutoModelForCausalLM.from_pretrained(full, dtype=torch.float32).eval()
    expected = greedy(model, asked)
    adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    expected_of_adapter = greedy(adapted, asked)
    assert all(mine != base for mine, base in zip(expected_of_adapter, expected, strict=True))
    with torch.inference_mode():
        inputs = inputs_of(adapted, asked)
        logits = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()(**inputs).logits
        # Merged weights are stored in 16 bits.
        torch.testing.assert_close(logits, adapted(**inputs).logits, atol=0.1, rtol=0)
    assert served(full, adapter, asked) == (expected, expected_of_adapter)
