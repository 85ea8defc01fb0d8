"""Learning from pairs of a better and a worse answer, without a reward model: DPO, IPO and ORPO, over any model that answers.

Rafailov et al. (2023); Azar et al. (2023), whose log-likelihoods are taken per token here, as its authors recommend for answers of unlike
length; Hong et al. (2024). The reference of an adapter is the network without it, so no second copy is held.
Shapes: B pairs, 2B rows (the chosen answers first), N answer tokens of all rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.core.adapting import Prefer
from miaobi.core.errors import DataError
from miaobi.core.protocols import Answerer, Batch, Loss
from miaobi.core.types import Record
from miaobi.engine.adapt import Reference
from miaobi.engine.ask import asked_in

if TYPE_CHECKING:
    from numpy.random import Generator


NOTHING = 1e-6  # a margin that is rounding: before the first step nothing is preferred


class Pairs:
    """Records of `prompt`, `chosen`, `rejected` to rows of ids. A `Codec` for as long as its learner lives."""

    def __init__(self, learner: Answerer) -> None:
        self._answered = learner.answered
        self.context = int(getattr(learner.codec, "context", 0))

    def rows(self, record: Record) -> tuple[tuple[list[int], int], tuple[list[int], int]]:
        """The ids of either answer behind the prompt, and how many are the prompt.

        Raises:
            DataError: the record is no pair, or its prompt fills the model's context.
        """
        request = asked_in(record)
        if request is None or not {"prompt", "chosen", "rejected"} <= record.meta.keys():
            raise DataError("record {id} is no preference: it needs prompt, chosen and rejected", id=record.id)
        chosen, rejected = (self._answered(request, str(record.meta[side])) for side in ("chosen", "rejected"))
        if min(len(ids) - prompt for ids, prompt in (chosen, rejected)) < 1:
            raise DataError("record {id}: the prompt fills the model's context, so there is no answer to compare", id=record.id)
        return chosen, rejected

    def length(self, record: Record, /) -> int:
        """Ids of the longer side."""
        return max(len(ids) for ids, _ in self.rows(record))

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (2B, T + 1) and `weights` (2B, T), True where the next token belongs to an answer."""
        pairs = [self.rows(record) for record in records]
        return padded([pair[0] for pair in pairs] + [pair[1] for pair in pairs])


def padded(rows: Sequence[tuple[Sequence[int], int]]) -> dict[str, Tensor]:
    """Ids with the length of their prompts as a batch, filled up on the right, where a causal model does not look."""
    longest = max(len(ids) for ids, _ in rows)
    tokens = np.zeros((len(rows), longest), dtype=np.int64)
    weights = np.zeros((len(rows), longest - 1), dtype=bool)
    for number, (ids, prompt) in enumerate(rows):
        tokens[number, : len(ids)] = ids
        weights[number, max(prompt - 1, 0) : len(ids) - 1] = True
    return {"tokens": torch.from_numpy(tokens), "weights": torch.from_numpy(weights)}


def token_log_probabilities(logits: Tensor, batch: Batch) -> Tensor:
    """log p (N,) of the targets that the batch selects."""
    targets = batch["tokens"][:, 1:][batch["weights"]]
    return -F.cross_entropy(logits.float(), targets, reduction="none")


def row_sums(values: Tensor, weights: Tensor) -> Tensor:
    """Sums (rows,) of the values (N,) that `weights` (rows, T) selects."""
    rows = weights.nonzero()[:, 0]
    return torch.zeros(len(weights), dtype=values.dtype, device=values.device).index_add(0, rows, values)


class Preferring:
    """The aim of the section `prefer`."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, learner: Answerer, section: Prefer) -> None:
        self.learner, self.section = learner, section
        self.codec = Pairs(learner)
        self.reference = None if section.loss == "orpo" else Reference(learner)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What the learner lets move."""
        return self.learner.trainable(phase)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Summed over pairs. `preferred` counts the pairs that the loss calls right; `likelier` those whose chosen answer is, per token."""
        weights = batch["weights"]
        lengths = weights.sum(dim=1)  # (2B,)
        own = row_sums(token_log_probabilities(self.learner.logits(batch), batch), weights)  # (2B,) log p of each answer
        before = None
        if self.reference is not None:
            before = row_sums(token_log_probabilities(self.reference.logits(batch), batch), weights)
        losses, margins = self._losses(own, before, lengths)
        better, worse = (own / lengths).detach().chunk(2)
        told = {
            "preferred": (margins > NOTHING) + 0.5 * (margins.abs() <= NOTHING),  # undecided: half right
            "likelier": (better > worse).float(),
            "margin": margins.detach(),
        }  # (B,) each
        logs = {name: float(values.sum()) for name, values in told.items()}
        return Loss(total=losses.sum(), count=len(losses), logs=logs, each={name: values.tolist() for name, values in told.items()})

    def _losses(self, own: Tensor, before: Tensor | None, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The loss (B,) of each pair, and the margin (B,) by which it is right."""
        beta = self.section.beta
        if before is None:
            return orpo(own, lengths, beta=beta)
        if self.section.loss == "ipo":
            return ipo((own - before) / lengths, beta=beta)
        return dpo(own - before, beta=beta, smoothing=self.section.smoothing)


def dpo(ratios: Tensor, *, beta: float, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Of log ratios (2B,) to the reference: -log σ(β (chosen - rejected)), with a share of the pairs taken to be the wrong way round."""
    chosen, rejected = ratios.chunk(2)
    margin = beta * (chosen - rejected)
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin), margin


def ipo(ratios: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """Of log ratios (2B,) per token: the squared distance of chosen - rejected to 1 / 2β, so sure pairs are not pushed for ever."""
    chosen, rejected = ratios.chunk(2)
    margin = chosen - rejected
    return (margin - 1 / (2 * beta)) ** 2, margin


def orpo(log_likelihoods: Tensor, lengths: Tensor, *, beta: float) -> tuple[Tensor, Tensor]:
    """The chosen answers' loss per token, and β times -log σ of the log odds ratio of chosen and rejected."""
    chosen, rejected = (log_likelihoods / lengths).chunk(2)
    margin = _log_odds(chosen) - _log_odds(rejected)
    return -chosen - beta * F.logsigmoid(margin), margin


def _log_odds(log_probability: Tensor) -> Tensor:
    """log p / (1 - p); p is kept below 1, where the odds would be infinite."""
    below = log_probability.clamp(max=-1e-6)
    return below - torch.log1p(-torch.exp(below))
