"""What is at each patch, told from the resampler's output: an extra loss while the small model learns to see."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwenvl.demo.samples import SIGNS
from qwenvl.demo.scenes import COLOURS, SHAPES
from qwenvl.model_executor.config import QWenConfig


class PatchHeads(nn.Module):
    """What is at each patch, told from the resampler's output: four patches to a query.

    Without them the resampler learns what it should pass on only once the language model asks for it, and the language
    model has nothing to ask for until then.
    """

    def __init__(self, config: QWenConfig) -> None:
        super().__init__()
        assert config.vision is not None
        self.sizes = (len(SHAPES) + 2, len(COLOURS) + 1, len(SIGNS) + 1, 4)
        self.side = math.isqrt(config.vision.n_queries)
        self.fold = config.vision.grid // self.side
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, self.fold**2 * sum(self.sizes))

    def forward(self, vectors_NQE: Tensor, kinds_NP3: Tensor, boxes_NP4: Tensor) -> Tensor:
        side, fold = self.side, self.fold
        told = self.head(self.norm(vectors_NQE.float()))
        # (query row, query column, row inside, column inside) to (row, column) of the patch.
        told = told.view(-1, side, side, fold, fold, sum(self.sizes)).transpose(2, 3).flatten(1, 4)
        *kinds, boxes = told.split(self.sizes, dim=-1)
        loss: Tensor = torch.zeros((), device=told.device)
        for i, logits in enumerate(kinds):
            loss = loss + F.cross_entropy(logits.flatten(0, 1), kinds_NP3[..., i].flatten())
        inside = (kinds_NP3[..., 0] > 0).unsqueeze(-1)
        off = (boxes.sigmoid() - boxes_NP4).abs() * inside
        box_loss: Tensor = off.sum() / inside.sum().clamp(min=1) / 4
        return loss + 5 * box_loss
