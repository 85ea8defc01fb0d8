"""BERT's encoder with the heads that its tasks need, and its tensors under Hugging Face's names.

Devlin et al. (2019): norms stand behind the residual sums, positions are learned, the first token stands for the whole text. Shapes:
B rows, T tokens, W width, H heads, D head width, V vocabulary, C classes or tags.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.bert.schema import Config

EPSILON = 1e-12
_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
_REST = {
    "embed": "bert.embeddings.word_embeddings",
    "embed_positions": "bert.embeddings.position_embeddings",
    "embed_types": "bert.embeddings.token_type_embeddings",
    "norm": "bert.embeddings.LayerNorm",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "pool": "bert.pooler.dense",
    "classes": "classifier",
}


class BertNetwork(nn.Module):
    """Token ids (B, T) to logits: of tokens (B, T, V), of classes (B, C), of tags (B, T, C)."""

    def __init__(self, config: Config, vocab_size: int, *, num_labels: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.embed_positions = nn.Embedding(config.context, config.width)
        self.embed_types = nn.Embedding(2, config.width)  # of a first and a second text; here there is one
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        if config.task == "mask":
            self.head = Head(config.width, self.embed)
        else:
            self.classes = nn.Linear(config.width, num_labels)
        if config.task == "classify":
            self.pool = nn.Linear(config.width, config.width)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of deviation 0.02, as BERT has it."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02, generator=generator)
            elif name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)

    def encode(self, tokens: Tensor, real: Tensor) -> Tensor:
        """(B, T) ids, and which of them are no padding, to (B, T, W)."""
        x = self.embed(tokens) + self.embed_positions.weight[: tokens.shape[1]] + self.embed_types.weight[0]
        x = F.dropout(self.norm(x), self.config.dropout, self.training)
        mask = real[:, None, None, :]  # (B, 1, 1, T)
        for block in self.blocks:
            x = block(x, mask)
        return x  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, real: Tensor, *, select: Tensor | None = None) -> Tensor:
        """Logits. `select` (B, T) is True where they are wanted; they are then (selected, V or C)."""
        x = self.encode(tokens, real)
        if self.config.task == "classify":
            x = torch.tanh(self.pool(x[:, 0]))
            return self.classes(F.dropout(x, self.config.dropout, self.training))  # type: ignore[no-any-return]
        x = x if select is None else x[select]
        if self.config.task == "tag":
            return self.classes(F.dropout(x, self.config.dropout, self.training))  # type: ignore[no-any-return]
        return self.head(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward, each added to its input and normed afterwards."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention = Attention(config)
        self.norm1 = nn.LayerNorm(config.width, eps=EPSILON)
        self.up, self.down = nn.Linear(config.width, config.inner), nn.Linear(config.inner, config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + F.dropout(self.attention(x, mask), self.dropout, self.training))
        y = self.down(F.gelu(self.up(x)))
        return self.norm2(x + F.dropout(y, self.dropout, self.training))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Every token looks at every other that is no padding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.output = (nn.Linear(config.width, config.width) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, T, W = x.shape
        q, k, v = (each(x).view(B, T, self.heads, -1).transpose(1, 2) for each in (self.query, self.key, self.value))  # (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.output(y.transpose(1, 2).reshape(B, T, W))  # type: ignore[no-any-return]


class Head(nn.Module):
    """From vectors to tokens; the last matrix is the embeddings'."""

    def __init__(self, width: int, embed: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.weight = embed.weight
        self.bias = nn.Parameter(torch.zeros(embed.num_embeddings))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(x))), self.weight, self.bias)


def to_hub(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `BertNetwork` under the names of `transformers`; the tied matrix is left out."""
    return {_hub_name(name): tensor for name, tensor in tensors.items() if name != "head.weight"}


def from_hub(tensors: Mapping[str, Tensor], network: BertNetwork) -> dict[str, Tensor]:
    """Of tensors that `transformers` or `to_hub` named, those that the network has, under its names.

    Raises:
        KeyError: one is missing.
    """
    old = {name.replace("gamma", "weight").replace("beta", "bias"): tensor for name, tensor in tensors.items()}  # of BERT's first release
    found = {}
    for name in network.state_dict():
        hub = "bert.embeddings.word_embeddings.weight" if name == "head.weight" else _hub_name(name)
        found[name] = old[hub] if hub in old else old[hub.removeprefix("bert.")]
    return found


def _hub_name(name: str) -> str:
    if name == "head.bias":
        return "cls.predictions.bias"
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        return f"bert.encoder.layer.{number}.{_LAYER[part]}.{kind}"
    part, _, kind = name.rpartition(".")
    return f"{_REST[part]}.{kind}"
