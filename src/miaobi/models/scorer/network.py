"""Two towers that meet: Radford et al. (2021, CLIP), with an eye that does not learn and a bag of hashed n-grams instead of a Transformer.

B pictures, T texts, N places of a picture, F features of a place, W width, H heads, D dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common.picture_features import NUM_FEATURES
from miaobi.models.scorer.schema import Config

FIRST_SCALE = math.log(1 / 0.07)
LARGEST_SCALE = math.log(100.0)


class Towers(nn.Module):
    """The picture tower behind the eye, the text tower, and the scale of their similarity."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.picture = PictureTower(config)
        self.text = TextTower(config)
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE))

    def initialise(self, generator: torch.Generator) -> None:
        """Matrices of variance 1 / inputs, so that every layer keeps the size of its numbers."""
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(parameter)
            elif name == "text.table.weight":
                nn.init.normal_(parameter, std=0.1, generator=generator)  # the norm behind it forgets the size; small rows turn sooner
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            elif name != "scale":
                nn.init.zeros_(parameter)

    @property
    def temperature(self) -> Tensor:
        """What cosines are multiplied by; it learns, and stays below 100."""
        return self.scale.clamp(max=LARGEST_SCALE).exp()


class PictureTower(nn.Module):
    """Places (B, N, F) to unit vectors (B, D): each head takes a mean over the places, weighted by what is there.

    The means are taken of the eye's own features, so that only one vector a head goes through the layers: N / H times less work.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.weigh = nn.Linear(NUM_FEATURES, config.heads)
        self.enter = nn.Linear(config.heads * NUM_FEATURES, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.inner = nn.Linear(config.width, 2 * config.width)
        self.leave = nn.Linear(2 * config.width, config.dimensions)

    def forward(self, places: Tensor) -> Tensor:
        weights = self.weigh(places).softmax(dim=1)  # (B, N, H)
        x = (weights.transpose(1, 2) @ places).flatten(1)  # (B, H * F)
        x = F.silu(self.norm(self.enter(F.dropout(x, self.dropout, self.training))))
        x = F.silu(self.inner(F.dropout(x, self.dropout, self.training)))
        return F.normalize(self.leave(F.dropout(x, self.dropout, self.training)), dim=-1)


class TextTower(nn.Module):
    """Bags of n-grams to unit vectors (T, D)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dropout, self.drop_ngrams = config.dropout, config.drop_ngrams
        self.table = nn.Embedding(config.buckets, config.text_width)
        self.norm = nn.LayerNorm(config.text_width)
        self.inner = nn.Linear(config.text_width, config.width)
        self.leave = nn.Linear(config.width, config.dimensions)

    def forward(self, rows: Tensor, starts: Tensor) -> Tensor:
        """`rows` of all texts one after another, the first of each at `starts` (T,)."""
        weights = torch.ones(rows.shape, device=rows.device)
        if self.training and self.drop_ngrams:
            weights = F.dropout(weights, self.drop_ngrams)
        x = F.embedding_bag(rows, self.table.weight, starts, mode="sum", per_sample_weights=weights)  # (T, E); the norm makes it a mean
        x = F.silu(self.inner(F.dropout(self.norm(x), self.dropout, self.training)))
        return F.normalize(self.leave(F.dropout(x, self.dropout, self.training)), dim=-1)


def contrast(texts: Tensor, pictures: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy both ways of similarities, and how many texts find a right picture first.

    Unlike plain InfoNCE a text may have several right pictures, the same thing in other styles; they share the probability (Khosla et al.,
    2020). The sum is over the pictures: each direction counts as much as the other, whatever T is.

    Args:
        texts: (T, D), scaled by the temperature.
        pictures: (B, D).
        right: (T, B) True where text and picture show one thing; no row and no column is empty.
    """
    logits = texts @ pictures.mT  # (T, B)
    wanted = right.to(logits.dtype)
    to_pictures = -(logits.log_softmax(dim=1) * wanted).sum(dim=1) / wanted.sum(dim=1)  # (T,)
    to_texts = -(logits.log_softmax(dim=0) * wanted).sum(dim=0) / wanted.sum(dim=0)  # (B,)
    hits = right.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
    return (to_pictures.mean() + to_texts.mean()) / 2 * pictures.shape[0], hits
