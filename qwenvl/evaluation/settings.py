"""What a run is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from qwenvl.evaluation.client import Server

_MATTERS = ("model", "prompt_style", "shots", "seed", "judge_model")
"""Settings that change answers: results of one value and another are not mixed."""


class PromptStyle(StrEnum):
    RAW = "raw"
    CHAT = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run over one task.

    Attributes:
        data: the data directory.
        output: where results go.
        prompt_style: raw prompts through ``/v1/completions`` with this project's ``images``, or chat completions.
        shots: samples of the training split before each question.
        seed: which samples those are.
        limit: so many samples, the first; None takes all.
        concurrency: requests in flight.
    """

    data: Path
    output: Path
    server: Server
    judge: Server | None = None
    prompt_style: PromptStyle = PromptStyle.RAW
    shots: int = 0
    seed: int = 0
    limit: int | None = None
    concurrency: int = 32

    def shown(self) -> Mapping[str, Any]:
        """For the summary: everything but keys."""
        return {
            **self.fingerprint(),
            "base_url": self.server.base_url,
            "limit": self.limit,
            "concurrency": self.concurrency,
            "judge_base_url": self.judge.base_url if self.judge else None,
        }

    def fingerprint(self) -> Mapping[str, Any]:
        """What the answers depend on."""
        known: dict[str, Any] = {name: getattr(self, name) for name in ("prompt_style", "shots", "seed")}
        known |= {"model": self.server.model, "judge_model": self.judge.model if self.judge else None}
        return {name: known[name] for name in _MATTERS}
