"""What a recipe does to a model that exists: which weights move (`adapt`), towards what (`prefer`, `reinforce`, `distill`), what is kept.

An `Aim` is what the training loop minimises; a plain learner is its own. Everything else (batches, checkpoints, resuming bit for bit,
early stopping) is the loop's, the same for all.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from miaobi.core.artifact import open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.families import Family
from miaobi.core.protocols import Adaptable, Answerer, Batch, Codec, Learner, Loss
from miaobi.core.recipe import Recipe
from miaobi.core.types import Record
from miaobi.engine import adapter, lora
from miaobi.engine.journal import Journal
from miaobi.engine.lora import without_additions

Reward = Callable[..., float]  # (prompt, answer, meta) -> a number; higher is better


class Aim(Protocol):
    """What a training minimises, and over which batches."""

    phases: tuple[str, ...]

    @property
    def codec(self) -> Codec:
        """What turns records into batches."""
        ...

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """The summed loss of one batch, with a graph."""
        ...

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What may move."""
        ...


class Reference:
    """The model as it was: the same network with its additions switched off, else a frozen copy."""

    def __init__(self, learner: Answerer) -> None:
        self._network = learner.network if lora.wrapped(learner.network) else None
        self._learner = learner
        if self._network is None:
            self._learner = copy.copy(learner)
            self._learner.network = copy.deepcopy(learner.network).requires_grad_(False).eval()

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Logits (selected, V), without a graph and without dropout."""
        if self._network is None:
            return self._learner.logits(batch)
        training = self._network.training
        with without_additions(self._network.eval()):
            found = self._learner.logits(batch)
        self._network.train(training)
        return found


def open_base(kind: Family, folder: Path) -> Learner:
    """The model that a training starts from; of an adapter, its base with the adapter in it."""
    from miaobi.engine.load import load

    model = load(folder, runtime="torch").model
    if not isinstance(model, Learner):
        raise UsageError("family '{name}' cannot be trained", name=kind.name)
    return model


def shape(learner: Learner, recipe: Recipe, kind: Family) -> None:
    """Let only those weights move that the section `adapt` says.

    Raises:
        UsageError: the family takes no additions, or `layers` names nothing that is there.
    """
    section = recipe.adapt
    if section is None or section.method == "full":
        return
    if section.method == "freeze":
        freeze(learner.network, section.layers)
        return
    if not isinstance(learner, Adaptable):
        raise UsageError("family '{name}' cannot be adapted by {method}; use full or freeze", name=kind.name, method=section.method)
    lora.attach(
        learner.network,
        rank=section.rank,
        alpha=section.alpha,
        dropout=section.dropout,
        magnitudes=section.method == "dora",
        layers=section.layers,
        seed=recipe.train.seed,
    )


def freeze(network: nn.Module, layers: Iterable[str] = ()) -> None:
    """Let only the named layers move; without names, the upper half of the blocks and the last norm.

    Raises:
        UsageError: a name that is no layer.
    """
    names = [name for name, _ in network.named_parameters()]
    chosen: set[str] = set()
    for layer in layers or _upper(network):
        found = {name for name in names if _belongs(name, layer)}
        if not found:
            known = sorted({re.sub(r"(\.\d+)\..*", r"\1", name.rpartition(".")[0]) for name in names})
            raise UsageError(
                "adapt.layers names '{pattern}', which is no layer here. Known: {known}", pattern=layer, known=", ".join(known)
            )
        chosen |= found
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in chosen)


def _belongs(name: str, layer: str) -> bool:
    """Whether a parameter is in a layer; `*` in the layer's name stands for one step."""
    return re.match(re.escape(layer).replace(r"\*", r"[^.]*") + r"(\.|$)", name) is not None


def _upper(network: nn.Module) -> list[str]:
    """The upper half of the longest list of blocks, and what comes behind it but for the head (which may be the embedding)."""
    lists = {name: len(module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise UsageError("this network has no blocks of which the upper half could move; name adapt.layers")
    blocks = max(lists, key=lambda name: lists[name])
    beside = {name: None for name, _ in network.named_parameters() if not name.startswith(f"{blocks}.") and "norm" in name}
    return [f"{blocks}.{number}" for number in range(lists[blocks] // 2, lists[blocks])] + list(beside)


def aim_of(learner: Learner, recipe: Recipe, *, reward: Reward | None = None) -> Aim:
    """What the recipe's training minimises.

    Raises:
        UsageError: the family does not know how a request and its answer become tokens, or a section's model is missing.
    """
    section = recipe.prefer or recipe.reinforce or recipe.distill
    if section is None:
        return learner
    if not isinstance(learner, Answerer):
        raise UsageError("family '{name}' learns neither from preferences nor from rewards or a teacher", name=learner.card.family)
    if recipe.prefer is not None:
        from miaobi.engine.prefer import Preferring

        return Preferring(learner, recipe.prefer)
    if recipe.reinforce is not None:
        from miaobi.engine.reinforce import Reinforcing

        return Reinforcing(learner, recipe.reinforce, options=recipe.generate.options, reward=reward)
    assert recipe.distill is not None
    from miaobi.engine.distill import Distilling

    return Distilling(learner, recipe.distill)


def training_records(records: Sequence[Record], recipe: Recipe, folder: Path, journal: Journal) -> Sequence[Record]:
    """The records that are learned: those of the data set, and what a teacher writes beside them."""
    if recipe.distill is None:
        return records
    from miaobi.engine.distill import with_texts

    return with_texts(records, recipe, folder, journal)


def save(learner: Any, folder: Path, recipe: Recipe, base: Path | None) -> None:
    """Write what was learned: the additions alone, or (also by `adapt.merge`) the whole model."""
    section = recipe.adapt
    if section is None or base is None or not lora.wrapped(learner.network):
        learner.save(folder)
    elif section.merge:
        with lora.whole(learner.network):
            learner.save(folder)
    else:
        adapter.save(learner, folder, base=open_artifact(base), dropout=section.dropout)
