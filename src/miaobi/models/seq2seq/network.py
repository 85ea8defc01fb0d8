"""An encoder that sees a whole text, and a decoder that looks at it while it writes; tensors go by mBART's names.

Vaswani et al. (2017), with norms before each part and after the last (mBART, Liu et al., 2020), learned positions, one embedding for
both texts and the output. The decoder's memory of a step is a tensor with rows first, so that rows are copied and dropped by an index.
Shapes: B rows, S tokens read, T written, W width, H heads, D head width, L layers, V vocabulary; memories (B, L, 2, H, S or T, D) hold keys
and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.seq2seq.schema import Config

OFFSET = 2  # mBART's positions begin there
_PARTS = {
    "attention": "self_attn",
    "norm1": "self_attn_layer_norm",
    "cross": "encoder_attn",
    "norm_cross": "encoder_attn_layer_norm",
    "up": "fc1",
    "down": "fc2",
    "norm2": "final_layer_norm",
}
_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}


class Seq2SeqNetwork(nn.Module):
    """Ids read (B, S) and written (B, T) to logits (B, T, V)."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.encoder = Stack(config, crossed=False)
        self.decoder = Stack(config, crossed=True)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of deviation 0.02; projections into the residual stream are scaled down by depth."""
        deep = 0.02 / (2 * self.config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=deep if name.endswith(("output.weight", "down.weight")) else 0.02, generator=generator)
            elif "norm" in name and name.endswith("weight"):
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(
        self, source: Tensor, real: Tensor, target: Tensor, *, select: Tensor | None = None, keep: list[Tensor] | None = None
    ) -> Tensor:
        """Logits of the token after each one of `target`.

        Args:
            source: (B, S) ids that are read.
            real: (B, S) True where `source` is no padding.
            target: (B, T) ids, beginning with the mark of a text's beginning.
            select: (B, T) True where logits are wanted; they are then (selected, V).
            keep: gets what every layer of the decoder looks at, (B, H, T, S) each.
        """
        read = self.encode(source, real)
        x = self.decoder.begin(self.embed(target))
        seen = real[:, None, None, :]  # (B, 1, 1, S)
        for block in self.decoder.blocks:
            keys, values = block.cross.memory(read)
            x = x + block.drop(block.attention.over(block.norm1(x), causal=True))
            x = x + block.drop(block.cross(block.norm_cross(x), keys, values, mask=seen, keep=keep))
            x = block.feed(x)
        x = self.decoder.norm(x)
        return self.logits(x if select is None else x[select])

    def encode(self, source: Tensor, real: Tensor) -> Tensor:
        """(B, S) ids to (B, S, W)."""
        x = self.encoder.begin(self.embed(source))
        seen = real[:, None, None, :]
        for block in self.encoder.blocks:
            x = x + block.drop(block.attention.over(block.norm1(x), mask=seen))
            x = block.feed(x)
        return self.encoder.norm(x)  # type: ignore[no-any-return]

    def look(self, source: Tensor) -> Tensor:
        """What the decoder keeps of a text without padding: keys and values of all layers (B, L, 2, H, S, D)."""
        read = self.encode(source, torch.ones_like(source, dtype=torch.bool))
        return torch.stack([torch.stack(block.cross.memory(read), dim=1) for block in self.decoder.blocks], dim=1)

    def step(self, tokens: Tensor, past: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, V) after one more token (B, 1), and what is remembered then: `past` (B, L, 2, H, T, D) becomes longer by one."""
        x = self.decoder.begin(self.embed(tokens), past.shape[4])
        grown = []
        for layer, block in enumerate(self.decoder.blocks):
            y = block.norm1(x)
            keys, values = block.attention.memory(y)
            keys = torch.cat((past[:, layer, 0], keys), dim=2)  # (B, H, T + 1, D)
            values = torch.cat((past[:, layer, 1], values), dim=2)
            grown.append(torch.stack((keys, values), dim=1))
            x = x + block.attention(y, keys, values)
            x = x + block.cross(block.norm_cross(x), cross[:, layer, 0], cross[:, layer, 1])
            x = block.feed(x)
        return self.logits(self.decoder.norm(x)[:, 0]), torch.stack(grown, dim=1)

    def logits(self, x: Tensor) -> Tensor:
        """(…, W) to (…, V) by the embeddings."""
        return F.linear(x, self.embed.weight)


class Stack(nn.Module):
    """Positions, blocks and the norms around them."""

    def __init__(self, config: Config, *, crossed: bool) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.embed_positions = nn.Embedding(config.context + OFFSET, config.width)
        self.norm_in = nn.LayerNorm(config.width)
        self.blocks: Any = nn.ModuleList(Block(config, crossed=crossed) for _ in range(config.layers))  # Any: its items are Blocks
        self.norm = nn.LayerNorm(config.width)

    def begin(self, x: Tensor, past: int = 0) -> Tensor:
        """Vectors (B, T, W) of tokens behind `past` others, with their positions."""
        first = OFFSET + past
        x = self.norm_in(x + self.embed_positions.weight[first : first + x.shape[1]])
        return F.dropout(x, self.dropout, self.training)


class Block(nn.Module):
    """Attention to its own text, in the decoder also to the text that was read, and feed-forward."""

    def __init__(self, config: Config, *, crossed: bool) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention, self.norm1 = Attention(config), nn.LayerNorm(config.width)
        if crossed:
            self.cross, self.norm_cross = Attention(config), nn.LayerNorm(config.width)
        self.up, self.down = nn.Linear(config.width, config.inner), nn.Linear(config.inner, config.width)
        self.norm2 = nn.LayerNorm(config.width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def feed(self, x: Tensor) -> Tensor:
        """x plus the feed-forward part."""
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Attention(nn.Module):
    """Queries of one text over the keys and values of another, or of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.output = (nn.Linear(config.width, config.width) for _ in range(4))

    def memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D) of a text (B, S, W)."""
        return self._split(self.key(x)), self._split(self.value(x))

    def over(self, x: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attention of a text to itself."""
        return self(x, *self.memory(x), mask=mask, causal=causal)  # type: ignore[no-any-return]

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        keep: list[Tensor] | None = None,
    ) -> Tensor:
        B, T, W = x.shape
        q = self._split(self.query(x))
        if keep is not None:
            scores = q @ keys.transpose(2, 3) * (W // self.heads) ** -0.5
            keep.append((scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(dim=-1))
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, is_causal=causal)
        return self.output(y.transpose(1, 2).reshape(B, T, W))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        B, T, W = x.shape
        return x.view(B, T, self.heads, W // self.heads).transpose(1, 2)


def to_hub(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the network under mBART's names; the tied copies of the embeddings are left out."""
    return {_hub_name(name): tensor for name, tensor in tensors.items()}


def from_hub(tensors: Mapping[str, Tensor], network: Seq2SeqNetwork) -> dict[str, Tensor]:
    """Of tensors that `transformers` or `to_hub` named, those that the network has, under its names.

    Raises:
        KeyError: one is missing.
    """
    return {name: tensors[_hub_name(name)] for name in network.state_dict()}


def _hub_name(name: str) -> str:
    if name == "embed.weight":
        return "model.shared.weight"
    side, rest = name.split(".", 1)
    if not rest.startswith("blocks."):
        part, _, kind = rest.rpartition(".")
        return f"model.{side}.{ {'norm_in': 'layernorm_embedding', 'norm': 'layer_norm'}.get(part, part) }.{kind}"
    _, number, part, *middle, kind = rest.split(".")
    inner = [_ATTENTION[each] for each in middle]
    return ".".join(("model", side, "layers", number, _PARTS[part], *inner, kind))
