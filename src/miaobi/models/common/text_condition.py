"""A small bilingual text encoder that learns together with the model that it steers.

A Transformer over the units of `text_units`; learned queries pool it into one vector and a few tokens, so their number does not depend on
the text. Every text begins with a mark, which alone is the empty text: no condition is a text like any other. `tie` pulls the two languages
of a picture together by a contrast within the batch (van den Oord et al., 2018), so that a caption and its translation give the same
picture. Shapes: B texts, L units, F features a unit, W width, K tokens, D the model's width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common.text_units import UNITS

TEMPERATURE = 0.1  # of the contrast in `tie`


class TextEncoder(nn.Module):
    """Rows (B, L, F) of a `Vocabulary` to a vector (B, D) and tokens (B, K, D)."""

    def __init__(self, size: int, width: int, out: int, *, layers: int = 1, heads: int = 4, tokens: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.size, self.heads, self.dropout = size, heads, dropout
        self.table = nn.Embedding(size + 1, width)  # row 0 is nothing
        self.begin = nn.Parameter(torch.zeros(width))
        self.places = nn.Parameter(torch.zeros(UNITS, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, 2 * width, bias=False)
        self.queries = nn.Parameter(torch.zeros(1 + tokens, width))
        self.out = nn.Linear(width, out)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights; a unit's features add up to about unit variance."""
        for name, parameter in self.named_parameters():
            if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.ones_(parameter)
            elif parameter.ndim < 2 and name != "begin":
                nn.init.zeros_(parameter)
            elif name in ("table.weight", "begin", "queries"):
                nn.init.normal_(parameter, std=1.0 if name == "queries" else 0.5, generator=generator)
            else:
                nn.init.normal_(parameter, std=0.02 if name == "places" else parameter.shape[-1] ** -0.5, generator=generator)
        with torch.no_grad():
            self.table.weight[0] = 0

    def edges(self) -> list[nn.Parameter]:
        """Weights that map nothing to nothing: an optimizer for hidden matrices leaves them out."""
        return [self.places, self.queries]

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The condition of each text."""
        known = rows > 0  # (B, L, F)
        counts = known.sum(-1, keepdim=True).clamp(min=1)
        x = (self.table(rows) * known[..., None]).sum(2) / counts.sqrt()  # (B, L, W)
        x = x + self.places[: rows.shape[1]]
        x = torch.cat([self.begin.expand(len(x), 1, -1).to(x.dtype), x], dim=1)
        mask = F.pad(known.any(-1), (1, 0), value=True)  # (B, 1 + L): the mark is always there
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask)
        memory, value = self.pool(self.norm(x)).chunk(2, dim=-1)
        pooled = _attend(self.queries.expand(len(x), -1, -1).to(memory.dtype), memory, value, mask, self.heads)
        pooled = self.out(pooled)  # (B, 1 + K, D)
        return pooled[:, 0], pooled[:, 1:]


class _Block(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, memory, value = self.mix(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.output(_attend(query, memory, value, mask, self.heads))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))  # type: ignore[no-any-return]


def _attend(query: Tensor, memory: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    B, Q, W = query.shape
    query, memory, value = (x.view(B, -1, heads, W // heads).transpose(1, 2) for x in (query, memory, value))  # (B, heads, L, D)
    mixed = F.scaled_dot_product_attention(query, memory, value, attn_mask=mask[:, None, None])
    return mixed.transpose(1, 2).reshape(B, Q, W)


def tie(first: Tensor, second: Tensor, concepts: Tensor) -> Tensor:
    """The summed contrastive loss of two languages.

    Args:
        first, second: (B, D) vectors of the captions of the same pictures.
        concepts: (B,) equal numbers are the same thing in other styles: never each other's wrong answers.
    """
    a, b = F.normalize(first.float(), dim=-1), F.normalize(second.float(), dim=-1)
    logits = a @ b.T / TEMPERATURE  # (B, B)
    same = concepts[:, None] == concepts[None]
    target = same / same.sum(-1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, target, reduction="sum") + F.cross_entropy(logits.T, target, reduction="sum"))
