"""A network of the library `transformers` whose batch others may join: its cache is cut, padded and put together between steps.

Unusual: the rows of one cache have one length there, so rows are aligned at their ends, and columns that are not theirs are hidden, before
a row's first token or between two of them. Positions count only what is seen. Columns that nobody sees any more at the front are cut off.
Only for caches that keep every token in every layer; others (sliding windows, recurrent states) stay with `CausalStepper`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from miaobi.models.hf_transformers.stepper import CausalStepper

Layers = list[tuple[Tensor, Tensor]]  # keys and values (B, K, S, D) of each layer


def can_share(network: Any) -> bool:
    """Whether the rows of the network's cache can be told apart: known by a step of one token."""
    stepper = CausalStepper(network)
    if not stepper.takes_positions or stepper.memory != "past_key_values":
        return False
    stepper.start([[0]])
    cache = stepper.cache
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


class SharedStepper(CausalStepper):
    """`CausalStepper` as a `Joinable`."""

    def __init__(self, network: Any, context: int) -> None:
        super().__init__(network)
        self.context = context
        config = network.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.column_bytes = 2 * config.num_hidden_layers * heads * width * network.dtype.itemsize

    @property
    def weights(self) -> Hashable:
        """The network itself."""
        return id(self.network)

    @property
    def lengths(self) -> list[int]:
        """Tokens that each row has read."""
        found: list[int] = self.mask.sum(dim=1).tolist()
        return found

    def fresh(self) -> SharedStepper:
        """Another one on the same network, without a row."""
        return SharedStepper(self.network, self.context)

    @torch.inference_mode()
    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """More rows behind those that are there; the logits (prompts, V) of theirs."""
        own = CausalStepper(self.network)
        logits = own.start(prompts)
        self._put(self._layers(), self.mask, _layers_of(own.cache), own.mask)
        return logits

    @torch.inference_mode()
    def restore(self, kept: KeptLayers, length: int) -> None:
        """A row more, which has read the first `length` tokens of what was kept."""
        mask = torch.ones((1, length), dtype=torch.long, device=self.network.device)
        self._put(self._layers(), self.mask, [(keys[:, :, :length], values[:, :, :length]) for keys, values in kept.layers], mask)

    @torch.inference_mode()
    def extend(self, row: int, tokens: Sequence[int]) -> Tensor:
        """Several tokens behind those of one row; logits (1, V) of the next."""
        own = CausalStepper(self.network)
        kept = self.keep(row)
        own.cache = _cache(kept.layers)
        own.mask = torch.ones((1, kept.length + len(tokens)), dtype=torch.long, device=self.network.device)
        logits = own.advance(torch.tensor([list(tokens)]))
        rows = [other for other in range(len(self.mask)) if other != row]
        others = [(keys[rows], values[rows]) for keys, values in self._layers()]
        self._put(others, self.mask[rows], _layers_of(own.cache), own.mask)
        places = list(range(len(rows)))
        self.reorder([*places[:row], len(rows), *places[row:]])
        return logits

    @torch.inference_mode()
    def step_some(self, tokens: Sequence[int | None]) -> Tensor:
        """`step`; a row without a token gets a column that it never sees."""
        there = torch.tensor([[token is not None] for token in tokens], device=self.network.device)
        self.mask = torch.cat((self.mask, torch.ones_like(self.mask[:, :1])), dim=1)  # it sees itself while it is computed
        logits = self.advance(torch.tensor([[token or 0] for token in tokens]))
        self.mask[:, -1:] = there.long()
        return logits

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat rows."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.network.device)
        self.mask = self.mask[index]
        if not len(index):
            self.cache, self.mask = None, self.mask[:, :0]
            return
        first = int(self.mask.any(dim=0).long().argmax())  # nobody sees what is before it
        self.mask = self.mask[:, first:]
        self.cache = _cache([(keys[index, :, first:], values[index, :, first:]) for keys, values in self._layers()])

    @torch.inference_mode()
    def keep(self, row: int) -> KeptLayers:
        """A copy of what the row has read."""
        seen = self.mask[row].bool()
        return KeptLayers(layers=[(keys[row : row + 1][:, :, seen], values[row : row + 1][:, :, seen]) for keys, values in self._layers()])

    def _layers(self) -> Layers:
        return [] if self.cache is None else _layers_of(self.cache)

    def _put(self, layers: Layers, mask: Tensor, more: Layers, other: Tensor) -> None:
        """The rows of both, one below the other, aligned at their ends."""
        if not layers or not len(mask):
            self.cache, self.mask = _cache(more), other
            return
        width = max(mask.shape[1], other.shape[1])
        self.mask = torch.cat((_widened(mask, width, 1), _widened(other, width, 1)))
        pairs = zip(layers, more, strict=True)
        self.cache = _cache(
            [
                (torch.cat((_widened(a, width, 2), _widened(c, width, 2))), torch.cat((_widened(b, width, 2), _widened(d, width, 2))))
                for (a, b), (c, d) in pairs
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayers:
    """Keys and values (1, K, length, D) of one row in each layer."""

    layers: Layers

    @property
    def length(self) -> int:
        """How many tokens were read."""
        return int(self.layers[0][0].shape[2])

    @property
    def num_bytes(self) -> int:
        """The memory that they take."""
        return sum(tensor.numel() * tensor.element_size() for pair in self.layers for tensor in pair)


def _widened(tensor: Tensor, width: int, axis: int) -> Tensor:
    """Zeros before the tensor's columns, until there are so many."""
    missing = width - tensor.shape[axis]
    if not missing:
        return tensor
    shape = [*tensor.shape[:axis], missing, *tensor.shape[axis + 1 :]]
    return torch.cat((tensor.new_zeros(shape), tensor), dim=axis)


def _layers_of(cache: Any) -> Layers:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _cache(layers: Layers) -> DynamicCache:
    """A cache that holds these."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return cache
