"""Additions of low rank to the matrices of any network: LoRA (Hu et al., 2021) and DoRA (Liu et al., 2024).

A matrix W (out, in) becomes W + s B A with A (rank, in), B (out, rank) and s = alpha / rank; B begins as zero, so nothing changes at first.
DoRA also learns the length of every row: W' = m (W + s B A) / |W + s B A|, whose norm is not differentiated (section 4.3 of the paper).
Unusual: the network's own modules stay as they are but for the wrapped ones, and `whole` puts plain matrices back for a while, so whoever
saves or exports a network never meets a wrapper.
"""

from __future__ import annotations

import contextlib
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from miaobi.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What is added to one matrix: `down` A (rank, in), `up` B (out, rank), and for DoRA `magnitude` m (out,)."""

    down: Tensor
    up: Tensor
    scale: float
    magnitude: Tensor | None = None


class LowRank(nn.Module):
    """A linear layer with an addition. `active=False` computes the layer as it was."""

    def __init__(self, base: nn.Linear, addition: Addition, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = nn.Parameter(addition.down), nn.Parameter(addition.up)
        self.magnitude = None if addition.magnitude is None else nn.Parameter(addition.magnitude)
        self.scale, self.dropout, self.active = addition.scale, dropout, True

    @property
    def weight(self) -> Tensor:
        """The weight (out, in) of the layer as it was: code that asks for its device or type finds it."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if not self.active:
            return self.base(x)  # type: ignore[no-any-return]
        added = F.linear(F.linear(F.dropout(x, self.dropout, self.training), self.down), self.up) * self.scale
        if self.magnitude is None:
            return self.base(x) + added  # type: ignore[no-any-return]
        y = (F.linear(x, self.base.weight) + added) * (self.magnitude / self._row_norms())
        return y if self.base.bias is None else y + self.base.bias

    def merged(self) -> Tensor:
        """The weight (out, in) with the addition in it."""
        total = self.base.weight + self.scale * self.up @ self.down
        scaled: Tensor = total if self.magnitude is None else total * (self.magnitude / self._row_norms())[:, None]
        return scaled

    @property
    def addition(self) -> Addition:
        """A copy of what is added."""
        magnitude = None if self.magnitude is None else self.magnitude.detach().clone()
        return Addition(down=self.down.detach().clone(), up=self.up.detach().clone(), scale=self.scale, magnitude=magnitude)

    def _row_norms(self) -> Tensor:
        """|W + s B A| (out,), a constant for the gradient."""
        with torch.no_grad():
            norms: Tensor = (self.base.weight + self.scale * self.up @ self.down).norm(dim=1)
        return norms


def targets(network: nn.Module, patterns: Sequence[str] = ()) -> dict[str, nn.Linear]:
    """The linear layers that get an addition, by name: those that a pattern names, or every one inside the blocks.

    A pattern is a whole name, the end of one (`query`, `attention.output`) or holds `*`.

    Raises:
        UsageError: a pattern that names no linear layer.
    """
    linear = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    if not patterns:
        inside = {name: module for name, module in linear.items() if any(step.isdecimal() for step in name.split("."))}
        return inside or linear
    found: dict[str, nn.Linear] = {}
    for pattern in patterns:
        matched = {name: module for name, module in linear.items() if _means(pattern, name)}
        if not matched:
            ends = sorted({name.rpartition(".")[2] for name in linear})
            raise UsageError(
                "adapt.layers names '{pattern}', which is no matrix here. Known: {known}", pattern=pattern, known=", ".join(ends)
            )
        found |= matched
    return found


def _means(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) if "*" in pattern else name == pattern or name.endswith(f".{pattern}")


def attach(
    network: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    magnitudes: bool = False,
    layers: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Freeze the network and give the chosen layers fresh additions, the only things that then may move.

    Raises:
        UsageError: `layers` names none of the network's.
    """
    chosen = targets(network, layers)
    generator = torch.Generator().manual_seed(seed)
    network.requires_grad_(False)
    for name, linear in chosen.items():
        out, inner = linear.weight.shape
        bound = 1 / math.sqrt(inner)  # Kaiming's uniform of a linear layer, which is what the paper's code and PEFT draw
        down = torch.empty(rank, inner).uniform_(-bound, bound, generator=generator).to(linear.weight)
        magnitude = linear.weight.detach().norm(dim=1) if magnitudes else None
        addition = Addition(down=down, up=torch.zeros(out, rank).to(linear.weight), scale=alpha / rank, magnitude=magnitude)
        _put(network, name, LowRank(linear, addition, dropout=dropout))


def attach_stored(network: nn.Module, additions: Mapping[str, Addition]) -> None:
    """Give the named layers the additions of a trained adapter.

    Raises:
        UsageError: a layer that the network does not have, or of another shape.
    """
    linear = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    network.requires_grad_(False)
    for name, addition in additions.items():
        if name not in linear:
            raise UsageError("the adapter adds to {name}, which the base model does not have: it was made for another model", name=name)
        out, inner = linear[name].weight.shape
        if addition.down.shape[1] != inner or addition.up.shape[0] != out:
            raise UsageError("the adapter's matrices for {name} do not fit the base model: it was made for another one", name=name)
        _put(network, name, LowRank(linear[name], addition))


def additions(network: nn.Module) -> dict[str, Addition]:
    """All additions by the names of their layers."""
    return {name: module.addition for name, module in wrapped(network).items()}


def wrapped(network: nn.Module) -> dict[str, LowRank]:
    """The layers with additions, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LowRank)}


@contextlib.contextmanager
def without_additions(network: nn.Module) -> Iterator[None]:
    """The network as it was before, for a while: the reference that costs no second copy."""
    layers = list(wrapped(network).values())
    for layer in layers:
        layer.active = False
    try:
        yield
    finally:
        for layer in layers:
            layer.active = True


@contextlib.contextmanager
def whole(network: nn.Module) -> Iterator[None]:
    """Plain linear layers in the wrappers' places, for a while, with the additions in their weights."""
    layers = wrapped(network)
    for name, layer in layers.items():
        _put(network, name, _plain(layer))
    try:
        yield
    finally:
        for name, layer in layers.items():
            _put(network, name, layer)


def merge(network: nn.Module) -> None:
    """Put all additions into the weights, for good."""
    for name, layer in wrapped(network).items():
        _put(network, name, _plain(layer))


@torch.no_grad()
def _plain(layer: LowRank) -> nn.Linear:
    """A linear layer that computes what the wrapped one does."""
    out, inner = layer.base.weight.shape
    bias, like = layer.base.bias is not None, layer.base.weight
    # weights that are written over at once need no random ones before
    plain: nn.Linear = skip_init(nn.Linear, inner, out, bias=bias, device=like.device, dtype=like.dtype)  # type: ignore[no-untyped-call]
    plain.weight.copy_(layer.merged())
    if layer.base.bias is not None:
        plain.bias.copy_(layer.base.bias)
    return plain.train(layer.training)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of that name."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
