"""Muon for the matrices inside the layers, AdamW for everything else, as one optimizer.

Muon (Jordan et al. 2024, in torch since 2.9) learns matrices in about half the steps AdamW takes; embeddings, heads,
norms and biases are not what it is for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

NOT_FOR_MUON = ("wte.", "lm_head.", "positional_embedding", "attn_pool.query", "auxiliary.", "conv1.")


class MuonAndAdamW(Optimizer):
    """Both as one, so that schedulers, gradient clipping and checkpoints see a single optimizer.

    Args:
        learning_rate: of both; Muon's update is scaled to the size of AdamW's.
        weight_decay: on matrices alone.
    """

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float) -> None:
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [p for name, p in named if _is_matrix(name, p)]
        others = [p for name, p in named if not _is_matrix(name, p)]
        self._muon = Muon(
            matrices, lr=learning_rate, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        super().__init__([*matrices, *others], {})
        # The groups of the two themselves: a scheduler that changes them changes what steps.
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of each."""
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Both states, as :meth:`state_dict` gave them."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(part in name for part in NOT_FOR_MUON)
