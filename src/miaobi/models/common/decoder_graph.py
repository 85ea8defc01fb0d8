"""A decoder as an ONNX graph, written node by node from its safetensors: no torch, no tracing, and only the nodes that decoding needs.

Unusual: attention is one node (GroupQueryAttention: causal mask, rotary positions, grouped heads, and a key-value cache that is written in
place), so a step runs about ten nodes a layer. Rows may have unequal lengths: prompts are padded on the right, and `attention_mask` says
how many tokens of each row are real. Logits are computed for each row's last token only, unless more are asked for.

Eight bits: weights are rounded in blocks along the input dimension, one scale a block, symmetric; activations are rounded per row and
block inside MatMulNBits (as in ZeroQuant, Yao et al., 2022). So a row's result does not depend on the other rows. A
tied embedding is stored once and read by both the lookup and the head. One scale for a whole row of activations and one for a column of
weights would let integers add up undisturbed (MatMulInteger: 1.8 times as fast for eight rows of GPT-2's widths), but it costs SmolLM2 0.14
bits a token more than exact weights, and blocks cost 0.017.

ONNX Runtime packs each matrix into memory of its own and lets go of the file's pages after it. So a large head is one product a slice of
the vocabulary: while it is packed, one slice is there twice, and not the largest matrix of the model.

Four bits: the matrices of the blocks only, with a zero point beside each scale (`decoder_rounding`); embedding and head keep eight, for an
error there reaches every logit.

Inputs: input_ids (B, T), attention_mask (B, S), past_key_values.{layer}.{key,value} (B, K, capacity, D); with a prefix also
prefix (B, P, W), vectors that stand before the new tokens and count in S: P is 0 but for the first step. `num_logits_to_keep`, 1 where
nobody gives it, says after how many of a row's last tokens logits are wanted (L), so that guesses can be checked; 0 is all.
Outputs: logits (B, L, V), present.{layer}.{key,value}. These are the names that transformers.js and OpenVINO GenAI know.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from miaobi.core.errors import MissingExtra
from miaobi.models.common.decoder_file import GraphFile
from miaobi.models.common.decoder_layers import GPT2, KEPT_LOGITS, Llama
from miaobi.models.common.decoder_rounding import packed, round_to_four_bits
from miaobi.models.common.decoder_weights import Array, StoredTensors, Tensors

if TYPE_CHECKING:
    from miaobi.models.common.transformer_config import TransformerConfig

Precision = Literal["fp32", "int8", "int4"]
OnBytes = Callable[[str, int], None]
FILES: dict[str, str] = {"fp32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx", "int4": "onnx/model_q4.onnx"}
BITS: dict[Precision, int] = {"fp32": 0, "int8": 8, "int4": 4}
GROUP = 32  # weights that share a scale in four bits
OPSET, MICROSOFT = 21, "com.microsoft"
# Weights that share a scale: the largest number that divides the input dimension. From 128 on, ONNX Runtime sums two rows in another order
# than one, so a row's numbers would depend on how many rows there are; with these they do not, to the last bit.
BLOCKS = (64, 32)
ZERO_POINT = 128  # the byte that means 0
SLICE = 2_000_000  # weights of the head in one product
ALIGNED_ROWS = 64  # a slice begins at a multiple, and so where vector instructions like to read


def write(
    folder: Path,
    *,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    tensors: Tensors | None = None,
    group: int | None = None,
    prefix: bool = False,
    on_bytes: OnBytes | None = None,
) -> None:
    """Write `onnx/model.onnx` (fp32), `onnx/model_int8.onnx` and the like beside the `config.json` of `folder`.

    Args:
        tensors: the weights by Hugging Face's names; by default those of `model.safetensors` in the folder.
        group: how many weights share a scale; by default what divides the matrices in eight bits, and 32 in four.
        on_bytes: told the file's name and how many bytes of weights it has so far.

    Raises:
        ArtifactError: weights or configuration are missing, damaged or of a kind that the graph does not compute.
        MissingExtra: the package `onnx` is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra("export", "train", "onnx")
    from miaobi.models.common.hub_format import config_from_hub, read_config

    config = config_from_hub(read_config(folder))
    tensors = StoredTensors(folder) if tensors is None else tensors
    for precision in precisions:
        told = partial(on_bytes, FILES[precision]) if on_bytes else None
        with GraphFile(folder / FILES[precision], on_bytes=told) as file:
            file.write(build(config, tensors, file, precision=precision, group=group, prefix=prefix))


def build(
    config: TransformerConfig,
    tensors: Tensors,
    file: GraphFile,
    *,
    precision: Precision,
    group: int | None = None,
    prefix: bool = False,
) -> Any:
    """The `onnx.ModelProto` of a decoder; the file takes its weights."""
    graph = Graph(tensors, file, bits=BITS[precision], group=group, prefix=prefix)
    network = GPT2(config, graph) if config.positions == "learned" else Llama(config, graph)
    return graph.model(config, network.logits())


class Graph:
    """Nodes and initialisers as they are added. Every method returns the name of the value that it adds."""

    def __init__(self, tensors: Tensors, file: GraphFile, *, bits: int, group: int | None = None, prefix: bool = False) -> None:
        self.tensors, self.file, self.bits, self.group, self.prefix = tensors, file, bits, group, prefix
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        """Add a node; its first output's name."""
        from onnx import helper

        name = f"{kind}_{len(self.nodes)}"
        outputs = outputs or (name,)
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return next(output for output in outputs if output)

    def fused(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """`op` for ONNX Runtime's own operators."""
        return self.op(kind, *inputs, outputs=outputs, domain=MICROSOFT, **attributes)

    def constant(self, name: str, array: Array) -> str:
        """Add an initialiser once. What lies in the file is named again where it is used again: see `rows`."""
        if name in self.initialisers:
            return self.rows(name, array, 0, len(array)) if array.ndim else name
        self.initialisers[name] = self.file.tensor(name, array)
        return name

    def rows(self, name: str, array: Array, start: int, stop: int) -> str:
        """Some rows of an array as an initialiser of their own.

        Where the whole array lies in the file already, these are the same bytes: ONNX Runtime lets go of what the head has packed, and
        keeps mapped what the lookup reads.
        """
        part, whole = f"{name}.{start}", self.initialisers.get(name)
        found = self.file.tensor(part, array[start:stop]) if whole is None else self.file.rows(whole, part, start, stop)
        if found is None:
            assert (start, stop) == (0, len(array)), "what lies in the graph is not cut"
            return name
        self.initialisers[part] = found
        return part

    def slices(self, name: str, array: Array) -> Iterator[tuple[int, int]]:
        """Where the slices of an array (V, ...) begin and end; one that a lookup reads and that lies in the graph is not cut."""
        whole = self.initialisers.get(name)
        rows = len(array)
        if whole is None or whole.external_data:
            rows = max(1, SLICE // (array.size // len(array) * ALIGNED_ROWS)) * ALIGNED_ROWS
        for start in range(0, len(array), rows):
            yield start, min(start + rows, len(array))

    def kept_logits(self) -> str:
        """The input `num_logits_to_keep`, whose initialiser is what it is where nobody gives it."""
        return self.constant(KEPT_LOGITS, np.array(1, dtype=np.int64))

    def integers(self, *values: int) -> str:
        """A one-dimensional int64 constant."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def number(self, value: int) -> str:
        """An int64 scalar."""
        return self.constant(f"n{value}", np.array(value, dtype=np.int64))

    def weight(self, name: str) -> str:
        """A stored tensor as it is: norms, biases, positions."""
        return self.constant(name, self.tensors[name])

    def linear(self, x: str, name: str, matrix: Array, *, bias: Array | None = None) -> str:
        """x (B, T, in) times `matrix` (out, in), plus bias."""
        if self.bits:
            return self.rounded(x, name, matrix, bias=bias)
        y = self.op("MatMul", x, self.constant(f"{name}.transposed", matrix.T))
        return y if bias is None else self.op("Add", y, self.constant(f"{name}.bias", bias))

    def rounded(self, x: str, name: str, matrix: Array, *, bias: Array | None = None) -> str:
        """`linear` with a matrix of four or eight bits."""
        out, inner = matrix.shape
        offset = [] if bias is None else [self.constant(f"{name}.bias", bias)]
        if self.bits == 4:
            block = self.group or GROUP
            values, scales, zeros = round_to_four_bits(matrix, group=block)
            stored = packed(values, zeros)
            inputs = [self.constant(f"{name}.quantised", stored[0]), self.constant(f"{name}.scales", scales)]
            inputs += [self.constant(f"{name}.zeros", stored[1]), *([""] if offset else []), *offset]
        else:
            block = self.block_of(inner)
            inputs = [*self.quantise(name, matrix), *(["", ""] if offset else []), *offset]
        return self.fused("MatMulNBits", x, *inputs, N=out, K=inner, bits=self.bits, block_size=block, accuracy_level=4)

    def block_of(self, inner: int) -> int:
        """How many of a row's `inner` weights share a scale in eight bits."""
        return self.group if self.group and self.bits == 8 else block_of(inner)

    def quantise(self, name: str, matrix: Array) -> tuple[str, str]:
        """The names of `matrix` (out, in) as bytes (out, blocks, block) and as scales (out, blocks)."""
        values, scales = quantise(matrix, block=self.block_of(matrix.shape[1]))
        return self.constant(f"{name}.quantised", values), self.constant(f"{name}.scales", scales)

    def embedding(self, tokens: str, name: str, matrix: Array) -> str:
        """Rows of `matrix` (V, W) for tokens (B, T): (B, T, W)."""
        if not self.bits:
            return self.op("Gather", self.constant(name, matrix), tokens)
        values, scales = self.quantise(name, matrix)
        width, block = matrix.shape[1], self.block_of(matrix.shape[1])
        rows = self.op("Cast", self.op("Gather", values, tokens), to=1)  # (B, T, blocks, block), still the bytes' values
        rows = self.op("Sub", rows, self.constant("zero_point", np.array(ZERO_POINT, dtype=np.float32)))
        share = self.op("Unsqueeze", self.op("Gather", scales, tokens), self.integers(-1))  # (B, T, blocks, 1)
        rows = self.op("Reshape", self.op("Mul", rows, share), self.integers(0, 0, -1))
        if width % block == 0:
            return rows
        return self.op("Slice", rows, self.integers(0), self.integers(width), self.integers(2))

    def head(self, x: str, name: str, matrix: Array) -> str:
        """Logits (B, L, V) of x (B, L, W)."""
        parts = list(self._rounded_head(x, name, matrix) if self.bits else self._exact_head(x, name, matrix))
        logits = parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=-1)
        if self.bits:
            return logits
        shape = self.op("Concat", self.op("Shape", x, end=2), self.integers(len(matrix)), axis=0)
        return self.op("Reshape", logits, shape)

    def _exact_head(self, x: str, name: str, matrix: Array) -> Iterator[str]:
        """Logits (B * L, slice); the matrix (V, W) stays as the embedding stores it."""
        flat = self.op("Reshape", x, self.integers(-1, matrix.shape[1]))  # (B * L, W)
        for start, stop in self.slices(name, matrix):
            yield self.op("Gemm", flat, self.rows(name, matrix, start, stop), transB=1)

    def _rounded_head(self, x: str, name: str, matrix: Array) -> Iterator[str]:
        """Logits (B, L, slice) of a matrix of eight bits."""
        inner = matrix.shape[1]
        block = self.block_of(inner)
        values, scales = quantise(matrix, block=block)
        for start, stop in self.slices(f"{name}.quantised", values):
            inputs = [self.rows(f"{name}.quantised", values, start, stop), self.rows(f"{name}.scales", scales, start, stop)]
            yield self.fused("MatMulNBits", x, *inputs, N=stop - start, K=inner, bits=8, block_size=block, accuracy_level=4)

    def model(self, config: TransformerConfig, logits: str) -> Any:
        """The finished model."""
        from onnx import TensorProto, helper

        self.op("Identity", logits, outputs=["logits"])
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"]),
        ]
        if self.prefix:
            inputs.append(helper.make_tensor_value_info("prefix", TensorProto.FLOAT, ["batch", "places", config.width]))
        inputs.append(helper.make_tensor_value_info(KEPT_LOGITS, TensorProto.INT64, []))
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "kept", config.vocab_size])]
        for layer in range(config.layers):
            for kind in ("key", "value"):
                for names, prefix, length in ((inputs, "past_key_values", "past"), (outputs, "present", "capacity")):
                    shape: list[str | int | None] = ["batch", config.key_heads, length, config.head_width]
                    names.append(helper.make_tensor_value_info(f"{prefix}.{layer}.{kind}", TensorProto.FLOAT, shape))
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, list(self.initialisers.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="miaobi")
        helper.set_model_props(model, {"context": str(config.context)})
        return model


def block_of(inner: int) -> int:
    """How many weights of a row of length `inner` share a scale; the smallest block, padded, where none divides."""
    return next((block for block in BLOCKS if inner % block == 0), BLOCKS[-1])


def quantise(matrix: Array, *, block: int) -> tuple[Array, Array]:
    """Bytes (out, blocks, block) and scales (out, blocks) of a matrix (out, in): value = (byte - 128) * scale.

    Symmetric, the largest number of a block becomes 127. A last block that the input dimension does not fill is padded with zeros.
    """
    out, inner = matrix.shape
    blocks = -(-inner // block)
    padded = np.pad(matrix, ((0, 0), (0, blocks * block - inner))).reshape(out, blocks, block)
    scales = np.abs(padded).max(axis=-1) / 127  # (out, blocks)
    divisors = np.where(scales == 0, 1, scales)[..., None]
    values = (np.rint(padded / divisors) + ZERO_POINT).astype(np.uint8)
    return values, scales.astype(np.float32)
