"""One lean decoder-only Transformer: GPT-2, Llama, Qwen2, Qwen3 and SmolLM are choices in its configuration, not classes.

Vaswani et al. (2017); Radford et al. (2019, GPT-2); Touvron et al. (2023, Llama). `hub_format` translates configuration and weights to
and from Hugging Face's names. Shapes: B rows, T new tokens, S tokens in the cache and new, W width, H query heads, K key heads, D head
width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common import rotary
from miaobi.models.common.transformer_config import TransformerConfig

MANY_ROWS = 64  # a cache of fewer rows never shrinks


class KeyValueCache:
    """Keys and values of all layers, allocated once: a step writes its columns and reads the filled part."""

    def __init__(self, config: TransformerConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.layers, rows, config.key_heads, capacity, config.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (layers, B, K, capacity, D)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D) behind what is there; returns all S columns of the layer."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Keep, drop or repeat rows."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class Transformer(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.embed_positions = nn.Embedding(config.context, config.width) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = make_norm(config, config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.embed.weight
        rotary_positions = config.positions == "rotary"
        frequencies = torch.from_numpy(rotary.frequencies(config)) if rotary_positions else torch.empty(0)
        self.strength = rotary.strength(config)  # of cosines and sines
        self.frequencies: Tensor  # (D / 2,)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of deviation 0.02; projections into the residual stream are scaled down by depth (GPT-2)."""
        deep = 0.02 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.ones_(parameter)
            elif parameter.ndim < 2:
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=deep if name.endswith(("output.weight", "down.weight")) else 0.02, generator=generator)

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        select: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """Logits of the new tokens.

        Args:
            tokens: (B, T) ids.
            positions: (B, T); counted on from the cache when absent.
            mask: (B, 1, T, S) True where a token may look; plain causal when absent.
            cache: filled with the new keys and values.
            select: (B, T) True where logits are wanted; then the result is (selected, V). Training uses it to skip prompt and padding.
            prefix: (B, P, W) vectors that stand before the tokens (of a picture, say); T then counts them everywhere but in `tokens`.
        """
        x = self.embed(tokens)  # (B, T, W)
        if prefix is not None:
            x = torch.cat((prefix.to(x.dtype), x), dim=1)
        T, offset = x.shape[1], cache.length if cache is not None else 0
        if positions is None:
            positions = torch.arange(offset, offset + T, device=tokens.device)[None]  # (1, T)
        rotation = None
        if self.embed_positions is not None:
            x = x + self.embed_positions(positions)
        else:
            rotation = rotary_table(self.frequencies, positions, x.dtype, strength=self.strength)
        x = F.dropout(x, self.config.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, mask, cache, layer)
        if cache is not None:
            cache.length += T
        if select is not None:
            x = x[select]  # (selected, W)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm1 = make_norm(config, config.width)
        self.attention = Attention(config)
        self.norm2 = make_norm(config, config.width)
        self.feed_forward: nn.Module = SwiGLU(config) if config.feed_forward == "swiglu" else GELU(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        x = x + F.dropout(self.attention(self.norm1(x), rotation, mask, cache, layer), self.dropout, self.training)
        return x + F.dropout(self.feed_forward(self.norm2(x)), self.dropout, self.training)


class Attention(nn.Module):
    """Causal attention; `key_heads` < `heads` is grouped-query attention (Ainslie et al., 2023)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        inner, grouped = config.heads * config.head_width, config.key_heads * config.head_width
        self.query = nn.Linear(config.width, inner, bias=config.attention_bias)
        self.key = nn.Linear(config.width, grouped, bias=config.attention_bias)
        self.value = nn.Linear(config.width, grouped, bias=config.attention_bias)
        self.output = nn.Linear(inner, config.width, bias=config.output_bias)
        self.query_norm = make_norm(config, config.head_width) if config.query_key_norm else nn.Identity()
        self.key_norm = make_norm(config, config.head_width) if config.query_key_norm else nn.Identity()

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        B, T, _ = x.shape
        H, K, D = self.config.heads, self.config.key_heads, self.config.head_width
        q = self.query_norm(self.query(x).view(B, T, H, D)).transpose(1, 2)  # (B, H, T, D)
        k = self.key_norm(self.key(x).view(B, T, K, D)).transpose(1, 2)  # (B, K, T, D)
        v = self.value(x).view(B, T, K, D).transpose(1, 2)  # (B, K, T, D)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            k, v = cache.append(layer, k, v)  # (B, K, S, D)
        causal = mask is None and T > 1
        assert not causal or cache is None or k.shape[2] == T, "several new tokens behind a filled cache need a mask"
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=K != H)
        return self.output(y.transpose(1, 2).reshape(B, T, H * D))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, 2020)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=config.feed_forward_bias)
        self.up = nn.Linear(config.width, config.hidden, bias=config.feed_forward_bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.feed_forward_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class GELU(nn.Module):
    """down(gelu(up(x))), with the tanh approximation that GPT-2 was trained with."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden, bias=config.feed_forward_bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.feed_forward_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))  # type: ignore[no-any-return]


def make_norm(config: TransformerConfig, width: int) -> nn.Module:
    """The configured norm over the last dimension."""
    return nn.RMSNorm(width, eps=config.norm_eps) if config.norm == "rms" else nn.LayerNorm(width, eps=config.norm_eps)


def rotary_table(frequencies: Tensor, positions: Tensor, dtype: torch.dtype, *, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, T, D) in the half-split layout of Hugging Face's Llama."""
    angles = positions[:, None, :, None].float() * frequencies  # (B, 1, T, D / 2)
    angles = torch.cat((angles, angles), dim=-1)
    return (angles.cos() * strength).to(dtype), (angles.sin() * strength).to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (x[i], x[i + D / 2]) by its angle."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class RowCache(KeyValueCache):
    """A cache whose rows have lengths of their own: what is new of a row goes behind what that row has."""

    def __init__(self, config: TransformerConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(config, rows, capacity, device=device, dtype=dtype)
        self.rows = slice(0, rows)  # those that the next pass is about
        self.places = torch.empty(0, dtype=torch.long)  # (N, T) columns of its tokens
        self.span = 0  # columns that it looks at

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (N, K, T, D) at `places`; returns the first `span` columns of the layer."""
        lines = torch.arange(len(keys), device=keys.device)[:, None]  # (N, 1)
        own = self.keys[layer, self.rows], self.values[layer, self.rows]  # (N, K, capacity, D)
        for cache, new in zip(own, (keys, values)):
            cache[lines, :, self.places] = new.transpose(1, 2)
        return own[0][:, :, : self.span], own[1][:, :, : self.span]


class TorchStepper:
    """The Transformer as a `Stepper`: rows have their own lengths, prompts are padded on the right, and a token sees what is before it.

    Rows may join and leave while others go on (`engine.sampling.stepper.Joinable`): the first B of the cache's rows are in use. `prefix`
    (1 or B, P, W) stands before the tokens of every row; prompts are then of one length.
    """

    looks_ahead = True

    def __init__(self, network: Transformer, *, reserve: int = 256, prefix: Tensor | None = None) -> None:
        self.network, self.prefix, self.reserve = network, prefix, reserve
        config = network.config
        self.vocab_size, self.context = config.vocab_size, config.context
        self.column_bytes = 2 * config.layers * config.key_heads * config.head_width * network.embed.weight.element_size()
        self.lengths: list[int] = []  # of the rows in use
        self._cache = self._room(0, 0)

    @property
    def weights(self) -> Hashable:
        """The network; a prefix is of one request, which then stays alone."""
        return None if self.prefix is not None else id(self.network)

    def fresh(self) -> TorchStepper:
        """Another one on the same network, without a row."""
        return TorchStepper(self.network, reserve=self.reserve)

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts; logits (B, V) of the token after each."""
        self.lengths, self._cache = [], self._room(0, 0)
        return self._read(prompts, None if self.prefix is None else self.prefix.expand(len(prompts), -1, -1))

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """More rows behind those that are there; the logits (prompts, V) of theirs."""
        return self._read(prompts, None)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token a row; logits (B, V) of the next."""
        return self.step_some(tokens)

    def step_some(self, tokens: Sequence[int | None]) -> Tensor:
        """`step`; a row without a token computes as well, into a column that its next token overwrites."""
        assert len(tokens) == len(self.lengths), "one token a row"
        self._allocate(len(tokens), max(self.lengths) + 1)
        logits = self._advance(torch.tensor([[token or 0] for token in tokens]), self.lengths, slice(0, len(tokens)))
        self.lengths = [length + (token is not None) for length, token in zip(self.lengths, tokens)]
        return logits

    def extend(self, row: int, tokens: Sequence[int]) -> Tensor:
        """Several tokens behind those of one row; logits (1, V) of the next."""
        start = self.lengths[row]
        self._allocate(len(self.lengths), start + len(tokens))
        self.lengths[row] = start + len(tokens)
        return self._advance(torch.tensor([list(tokens)]), [start], slice(row, row + 1))

    def verify(self, tokens: Sequence[int]) -> Tensor:
        """Several tokens behind those of the only row; logits (T, V) of what follows each (`engine.sampling.speculate`)."""
        (start,) = self.lengths
        self._allocate(1, start + len(tokens))
        self.lengths = [start + len(tokens)]
        return self._advance(torch.tensor([list(tokens)]), [start], slice(0, 1), each=True)

    def forget(self, count: int) -> None:
        """Take back the last tokens of the only row; what comes next overwrites them."""
        self.lengths[0] -= count

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat rows."""
        moved = [place for place, row in enumerate(rows) if place != row]
        used = max((self.lengths[row] for row in rows), default=0)
        self.lengths = [self.lengths[row] for row in rows]
        have = self._cache.keys.shape[1]
        if len(rows) > have or (have >= MANY_ROWS and len(rows) <= have // 4) or not rows:  # most have left: their memory goes too
            self._replace(max(len(rows), 2 * have if len(rows) > have else 0), self._cache.keys.shape[3], keep=used, rows=rows)
        elif moved:
            sources = [rows[place] for place in moved]
            for cache in (self._cache.keys, self._cache.values):
                cache[:, moved, :, :used] = cache[:, sources, :, :used]

    @torch.inference_mode()
    def keep(self, row: int) -> KeptColumns:
        """A copy of what the row has read."""
        end = self.lengths[row]
        return KeptColumns(keys=self._cache.keys[:, row, :, :end].clone(), values=self._cache.values[:, row, :, :end].clone())

    @torch.inference_mode()
    def restore(self, kept: KeptColumns, length: int) -> None:
        """A row more, which has read the first `length` tokens of what was kept."""
        row = len(self.lengths)
        self._allocate(row + 1, length + 1)
        self._cache.keys[:, row, :, :length] = kept.keys[:, :, :length]
        self._cache.values[:, row, :, :length] = kept.values[:, :, :length]
        self.lengths.append(length)

    def _read(self, prompts: Sequence[Sequence[int]], prefix: Tensor | None) -> Tensor:
        """Rows for the prompts behind those that are there; their logits."""
        longest = max(len(prompt) for prompt in prompts)
        assert prefix is None or all(len(prompt) == longest for prompt in prompts), "padding would come between prefix and tokens"
        before = 0 if prefix is None else prefix.shape[1]
        tokens = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long)
        first = len(self.lengths)
        self._allocate(first + len(prompts), before + longest)
        self.lengths += [before + len(prompt) for prompt in prompts]
        return self._advance(tokens, [0] * len(prompts), slice(first, first + len(prompts)), prefix)

    @torch.inference_mode()
    def _advance(self, tokens: Tensor, starts: Sequence[int], rows: slice, prefix: Tensor | None = None, *, each: bool = False) -> Tensor:
        """One pass over new tokens (N, T) of these rows, which have read `starts` (N,) tokens; logits (N, V) behind each row's last one.

        With `each`, logits (N · T, V) behind every token.
        """
        device = self.network.embed.weight.device
        T = tokens.shape[1] + (0 if prefix is None else prefix.shape[1])
        positions = (torch.tensor(starts)[:, None] + torch.arange(T)).to(device)  # (N, T)
        cache, span = self._cache, max(starts) + T
        cache.rows, cache.places, cache.span = rows, positions, span
        mask = None  # from the beginning on, plain causality hides the padding as well, and takes two thirds of the time for long prompts
        if any(starts):
            mask = torch.arange(span, device=device) <= positions[:, None, :, None]  # (N, 1, T, S)
        ends = positions[:, -1] if T == 1 or len(starts) == 1 else torch.tensor(self.lengths[rows], device=device) - 1  # (N,)
        known = positions.clamp(max=self.network.config.context - 1)  # of padding, beyond the last learned position
        select = torch.ones_like(positions, dtype=torch.bool) if each else positions == ends[:, None]
        return self.network(  # type: ignore[no-any-return]
            tokens.to(device), positions=known, mask=mask, cache=cache, select=select, prefix=prefix
        )

    def _room(self, rows: int, capacity: int) -> RowCache:
        weight = self.network.embed.weight
        return RowCache(self.network.config, rows, capacity, device=weight.device, dtype=weight.dtype)

    @torch.inference_mode()
    def _allocate(self, rows: int, columns: int) -> None:
        """Room for so many rows of so many tokens; what is too small doubles."""
        _, have, _, capacity, _ = self._cache.keys.shape
        if rows <= have and columns <= capacity:
            return
        if columns > capacity:
            capacity = max(columns, 2 * capacity) if have else columns + self.reserve
        wanted = max(rows, 2 * have) if rows > have else have
        self._replace(wanted, capacity, keep=max(self.lengths, default=0), rows=range(len(self.lengths)))

    def _replace(self, num_rows: int, capacity: int, *, keep: int, rows: Sequence[int]) -> None:
        """A new cache with the first `keep` columns of these rows of the old one."""
        old, self._cache = self._cache, self._room(num_rows, capacity)
        for new, before in ((self._cache.keys, old.keys), (self._cache.values, old.values)):
            new[:, : len(rows), :, :keep] = before[:, list(rows), :, :keep]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptColumns:
    """Keys and values (layers, K, length, D) of one row."""

    keys: Tensor
    values: Tensor

    @property
    def num_bytes(self) -> int:
        """The memory that they take."""
        return 2 * self.keys.numel() * self.keys.element_size()
