"""The recipe's sections about models that exist: change one (`adapt`), teach it taste (`prefer`, `reinforce`), shrink it (`distill`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from miaobi.core.language import tr
from miaobi.core.schema import Schema


class Adapt(Schema):
    """Change an existing model: all weights, some layers, or low-rank additions."""

    method: Literal["full", "freeze", "lora", "dora"] = "lora"
    """All weights, some layers, additions of low rank (Hu et al., 2021), or those with a magnitude of their own (Liu et al., 2024)."""
    rank: int = Field(16, ge=1, le=4096)
    """The rank of the additions."""
    alpha: float = Field(32.0, gt=0)
    """Their scale, divided by the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the additions' inputs that training switches off."""
    layers: list[str] = Field(default_factory=list)
    """Which layers move (freeze: `blocks.3`, `norm`) or get additions (lora, dora: `query`, `value`); `*` stands for anything. When empty:
    the upper half of the blocks and the last norm (freeze), every matrix inside the blocks (lora, dora)."""
    merge: bool = False
    """Whether additions are put into the weights at the end: a whole model, that needs its base no more."""
    general: str = ""
    """Held-out text of what the base could do before, measured before and after: a file, folder or package of records, or another recipe,
    whose held-out split it is. When empty: the held-out split of the base's own recipe, where its data set is here already."""
    records: int = Field(300, ge=1)
    """How many held-out records are measured before and after."""


class Prefer(Schema):
    """Learn from `prompt`, `chosen` and `rejected` what people like better; needs `model.base`."""

    loss: Literal["dpo", "ipo", "orpo"] = "dpo"
    """dpo (Rafailov et al., 2023), ipo, which does not overrate sure pairs (Azar et al., 2023), or orpo, which needs no reference model
    and learns the chosen answers as well (Hong et al., 2024)."""
    beta: float = Field(0.1, gt=0)
    """How closely the model is kept to its base (dpo, ipo); the weight of the preference beside the likelihood (orpo)."""
    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """The share of pairs that are taken to be the wrong way round (dpo)."""


class Reinforce(Schema):
    """Write answers, have them rewarded, and make the better ones likelier (Williams, 1992); needs `model.base`."""

    reward: dict[str, float] = Field(default_factory=dict)
    """Names of rewards and their weights: what the family offers (`{form: 1, rhyme: 1}`), `length`, `model:NAME`, the log-likelihood that
    another model gives a character of the answer, or `model:NAME#CLASS`, the probability that a classifier gives a class. A Python function
    comes by `--reward FILE.py:FUNCTION` or `adapt(…, reward=…)`."""
    samples: int = Field(8, ge=2, le=256)
    """Answers to one prompt; each is judged by how it differs from the mean of the others (Kool et al., 2019; Ahmadian et al., 2024)."""
    kl: float = Field(0.05, ge=0)
    """The leash: what every nat of divergence from the base takes off the reward, summed over an answer's tokens and the whole vocabulary
    (Amini et al., 2025)."""
    max_tokens: int = Field(128, ge=1, le=65_536)
    """Longest answer."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Of the answers that are tried."""


class Distill(Schema):
    """Teach a smaller model what a larger one says (Hinton et al., 2015; Kim and Rush, 2016)."""

    teacher: str
    """The larger model: a name or a folder. The student is `model`; a new one gets the teacher's vocabulary."""
    temperature: float = Field(2.0, gt=0, le=100)
    """Softens both distributions, so that unlikely tokens teach, too."""
    logits: float = Field(0.5, ge=0, le=1)
    """The share of the teacher's distribution in the loss; the rest is what the records say."""
    texts: int = Field(0, ge=0, le=1_000_000)
    """So many texts are written by the teacher and learned beside the records."""


def check_aims(sections: Sequence[str], *, base: str) -> None:
    """Refuse sections that contradict each other or lack a model to change.

    Raises:
        ValueError: two aims, or no base.
    """
    aims = [name for name in sections if name != "adapt"]
    if len(aims) > 1:
        raise ValueError(tr("a training has one aim: choose one of {names}", names=", ".join(aims)))
    for name in sections:
        if name != "distill" and not base:
            raise ValueError(tr("the section {name} changes an existing model: name it in model.base", name=name))
