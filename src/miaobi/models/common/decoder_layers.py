"""The layers of GPT-2 and of the Llama line (Llama, Mistral, Qwen2, Qwen3, SmolLM) as nodes of a `Graph`.

Unusual: query, key and value are one product wherever no norm stands between, and the last layer's feed-forward part and the head see only
the last L tokens of each row, most often one. Add and LayerNormalization stay two nodes: ONNX Runtime's fused SkipLayerNormalization takes
five times as long.
Shapes: B rows, T new tokens, W width, H query heads, K key heads, D head width, V vocabulary.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from miaobi.core.errors import ArtifactError
from miaobi.models.common import rotary
from miaobi.models.common.decoder_weights import Array

if TYPE_CHECKING:
    from miaobi.models.common.decoder_graph import Graph
    from miaobi.models.common.transformer_config import TransformerConfig

INT32 = 6  # onnx.TensorProto.INT32
KEPT_LOGITS = "num_logits_to_keep"  # as transformers.js calls it


class Decoder(ABC):
    """What both share: lengths from the mask, attention, and the last layer narrowed to each row's last token."""

    final_norm: str

    def __init__(self, config: TransformerConfig, graph: Graph) -> None:
        if config.head_width % 8:
            raise ArtifactError("heads {width} wide cannot be exported: ONNX Runtime needs a multiple of 8", width=config.head_width)
        self.config, self.graph = config, graph
        lengths = graph.op("ReduceSum", "attention_mask", graph.integers(1), keepdims=0)  # (B,) tokens of each row, new ones included
        self.new = graph.op("Shape", "input_ids", start=1, end=2)  # (1,) T, the prefix included
        if graph.prefix:
            assert config.positions == "rotary", "learned positions are added where the tokens are looked up"
            self.new = graph.op("Add", self.new, graph.op("Shape", "prefix", start=1, end=2))
        # A row's past is what it holds beyond the T new columns; in a padded batch of prompts that is nothing.
        self.past = graph.op("Max", graph.op("Sub", lengths, self.new), graph.integers(0))  # (B,)
        ends = graph.op("Sub", lengths, graph.integers(1))  # (B,) each row's last position
        last = graph.op("Reshape", graph.op("Sub", ends, self.past), graph.integers(-1, 1, 1))  # (B, 1, 1) its column of the new ones
        self.kept = self._kept(last)  # (B, L, 1)
        self.ends = graph.op("Cast", ends, to=INT32)
        total = graph.op("Squeeze", graph.op("Shape", "attention_mask", start=1, end=2), graph.integers(0))
        self.total = graph.op("Cast", total, to=INT32)

    def _kept(self, last: str) -> str:
        """(B, L, 1): the columns whose logits are wanted, the last L of each row's own; `num_logits_to_keep` says how many, 0 all T."""
        graph = self.graph
        takes_all = graph.op("Equal", graph.kept_logits(), graph.number(0))
        count = graph.op("Where", takes_all, graph.op("Squeeze", self.new, graph.integers(0)), KEPT_LOGITS)
        back = graph.op("Range", graph.op("Sub", graph.number(1), count), graph.number(1), graph.number(1))  # (L,) 1 - L … 0
        columns = graph.op("Add", last, graph.op("Reshape", back, graph.integers(1, -1, 1)))
        return graph.op(
            "Max", columns, graph.number(0)
        )  # of a shorter row in a batch of prompts, the first ones stand for what is not there

    @functools.cached_property
    def positions(self) -> str:
        """(B, T): each new column counts on from its row's past."""
        graph = self.graph
        columns = graph.op("Range", graph.number(0), graph.op("Squeeze", self.new, graph.integers(0)), graph.number(1))  # (T,)
        return graph.op("Add", graph.op("Unsqueeze", self.past, graph.integers(1)), columns)

    def logits(self) -> str:
        """Logits (B, L, V) of the tokens after each row's last L."""
        x = self.embed()
        if self.graph.prefix:
            x = self.graph.op("Concat", "prefix", x, axis=1)
        for layer in range(self.config.layers):
            before, between = self.norm_names(layer)
            attended = self.attention(layer, self.norm(before, x))
            if layer == self.config.layers - 1:
                x, attended = self.narrow(x), self.narrow(attended)
            x = self.graph.op("Add", x, self.attention_output(layer, attended))
            x = self.graph.op("Add", x, self.feed_forward(layer, self.norm(between, x)))
        name = self.embedding_name if self.config.tied else "lm_head.weight"
        return self.graph.head(self.norm(self.final_norm, x), name, self.graph.tensors[name])

    def narrow(self, x: str) -> str:
        """(B, T, ...) to (B, L, ...), each row's last tokens."""
        return self.graph.op("GatherND", x, self.kept, batch_dims=1)

    def attend(self, layer: int, query: str, key: str, value: str, *rotary: str) -> str:
        """Append to the cache and attend: (B, T, H * D). Key and value are "" when `query` holds all three."""
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        present = [f"present.{layer}.{kind}" for kind in ("key", "value")]
        return self.graph.fused(
            "GroupQueryAttention",
            *(query, key, value, *past, self.ends, self.total, *rotary),
            outputs=[f"attention.{layer}", *present],
            num_heads=self.config.heads,
            kv_num_heads=self.config.key_heads,
            do_rotary=int(bool(rotary)),
        )

    def biased(self, x: str, name: str) -> str:
        """A linear layer stored as (out, in), with its bias where it has one."""
        tensors = self.graph.tensors
        return self.graph.linear(x, name, tensors[f"{name}.weight"], bias=tensors.optional(f"{name}.bias"))

    def stacked(self, x: str, name: str, parts: list[str]) -> str:
        """Several linear layers of the same input as one product; the outputs lie side by side."""
        tensors = self.graph.tensors
        matrix = np.concatenate([tensors[f"{part}.weight"] for part in parts])
        bias: Array | None = None
        if f"{parts[0]}.bias" in tensors:
            bias = np.concatenate([tensors[f"{part}.bias"] for part in parts])
        return self.graph.linear(x, name, matrix, bias=bias)

    embedding_name: str

    @abstractmethod
    def embed(self) -> str:
        """(B, T, W)."""

    @abstractmethod
    def norm_names(self, layer: int) -> tuple[str, str]:
        """The tensors' names of the norms before attention and before the feed-forward part, without `.weight`."""

    @abstractmethod
    def norm(self, name: str, x: str) -> str:
        """The norm over the last axis whose tensors are called `name`."""

    @abstractmethod
    def attention(self, layer: int, x: str) -> str:
        """(B, T, W) to (B, T, H * D)."""

    @abstractmethod
    def attention_output(self, layer: int, x: str) -> str:
        """(B, T, H * D) to (B, T, W)."""

    @abstractmethod
    def feed_forward(self, layer: int, x: str) -> str:
        """(B, T, W) to (B, T, W)."""


class GPT2(Decoder):
    """Learned positions, LayerNorm, GELU; projections are stored as (in, out) and query, key, value already as one."""

    embedding_name, final_norm = "wte.weight", "ln_f"

    def embed(self) -> str:
        graph = self.graph
        rows = graph.embedding("input_ids", "wte.weight", graph.tensors["wte.weight"])
        return graph.op("Add", rows, graph.op("Gather", graph.weight("wpe.weight"), self.positions))

    def norm_names(self, layer: int) -> tuple[str, str]:
        return f"h.{layer}.ln_1", f"h.{layer}.ln_2"

    def norm(self, name: str, x: str) -> str:
        graph = self.graph
        return graph.op("LayerNormalization", x, graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias"), epsilon=self.config.norm_eps)

    def attention(self, layer: int, x: str) -> str:
        return self.attend(layer, self.transposed(x, f"h.{layer}.attn.c_attn"), "", "")

    def attention_output(self, layer: int, x: str) -> str:
        return self.transposed(x, f"h.{layer}.attn.c_proj")

    def feed_forward(self, layer: int, x: str) -> str:
        inner = self.graph.fused("FastGelu", self.transposed(x, f"h.{layer}.mlp.c_fc"))
        return self.transposed(inner, f"h.{layer}.mlp.c_proj")

    def transposed(self, x: str, name: str) -> str:
        """A linear layer stored as (in, out)."""
        tensors = self.graph.tensors
        return self.graph.linear(x, name, tensors[f"{name}.weight"].T, bias=tensors[f"{name}.bias"])


class Llama(Decoder):
    """Rotary positions, RMSNorm, SwiGLU; biases and norms of query and key where the weights have them."""

    embedding_name, final_norm = "model.embed_tokens.weight", "model.norm"

    def __init__(self, config: TransformerConfig, graph: Graph) -> None:
        super().__init__(config, graph)
        cosines, sines = rotary.table(config)
        self.rotary = graph.constant("cosines", cosines), graph.constant("sines", sines)

    def embed(self) -> str:
        return self.graph.embedding("input_ids", self.embedding_name, self.graph.tensors[self.embedding_name])

    def norm_names(self, layer: int) -> tuple[str, str]:
        return f"model.layers.{layer}.input_layernorm", f"model.layers.{layer}.post_attention_layernorm"

    def norm(self, name: str, x: str) -> str:
        """RMSNorm over the last axis."""
        weight = self.graph.weight(f"{name}.weight")
        return self.graph.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=self.config.norm_eps, stash_type=1)

    def attention(self, layer: int, x: str) -> str:
        name = f"model.layers.{layer}.self_attn"
        parts = [f"{name}.{part}_proj" for part in "qkv"]
        turned_inside = self.config.head_width % 16 == 0  # GroupQueryAttention rotates such heads only
        if turned_inside and not self.config.query_key_norm:
            return self.attend(layer, self.stacked(x, f"{name}.qkv", parts), "", "", *self.rotary)
        query, key, value = (self.biased(x, part) for part in parts)
        if self.config.query_key_norm:
            query, key = self.head_norm(query, f"{name}.q_norm"), self.head_norm(key, f"{name}.k_norm")
        if turned_inside:
            return self.attend(layer, query, key, value, *self.rotary)
        query, key = (self.graph.fused("RotaryEmbedding", y, self.positions, *self.rotary) for y in (query, key))
        return self.attend(layer, query, key, value)

    def attention_output(self, layer: int, x: str) -> str:
        return self.biased(x, f"model.layers.{layer}.self_attn.o_proj")

    def feed_forward(self, layer: int, x: str) -> str:
        name, graph = f"model.layers.{layer}.mlp", self.graph
        gate = graph.fused("QuickGelu", self.biased(x, f"{name}.gate_proj"), alpha=1.0)  # x * sigmoid(1 * x) is SiLU
        return self.biased(graph.op("Mul", gate, self.biased(x, f"{name}.up_proj")), f"{name}.down_proj")

    def head_norm(self, x: str, name: str) -> str:
        """RMSNorm over the D numbers of each head of (B, T, heads * D)."""
        graph = self.graph
        heads = graph.op("Reshape", x, graph.integers(0, 0, -1, self.config.head_width))  # (B, T, heads, D)
        return graph.op("Reshape", self.norm(name, heads), graph.integers(0, 0, -1))
