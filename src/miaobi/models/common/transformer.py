"""One lean decoder-only Transformer: GPT-2, Llama, Qwen2, Qwen3 and SmolLM are choices in its configuration, not classes.

Vaswani et al. (2017); Radford et al. (2019, GPT-2); Touvron et al. (2023, Llama). `hub_format` translates configuration and weights to
and from Hugging Face's names. Shapes: B rows, T new tokens, S tokens in the cache and new, W width, H query heads, K key heads, D head
width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common.transformer_config import TransformerConfig


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
        frequencies = rotary_frequencies(config) if config.positions == "rotary" else torch.empty(0)
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
            rotation = rotary_table(self.frequencies, positions, x.dtype)
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


def rotary_frequencies(config: TransformerConfig) -> Tensor:
    """Angles per position (D / 2,) of rotary embeddings (Su et al., 2021), with Llama 3's long-context scaling where configured."""
    D = config.head_width
    frequencies = config.rope_theta ** -(torch.arange(0, D, 2, dtype=torch.float32) / D)
    if not config.rope_scaling:
        return frequencies
    scaling = dict(config.rope_scaling)
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)  # turns made within the original context
    blend = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slow, divided by the factor; 1: fast, kept
    return frequencies * (blend + (1 - blend) / factor)


def rotary_table(frequencies: Tensor, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, T, D) in the half-split layout of Hugging Face's Llama."""
    angles = positions[:, None, :, None].float() * frequencies  # (B, 1, T, D / 2)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (x[i], x[i + D / 2]) by its angle."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class TorchStepper:
    """The Transformer as a `Stepper`: rows of unequal prompts are padded on the left, and the mask hides the padding.

    `prefix` (1 or B, P, W) stands before the tokens of every row; prompts are then of one length.
    """

    def __init__(self, network: Transformer, *, reserve: int = 256, prefix: Tensor | None = None) -> None:
        self.network = network
        self.prefix = prefix
        self.vocab_size = network.config.vocab_size
        self.reserve = reserve
        self._cache: KeyValueCache | None = None
        self._visible = torch.empty(0)  # (B, capacity) True where a column holds a real token
        self._padding = torch.empty(0)  # (B, 1) columns of padding

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts; logits (B, V) of the token after each."""
        device, dtype = self.network.embed.weight.device, self.network.embed.weight.dtype
        longest = max(len(prompt) for prompt in prompts)
        assert self.prefix is None or all(len(prompt) == longest for prompt in prompts), "padding would come between prefix and tokens"
        prefix = None if self.prefix is None else self.prefix.expand(len(prompts), -1, -1)
        capacity = longest + self.reserve + (0 if prefix is None else prefix.shape[1])
        tokens = torch.zeros((len(prompts), longest), dtype=torch.long, device=device)
        self._visible = torch.ones((len(prompts), capacity), dtype=torch.bool, device=device)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.long)
            self._visible[row, : longest - len(prompt)] = False
        self._padding = torch.tensor([[longest - len(prompt)] for prompt in prompts], device=device)
        self._cache = KeyValueCache(self.network.config, len(prompts), capacity, device=device, dtype=dtype)
        return self._advance(tokens, prefix)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token a row; logits (B, V) of the next."""
        assert self._cache is not None, "start comes before step"
        if self._cache.length == self._visible.shape[1]:
            self._grow()
        return self._advance(torch.as_tensor(tokens, dtype=torch.long, device=self._visible.device)[:, None])

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or repeat rows."""
        assert self._cache is not None
        index = torch.as_tensor(rows, dtype=torch.long, device=self._visible.device)
        self._cache.reorder(index)
        self._visible, self._padding = self._visible[index], self._padding[index]

    def _advance(self, tokens: Tensor, prefix: Tensor | None = None) -> Tensor:
        assert self._cache is not None
        start, T = self._cache.length, tokens.shape[1] + (0 if prefix is None else prefix.shape[1])
        end = start + T
        columns = torch.arange(end, device=tokens.device)
        causal = columns[None, :] <= columns[start:, None]  # (T, S)
        mask = self._visible[:, None, None, :end] & causal  # (B, 1, T, S)
        mask = mask | (columns[start:, None] == columns[None, :])  # padding looks at itself: a row without any column would be NaN
        positions = (columns[None, start:] - self._padding).clamp(min=0)  # (B, T)
        wanted = torch.zeros((len(tokens), T), dtype=torch.bool, device=tokens.device)
        wanted[:, -1] = True
        return self.network(  # type: ignore[no-any-return]
            tokens, positions=positions, mask=mask, cache=self._cache, select=wanted, prefix=prefix
        )

    def _grow(self) -> None:
        assert self._cache is not None
        cache, more = self._cache, self._cache.length
        cache.keys = F.pad(cache.keys, (0, 0, 0, more))
        cache.values = F.pad(cache.values, (0, 0, 0, more))
        self._visible = F.pad(self._visible, (0, more), value=True)
