"""Optimizers and learning-rate schedules.

AdamW (Loshchilov and Hutter, 2019) and SGD are torch's; Lion (Chen et al., 2023) is ours. Norms, biases and other vectors are not decayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from miaobi.core import recipe


class Lion(torch.optim.Optimizer):
    """The sign of an interpolated momentum: one state a weight, learning rates about a tenth of AdamW's."""

    def __init__(self, parameters: Iterable[Any], *, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                momentum: Tensor = state["exp_avg"]
                direction = torch.lerp(parameter.grad, momentum, first).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 1 - second)


def make_optimizer(parameters: Iterable[nn.Parameter], section: recipe.Optimizer) -> torch.optim.Optimizer:
    """The recipe's optimizer over two groups: matrices, which decay, and vectors, which do not."""
    moving = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in moving if p.ndim >= 2], "weight_decay": section.weight_decay},
        {"params": [p for p in moving if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if section.name == "lion":
        return Lion(groups, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay)
    if section.name == "sgd":
        return torch.optim.SGD(groups, lr=section.lr, momentum=section.momentum)
    return torch.optim.AdamW(groups, lr=section.lr, betas=section.betas, eps=section.eps, fused=True)


def learning_rate(step: int, total: int, section: recipe.Schedule) -> float:
    """The share of the base rate at step number `step` (from 0) of `total`.

    wsd (warm-up, stable, decay; Hu et al., 2024) falls as 1 - sqrt over the last `decay` share.
    """
    if step < section.warmup:
        return (step + 1) / section.warmup
    if section.name == "constant":
        return 1.0
    done = min(1.0, (step - section.warmup) / max(1, total - section.warmup))
    if section.name == "linear":
        shape = 1 - done
    elif section.name == "cosine":
        shape = 0.5 * (1 + math.cos(math.pi * done))
    else:
        start = 1 - section.decay
        shape = 1.0 if done < start else 1 - math.sqrt((done - start) / max(section.decay, 1e-9))
    return section.floor + (1 - section.floor) * shape


class Average:
    """An exponential moving average of the weights; it warms up so that early steps do not weigh for ever."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in network.named_parameters():
            self.shadow[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def swap(self, network: nn.Module) -> None:
        """Exchange average and weights; a second call takes it back."""
        for name, parameter in network.named_parameters():
            held = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(held)
