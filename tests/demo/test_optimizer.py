from copy import deepcopy

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from qwenvl.demo.optimizer import MuonAndAdamW


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(7, 4)
        self.linear = nn.Linear(4, 7)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.linear(self.wte(ids))


def step(model: Small, optimizer: MuonAndAdamW) -> float:
    optimizer.zero_grad()
    ids = torch.arange(7)
    loss = nn.functional.cross_entropy(model(ids), ids)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_every_parameter_has_one_optimizer() -> None:
    model = Small()
    groups = MuonAndAdamW(model, 0.1, 0.0).param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(parameters) == 3


def test_it_learns_and_a_schedule_reaches_both() -> None:
    torch.manual_seed(0)
    model = Small()
    optimizer = MuonAndAdamW(model, 0.05, 0.0)
    schedule = LambdaLR(optimizer, lambda done: 1.0 if done < 100 else 0.0)
    losses = []
    for _ in range(100):
        losses.append(step(model, optimizer))
        schedule.step()
    assert losses[-1] < losses[0] / 4
    before = [parameter.clone() for parameter in model.parameters()]
    step(model, optimizer)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_restored_state_goes_on_as_it_would_have() -> None:
    torch.manual_seed(0)
    model, again = Small(), Small()
    optimizer = MuonAndAdamW(model, 0.05, 0.0)
    for _ in range(3):
        step(model, optimizer)
    again.load_state_dict(model.state_dict())
    restored = MuonAndAdamW(again, 0.05, 0.0)
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    step(model, optimizer)
    step(again, restored)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
