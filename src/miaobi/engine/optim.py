"""Optimizers and learning-rate schedules.

AdamW (Loshchilov and Hutter, 2019) and SGD are torch's; Lion (Chen et al., 2023) and Muon (Jordan et al., 2024) are ours. Norms, biases and
other vectors are not decayed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from miaobi.core import recipe


@runtime_checkable
class Edged(Protocol):
    """A module that knows its first and last weights."""

    def edges(self) -> list[nn.Parameter]: ...


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


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal, so that every direction of a weight moves alike; embeddings and vectors take AdamW.

    The update is scaled to the size that AdamW's has (Liu et al., 2025, arXiv:2502.16982), so learning rates carry over. A group's
    `orthogonal` is the number format to multiply in, or None for AdamW.
    """

    def __init__(
        self, groups: Iterable[Any], *, lr: float, betas: tuple[float, float], eps: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "betas": betas, "eps": eps, "momentum": momentum, "weight_decay": weight_decay, "orthogonal": None}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients."""
        for group in self.param_groups:
            update = self._orthogonal if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = update(parameter, self.state[parameter], group)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-group["lr"])

    def _orthogonal(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
        assert parameter.grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        direction = parameter.grad.lerp(state["momentum"], group["momentum"])  # Nesterov
        matrix = direction.flatten(1)  # a convolution maps what lies under its kernel
        change = orthogonalise(matrix, dtype=group["orthogonal"]) * (0.2 * math.sqrt(max(matrix.shape)))
        return change.view_as(parameter)

    def _adam(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
        assert parameter.grad is not None
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        first, second = group["betas"]
        state["step"] += 1
        state["exp_avg"].lerp_(parameter.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        step = float(state["step"])
        size = (state["exp_avg_sq"] / (1 - second**step)).sqrt_().add_(group["eps"])
        return torch.div(state["exp_avg"], size * (1 - first**step))


def orthogonalise(matrix: Tensor, *, rounds: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest matrix with singular values of about 1 (0.7 to 1.2), by five rounds of a quintic Newton-Schulz iteration.

    The coefficients are Jordan's: they grow small singular values fastest, and do not settle at 1 exactly, which costs nothing here.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide.to(dtype)
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    x = x.to(matrix.dtype)
    result: Tensor = x if matrix.shape[0] <= matrix.shape[1] else x.T
    return result


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    section: recipe.Optimizer,
    *,
    tables: Collection[nn.Parameter] = (),
    dtype: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """The recipe's optimizer over matrices, which decay, and vectors, which do not.

    Muon treats `tables` (embeddings, which look up instead of mapping) as AdamW would, and multiplies in `dtype`.
    """
    moving = [parameter for parameter in parameters if parameter.requires_grad]
    apart = {id(parameter) for parameter in tables} if section.name == "muon" else set()
    maps = [p for p in moving if p.ndim >= 2 and id(p) not in apart]
    groups: list[dict[str, Any]] = [
        {"params": maps, "weight_decay": section.weight_decay} | ({"orthogonal": dtype} if section.name == "muon" else {}),
        {"params": [p for p in moving if id(p) in apart], "weight_decay": section.weight_decay},
        {"params": [p for p in moving if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if section.name == "lion":
        return Lion(groups, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay)
    if section.name == "sgd":
        return torch.optim.SGD(groups, lr=section.lr, momentum=section.momentum)
    if section.name == "muon":
        return Muon(
            groups, lr=section.lr, betas=section.betas, eps=section.eps, momentum=section.momentum, weight_decay=section.weight_decay
        )
    return torch.optim.AdamW(groups, lr=section.lr, betas=section.betas, eps=section.eps, fused=True)


def tables_of(network: nn.Module) -> list[nn.Parameter]:
    """The weights of all embeddings (a tied output shares them), and the `edges` of modules: layers from and to pixels, not features."""
    found: list[nn.Parameter] = []
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            found.append(cast("nn.Parameter", module.weight))
        elif isinstance(module, Edged):
            found += module.edges()
    return found


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
