"""The operations of a denoising network as ONNX nodes, in 32 bits, with weights stored in 16, or computed in eight.

Unusual: eight bits are computed, not only stored. Convolutions and matrix products read bytes whose range was watched beforehand (static,
so a picture's numbers do not depend on the others of its batch); norms, attention and the residual stream stay in fp32. Weights have one
scale for each output channel and seven bits: with eight, processors without VNNI overflow the 16 bits in which they add two products.
Shapes: B pictures, C channels, N positions, W width, D head width, E width of the condition.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from miaobi.core.errors import MissingExtra

Array = npt.NDArray[Any]
Precision = Literal["fp32", "fp16", "int8"]
Ranges = Mapping[str, tuple[float, float]]  # of what goes into and comes out of each layer
OPSET, MICROSOFT = 21, "com.microsoft"
FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9  # onnx.TensorProto's numbers
LARGEST = 63  # of a weight in seven bits
SMALL = 1024  # weights of fewer numbers stay in fp32: nothing is saved


class PictureNodes:
    """Nodes and initialisers as they are added. Every method returns the name of the value that it adds.

    `ranges` turns on eight bits for the layers that it names. Otherwise `watched` collects the values whose ranges it wants.
    """

    def __init__(self, weights: Mapping[str, Array], *, precision: Precision = "fp32", ranges: Ranges | None = None) -> None:
        if importlib.util.find_spec("onnx") is None:
            raise MissingExtra("export", "train", "onnx")
        assert (precision == "int8") == (ranges is not None), "eight bits need ranges"
        self.weights, self.precision, self.ranges = weights, precision, ranges or {}
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}
        self.watched: dict[str, str] = {}
        self._bytes: dict[tuple[str, str], str] = {}

    # ------------------------------------------------------------------ nodes and constants

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node; the name of its first output."""
        return self.split(kind, *inputs, outputs=outputs, domain=domain, **attributes)[0]

    def split(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node; the names of all its outputs."""
        from onnx import helper

        name = f"{kind}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes))
        return names

    def constant(self, name: str, array: Array) -> str:
        """Add an initialiser once."""
        from onnx import numpy_helper

        if name not in self.initialisers:
            self.initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, *values: int) -> str:
        """A one-dimensional int64 constant."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"f{value!r}", np.array(value, dtype=np.float32))

    def stored(self, name: str, array: Array) -> str:
        """A weight that is computed with in fp32, however it is stored: ONNX Runtime unfolds it when it loads the graph."""
        if self.precision == "fp32" or array.size < SMALL:
            return self.constant(name, array.astype(np.float32))
        if self.precision == "fp16":
            return self.op("Cast", self.constant(f"{name}.half", array.astype(np.float16)), to=FLOAT)
        scales = np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True) / 127
        scales = np.where(scales == 0, 1, scales).astype(np.float32)
        values = self.op("Cast", self.constant(f"{name}.bytes", np.rint(array / scales).astype(np.int8)), to=FLOAT)
        return self.op("Mul", values, self.constant(f"{name}.scales", scales))

    # ------------------------------------------------------------------ layers

    def linear(self, x: str, name: str, matrix: Array, bias: Array | None = None) -> str:
        """x (..., in) times `matrix` (out, in), plus bias."""
        self.watch(f"{name}.in", x)
        if f"{name}.in" in self.ranges:
            values, scales = seven_bits(matrix)
            x, scale, zero = self.in_bytes(x, f"{name}.in")
            weight = self.constant(f"{name}.values", values.T)
            scales_name = self.constant(f"{name}.scales", scales)
            offset = [] if bias is None else [self.constant(f"{name}.bias", bias)]
            return self.op("MatMulIntegerToFloat", x, weight, scale, scales_name, zero, "", *offset, domain=MICROSOFT)
        y = self.op("MatMul", x, self.stored(f"{name}.transposed", np.ascontiguousarray(matrix.T)))
        return y if bias is None else self.op("Add", y, self.constant(f"{name}.bias", bias))

    def layer(self, x: str, name: str) -> str:
        """The linear layer of that name."""
        return self.linear(x, name, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def stacked(self, x: str, name: str, parts: Sequence[str]) -> list[str]:
        """Several linear layers of one input as one product, cut apart again."""
        matrices = [self.weights[f"{name}.{part}.weight"] for part in parts]
        biases = [self.weights[f"{name}.{part}.bias"] for part in parts if f"{name}.{part}.bias" in self.weights]
        y = self.linear(x, f"{name}.{'_'.join(parts)}", np.concatenate(matrices), np.concatenate(biases) if biases else None)
        return self.split("Split", y, self.integers(*(len(matrix) for matrix in matrices)), outputs=len(parts), axis=-1)

    def conv(self, x: str, name: str, *, stride: int = 1, exact: bool = False) -> str:
        """The convolution of that name; odd kernels keep the size. `exact` stays in fp32: the first and the last layer."""
        kernel, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        shape: dict[str, Any] = {
            "kernel_shape": kernel.shape[2:],
            "pads": [side // 2 for side in kernel.shape[2:]] * 2,
            "strides": [stride, stride],
        }
        if not exact:
            self.watch(f"{name}.in", x)
        if f"{name}.in" not in self.ranges:
            y = self.op("Conv", x, self.stored(f"{name}.weight", kernel), self.constant(f"{name}.bias", bias), **shape)
            if not exact:
                self.watch(f"{name}.out", y)
            return y
        values, scales = seven_bits(kernel)
        x, scale, zero = self.in_bytes(x, f"{name}.in")
        step, _ = scale_of(*self.ranges[f"{name}.in"])
        weight = (
            self.constant(f"{name}.values", values),
            self.constant(f"{name}.scales", scales),
            self.constant(f"zeros{len(values)}", np.zeros(len(values), dtype=np.int8)),
        )
        after = self.grid_of(f"{name}.out")
        offset = self.constant(f"{name}.offset", np.rint(bias / (scales * step)).astype(np.int32))
        y = self.op("QLinearConv", x, scale, zero, *weight, *after, offset, **shape)
        return self.op("DequantizeLinear", y, *after)

    def group_norm(self, x: str, name: str, groups: int, *, modulation: tuple[str, str] | None = None) -> str:
        """GroupNorm; with `modulation`, its scale and offset (B, C, 1, 1) are those of the condition, its own are folded into them."""
        ones, zeros = (
            self.constant(f"{key}{groups}", make(groups, dtype=np.float32)) for key, make in (("one", np.ones), ("zero", np.zeros))
        )
        grouped = self.op("Reshape", x, self.integers(0, groups, -1))  # (B, groups, C / groups * H * W)
        # the quickest kernel of ONNX Runtime for this, twice as quick as its GroupNormalization
        y = self.op("Reshape", self.op("InstanceNormalization", grouped, ones, zeros, epsilon=1e-5), self.op("Shape", x))
        if modulation is None:
            wide = (1, -1, 1, 1)
            modulation = (
                self.constant(f"{name}.gain", self.weights[f"{name}.weight"].reshape(wide)),
                self.constant(f"{name}.offset", self.weights[f"{name}.bias"].reshape(wide)),
            )
        return self.op("Add", self.op("Mul", y, modulation[0]), modulation[1])

    def layer_norm(self, x: str, width: int, *, name: str = "") -> str:
        """LayerNorm over the last axis, with the scale of that name, or none."""
        scale = self.constant(name, self.weights[name]) if name else self.constant(f"one{width}", np.ones(width, dtype=np.float32))
        return self.op("LayerNormalization", x, scale, axis=-1, epsilon=1e-5)

    def head_norm(self, x: str, name: str, head_width: int) -> str:
        """LayerNorm over each head of (B, N, heads * D)."""
        heads = self.op("Reshape", x, self.integers(0, 0, -1, head_width))  # (B, N, heads, D)
        return self.op("Reshape", self.layer_norm(heads, head_width, name=f"{name}.weight"), self.integers(0, 0, -1))

    def silu(self, x: str) -> str:
        """x times its sigmoid."""
        return self.op("QuickGelu", x, domain=MICROSOFT, alpha=1.0)

    def attend(self, query: str, key: str, value: str, *, heads: int, mask: str = "") -> str:
        """Attention of (B, N, W) to (B, L, W); `mask` (B, L) int32 is 1 for what may be looked at."""
        inputs = (query, key, value, "", mask) if mask else (query, key, value)
        return self.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=heads)

    # ------------------------------------------------------------------ eight bits

    def watch(self, key: str, value: str) -> None:
        """Ask for the range of a value."""
        self.watched[key] = value

    def grid_of(self, key: str) -> tuple[str, str]:
        """Scale and zero point of the bytes of a watched value."""
        scale, zero = scale_of(*self.ranges[key])
        return self.constant(f"{key}.scale", np.array(scale, dtype=np.float32)), self.constant(
            f"{key}.zero", np.array(zero, dtype=np.uint8)
        )

    def in_bytes(self, x: str, key: str) -> tuple[str, str, str]:
        """x as bytes, with their scale and zero point."""
        grid = self.grid_of(key)
        return self.op("QuantizeLinear", x, *grid), *grid

    # ------------------------------------------------------------------ the whole

    def model(self, inputs: Mapping[str, tuple[int, Sequence[int | str]]], outputs: Mapping[str, Sequence[int | str]]) -> Any:
        """The finished `onnx.ModelProto`: inputs with type and shape; outputs, which are values of the graph, with their shape."""
        from onnx import helper

        graph = helper.make_graph(
            self.nodes,
            "picture",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
            list(self.initialisers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="miaobi")


def seven_bits(weights: Array) -> tuple[Array, Array]:
    """Bytes of the shape of `weights` (out, ...), and a scale (out,) each: value = byte * scale."""
    scales = np.abs(weights.reshape(len(weights), -1)).max(axis=1) / LARGEST
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    return np.rint(weights / scales.reshape(-1, *(1,) * (weights.ndim - 1))).astype(np.int8), scales


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Step and zero point of 256 bytes from `low` to `high`; 0 is one of them exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-6) / 255
    return scale, round(-low / scale)
