"""The goldens: what the original modelling code computed on a small checkpoint, in float32 on a CPU."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image

DATA = Path(__file__).parents[1] / "data" / "golden"
CHECKPOINT = DATA / "tiny-448"
STEPS = 24
LOGPROB_TOLERANCE = 1e-3


@dataclass(frozen=True)
class GoldenCase:
    """One prompt and the original's greedy answer to it."""

    name: str
    token_ids: tuple[int, ...]
    """The prompt, each image an empty pair of tags."""
    image_names: tuple[str, ...]
    prompt_length: int
    answer_ids: tuple[int, ...]
    answer_text: str
    top_logprobs: tuple[dict[int, float], ...]
    conversation: dict[str, Any]
    prompt_format: str

    @property
    def images(self) -> list[PIL.Image.Image]:
        return [PIL.Image.open(DATA / "images" / name) for name in self.image_names]

    @property
    def prompt(self) -> dict[str, Any]:
        """The prompt as vLLM takes it."""
        prompt: dict[str, Any] = {"prompt_token_ids": list(self.token_ids)}
        if self.image_names:
            prompt["multi_modal_data"] = {"image": self.images}
        return prompt


@cache
def golden() -> dict[str, Any]:
    return json.loads((CHECKPOINT / "golden.json").read_text())


@cache
def cases() -> tuple[GoldenCase, ...]:
    return tuple(
        GoldenCase(
            name=case["name"],
            token_ids=tuple(i for i in case["prompt_token_ids"] if i != -1),
            image_names=tuple(case["images"]),
            prompt_length=case["prompt_len"],
            answer_ids=tuple(case["greedy_token_ids"]),
            answer_text=case["greedy_text"],
            top_logprobs=tuple(dict(step) for step in case["top5_logprobs"]),
            conversation=case["case"],
            prompt_format="chatml" if case["format"] == "chatml" else "raw",
        )
        for case in golden()["cases"]
    )


LONG = ("nine_images", "ten_images_then_turn", "crosses_seq_length")
"""Cases that reach past the training length, in the prompt or in the answer."""

SHORT = tuple(case.name for case in cases() if case.name not in LONG)


def case_named(name: str) -> GoldenCase:
    return next(case for case in cases() if case.name == name)
