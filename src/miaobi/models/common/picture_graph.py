"""UNet and DiT as ONNX graphs, written node by node from their weights, checked against torch, and opened again by `picture_runtime`.

Unusual: whatever depends on the time alone is one matrix product for the whole network: the modulations of all blocks are stacked, and the
scale and offset of each norm are folded into them. Queries, keys and values are one product too, as are gate and up. The batch is free; a
UNet's size is free as well, a DiT's is fixed by its table of positions.

Inputs: x (B, C, H, W), time (B,), vector (B, D), tokens (B, L, D), mask (B, L) where the network has them. Output: prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import ArtifactError
from miaobi.models.common.picture_config import DiTConfig, UNetConfig
from miaobi.models.common.picture_nodes import BOOL, FLOAT, INT32, MICROSOFT, Array, PictureNodes, Precision, Ranges
from miaobi.models.common.picture_runtime import PictureRuntime, file_of

if TYPE_CHECKING:
    from miaobi.models.common.dit import DiT
    from miaobi.models.common.unet import UNet

Inputs = Mapping[str, Array]  # x, time and the conditions, as the graph's inputs are called
TOLERANCE: dict[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.15}  # error of a prediction, as a share of its size
TIME_SCALE, TIME_FEATURES, LONGEST = 1000.0, 256, 10_000.0
MOST_TOKENS = 1024  # of a prefix
CLIPPED = 1e-4  # of the numbers of a layer, at either end, that eight bits cut off


def export(
    network: UNet | DiT,
    folder: Path,
    *,
    samples: Sequence[Inputs],
    precisions: Sequence[Precision] = ("fp32", "int8"),
    name: str = "network",
    masked: bool = False,
) -> dict[str, float]:
    """Write `onnx/<name>[_<precision>].onnx`, each checked against the network in torch.

    Args:
        network: in evaluation mode.
        folder: of the artifact.
        samples: inputs as they come while sampling, at all times: eight bits take their ranges from them, and all are compared on them.
            They have the size that a DiT will have.
        masked: whether the graph takes `mask` beside `tokens`.

    Returns the error of each: root mean square, as a share of the prediction's.

    Raises:
        ArtifactError: a graph is too far off, so it is not kept.
        MissingExtra: the package `onnx` is not installed.
    """
    weights = {key: tensor.detach().float().cpu().numpy() for key, tensor in network.state_dict().items()}
    size = samples[0]["x"].shape[2:]
    expected = [_predict(network, inputs) for inputs in samples]
    ranges = None
    if "int8" in precisions:
        ranges = watch(build(network.config, weights, size=size, masked=masked, watched=True), samples)
    errors: dict[str, float] = {}
    for precision in precisions:
        chosen = ranges if precision == "int8" else None
        model = build(network.config, weights, size=size, masked=masked, precision=precision, ranges=chosen)
        path = folder / file_of(name, precision)
        write_bytes(path, model.SerializeToString())
        found = PictureRuntime(path)
        errors[precision] = _error([found(**_arguments(inputs)) for inputs in samples], expected)
        if not errors[precision] <= TOLERANCE[precision]:
            path.unlink()
            raise ArtifactError(
                "the graph in {precision} differs from the network by {error:.1%}; it was not kept",
                precision=precision,
                error=errors[precision],
            )
    return errors


def build(
    config: UNetConfig | DiTConfig,
    weights: Mapping[str, Array],
    *,
    size: Sequence[int],
    masked: bool = False,
    precision: Precision = "fp32",
    ranges: Ranges | None = None,
    watched: bool = False,
) -> Any:
    """The `onnx.ModelProto`. With `watched`, every value whose range eight bits need is an output too, called as its layer."""
    nodes = PictureNodes(weights, precision=precision, ranges=ranges)
    free = isinstance(config, UNetConfig)
    shape: list[int | str] = ["batch", config.inputs, *(("height", "width") if free else size)]
    inputs: dict[str, tuple[int, Sequence[int | str]]] = {"x": (FLOAT, shape), "time": (FLOAT, ["batch"])}
    if config.vector_width:
        inputs["vector"] = (FLOAT, ["batch", config.vector_width])
    if config.token_width:
        inputs["tokens"] = (FLOAT, ["batch", "tokens", config.token_width])
    if config.token_width and masked:
        inputs["mask"] = (BOOL, ["batch", "tokens"])
    if isinstance(config, UNetConfig):
        result = UNetGraph(config, nodes, masked=masked).prediction()
    else:
        result = DiTGraph(config, nodes, size=size, masked=masked).prediction()
    nodes.nodes[-1].output[0] = "prediction"
    assert result == nodes.nodes[-1].name, "the last node gives the prediction"
    outputs: dict[str, Sequence[int | str]] = {"prediction": [*shape[:1], config.channels, *shape[2:]]}
    if watched:
        for key, value in nodes.watched.items():
            nodes.op("Identity", value)
            nodes.nodes[-1].output[0] = key
            outputs[key] = None  # type: ignore[assignment]
    return nodes.model(inputs, outputs)


def watch(model: Any, samples: Sequence[Inputs]) -> dict[str, tuple[float, float]]:
    """The ranges of all watched values over the samples, but for the rarest numbers."""
    runtime = PictureRuntime(model.SerializeToString())
    lows: dict[str, list[float]] = {}
    highs: dict[str, list[float]] = {}
    for inputs in samples:
        for key, value in runtime.everything(**_arguments(inputs)).items():
            if key != "prediction":
                low, high = np.quantile(value, (CLIPPED, 1 - CLIPPED))
                lows.setdefault(key, []).append(float(low))
                highs.setdefault(key, []).append(float(high))
    return {key: (min(lows[key]), max(highs[key])) for key in lows}


class Graph:
    """What both networks share: the condition, the tokens and their mask."""

    def __init__(self, config: UNetConfig | DiTConfig, nodes: PictureNodes, *, features: int, masked: bool) -> None:
        self.nodes, self.weights, self.config = nodes, nodes.weights, config
        self.features, self.masked = features, masked
        self.batch = nodes.op("Shape", "x", start=0, end=1)  # (1,)

    def condition(self) -> str:
        """silu of time and vector (B, E)."""
        nodes, half = self.nodes, self.features // 2
        frequencies = np.exp(-np.log(LONGEST) / half * np.arange(half, dtype=np.float32)).astype(np.float32)
        times = nodes.op("Mul", nodes.op("Unsqueeze", "time", nodes.integers(1)), nodes.number(TIME_SCALE))
        angles = nodes.op("Mul", times, nodes.constant("frequencies", frequencies))  # (B, features / 2)
        features = nodes.op("Concat", nodes.op("Cos", angles), nodes.op("Sin", angles), axis=1)
        condition = self.plain(nodes.silu(self.plain(features, "condition.time1")), "condition.time2")
        if self.config.vector_width:
            condition = nodes.op("Add", condition, self.plain("vector", "condition.vector"))
        return nodes.silu(condition)

    def plain(self, x: str, name: str) -> str:
        """A linear layer of the condition, which has one row a picture: fp32 in every precision."""
        return self.gemm(x, name, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def gemm(self, x: str, name: str, matrix: Array, bias: Array | None) -> str:
        """x (B, in) times `matrix` (out, in), plus bias, in fp32."""
        offset = [] if bias is None else [self.nodes.constant(f"{name}.bias", bias)]
        return self.nodes.op("Gemm", x, self.nodes.stored(f"{name}.weight", matrix), *offset, transB=1)

    def context(self, width: int) -> tuple[str, str]:
        """The tokens behind the one that stands for nothing (B, 1 + L, width), and their mask (B, 1 + L), or ""."""
        nodes = self.nodes
        projected = nodes.layer("tokens", "tokens.project") if "tokens.project.weight" in self.weights else "tokens"
        nothing = nodes.constant("tokens.nothing", self.weights["tokens.nothing"].reshape(1, 1, -1))
        shape = nodes.op("Concat", self.batch, nodes.integers(1, width), axis=0)
        context = nodes.op("Concat", nodes.op("Expand", nothing, shape), projected, axis=1)
        if not self.masked:
            return context, ""
        shape = nodes.op("Concat", self.batch, nodes.integers(1), axis=0)
        first = nodes.op("Expand", nodes.constant("one_int32", np.ones((1, 1), dtype=np.int32)), shape)
        return context, nodes.op("Concat", first, nodes.op("Cast", "mask", to=INT32), axis=1)

    def cross(self, x: str, name: str, context: str, mask: str, *, width: int, heads: int) -> str:
        """Attention of normalised x (B, N, W) to the tokens."""
        nodes, head_width = self.nodes, width // heads
        query = nodes.head_norm(nodes.layer(x, f"{name}.query"), f"{name}.query_norm", head_width)
        key, value = nodes.stacked(context, name, ("key", "value"))
        key = nodes.head_norm(key, f"{name}.key_norm", head_width)
        return nodes.layer(nodes.attend(query, key, value, heads=heads, mask=mask), f"{name}.output")


class UNetGraph(Graph):
    """The nodes of a `UNet`."""

    config: UNetConfig

    def __init__(self, config: UNetConfig, nodes: PictureNodes, *, masked: bool) -> None:
        super().__init__(config, nodes, features=config.widths[0], masked=masked)
        self.modulations = self._modulate(self.condition())
        self.told, self.mask = self.context(config.token_width) if config.token_width else ("", "")

    def _modulate(self, condition: str) -> dict[str, tuple[str, str]]:
        """Gain and offset (B, C, 1, 1) of every modulated norm: norm * gain + offset, the norm's own weights included."""
        matrices, biases, names = [], [], []
        for key in self.weights:
            if not key.endswith("modulation.weight"):
                continue
            name = key.removesuffix(".modulation.weight")
            gain, offset = self.weights[f"{name}.norm2.weight"], self.weights[f"{name}.norm2.bias"]
            scale, shift = np.split(self.weights[key], 2)
            scale_bias, shift_bias = np.split(self.weights[f"{name}.modulation.bias"], 2)
            matrices += [gain[:, None] * scale, offset[:, None] * scale + shift]
            biases += [gain * (1 + scale_bias), offset * (1 + scale_bias) + shift_bias]
            names.append(name)
        nodes = self.nodes
        stacked = self.gemm(condition, "modulations", np.concatenate(matrices), np.concatenate(biases))
        stacked = nodes.op("Unsqueeze", stacked, nodes.integers(2, 3))
        sizes = nodes.integers(*(len(bias) for bias in biases))
        parts = nodes.split("Split", stacked, sizes, outputs=len(biases), axis=1)
        return {name: (parts[2 * number], parts[2 * number + 1]) for number, name in enumerate(names)}

    def prediction(self) -> str:
        """The whole network."""
        nodes, config = self.nodes, self.config
        h = nodes.conv("x", "input", exact=True)
        skips = [h]
        last = len(config.widths) - 1
        for level in range(last + 1):
            for block in range(config.blocks):
                h = self.block(h, f"down.{level}", block, attended=level in config.attention)
                skips.append(h)
            if level < last:
                h = nodes.conv(h, f"down.{level}.resample", stride=2)
                skips.append(h)
        h = self.residual(h, "middle1")
        h = self.residual(self.spatial(h, "middle_attention", config.widths[-1]), "middle2")
        for stage, level in enumerate(range(last, -1, -1)):
            for block in range(config.blocks + 1):
                h = self.block(nodes.op("Concat", h, skips.pop(), axis=1), f"up.{stage}", block, attended=level in config.attention)
            if level > 0:
                h = nodes.conv(self.double(h), f"up.{stage}.resample")
        return nodes.conv(nodes.silu(nodes.group_norm(h, "norm", config.groups)), "output", exact=True)

    def block(self, x: str, stage: str, number: int, *, attended: bool) -> str:
        """A residual block, and attention where the resolution has it."""
        h = self.residual(x, f"{stage}.blocks.{number}")
        if not attended:
            return h
        width = len(self.weights[f"{stage}.attentions.{number}.norm.weight"])
        return self.spatial(h, f"{stage}.attentions.{number}", width)

    def residual(self, x: str, name: str) -> str:
        """Two convolutions behind norms, beside the shortcut."""
        nodes, groups = self.nodes, self.config.groups
        h = nodes.conv(nodes.silu(nodes.group_norm(x, f"{name}.norm1", groups)), f"{name}.conv1")
        h = nodes.silu(nodes.group_norm(h, f"{name}.norm2", groups, modulation=self.modulations[name]))
        h = nodes.conv(h, f"{name}.conv2")
        shortcut = nodes.conv(x, f"{name}.shortcut") if f"{name}.shortcut.weight" in self.weights else x
        return nodes.op("Add", h, shortcut)

    def spatial(self, x: str, name: str, width: int) -> str:
        """Attention to all places, then to the tokens."""
        nodes, heads = self.nodes, width // self.config.head_width
        h = self.flat(nodes.group_norm(x, f"{name}.norm", self.config.groups), width)
        query, key, value = nodes.stacked(h, f"{name}.attention", ("query", "key", "value"))
        h = nodes.layer(nodes.attend(query, key, value, heads=heads), f"{name}.attention.output")
        x = nodes.op("Add", x, self.unflat(h, x))
        if not self.told:
            return x
        h = self.flat(nodes.group_norm(x, f"{name}.cross_norm", self.config.groups), width)
        h = self.cross(h, f"{name}.cross", self.told, self.mask, width=width, heads=heads)
        return nodes.op("Add", x, self.unflat(h, x))

    def flat(self, x: str, width: int) -> str:
        """(B, C, H, W) to (B, H * W, C)."""
        nodes = self.nodes
        return nodes.op("Transpose", nodes.op("Reshape", x, nodes.integers(0, width, -1)), perm=[0, 2, 1])

    def unflat(self, x: str, like: str) -> str:
        """(B, H * W, C) to the shape of `like`."""
        nodes = self.nodes
        return nodes.op("Reshape", nodes.op("Transpose", x, perm=[0, 2, 1]), nodes.op("Shape", like))

    def double(self, x: str) -> str:
        """Every place four times."""
        scales = self.nodes.constant("doubled", np.array([1, 1, 2, 2], dtype=np.float32))
        return self.nodes.op("Resize", x, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")


class DiTGraph(Graph):
    """The nodes of a `DiT` for pictures of one size."""

    config: DiTConfig

    def __init__(self, config: DiTConfig, nodes: PictureNodes, *, size: Sequence[int], masked: bool) -> None:
        super().__init__(config, nodes, features=TIME_FEATURES, masked=masked)
        self.rows, self.columns = (side // config.patch for side in size)
        self.head_width = config.width // config.heads
        self.told, self.mask = self.context(config.width) if config.token_width else ("", "")
        self.prefixed = bool(self.told) and config.tokens == "prefix"
        self.positions = self._positions()
        self.tables = self._tables()

    def _tables(self) -> tuple[str, str]:
        """Cosines and sines (N + 1, D / 2) of every place; the last row does not turn. It is repeated so that the table is no shorter than
        the sequence, which ONNX Runtime asks for."""
        quarter = self.head_width // 4
        frequencies = self.config.rope_theta ** -(np.arange(quarter, dtype=np.float32) / quarter)
        rows, columns = (np.arange(count, dtype=np.float32)[:, None] * frequencies for count in (self.rows, self.columns))
        places = [np.concatenate((row, column)) for row in rows for column in columns]
        angles = np.stack([*places, *np.zeros((MOST_TOKENS if self.prefixed else 1, 2 * quarter))]).astype(np.float32)
        return self.nodes.constant("cosines", np.cos(angles)), self.nodes.constant("sines", np.sin(angles))

    def _positions(self) -> str:
        """The row of the tables (B, N) that each position takes; a prefix takes the last."""
        nodes, count = self.nodes, self.rows * self.columns
        shape = nodes.op("Concat", self.batch, nodes.integers(count), axis=0)
        places = nodes.op("Expand", nodes.constant("places", np.arange(count, dtype=np.int64)[None]), shape)
        if not self.prefixed:
            return places
        shape = nodes.op("Shape", self.told, start=0, end=2)
        still = nodes.op("Expand", nodes.constant("still", np.full((1, 1), count, dtype=np.int64)), shape)
        return nodes.op("Concat", still, places, axis=1)

    def prediction(self) -> str:
        """The whole network."""
        nodes, config, W = self.nodes, self.config, self.config.width
        condition = self.condition()
        modulation = self.plain(condition, "modulation")  # (B, 6 W)
        h = self.embed()
        mask = ""
        if self.prefixed:
            h = nodes.op("Concat", self.told, h, axis=1)
            mask = self._prefix_mask()
        for number in range(config.layers):
            h = self.block(h, f"blocks.{number}", modulation, mask)
        if self.prefixed:
            start = nodes.op("Shape", self.told, start=1, end=2)
            h = nodes.op("Slice", h, start, nodes.integers(np.iinfo(np.int64).max), nodes.integers(1))
        bias = self.weights["modulation_output.bias"] + np.repeat([0.0, 1.0], W).astype(np.float32)  # shift, 1 + scale
        last = self.gemm(condition, "modulation_output", self.weights["modulation_output.weight"], bias)
        shift, scale = nodes.split("Split", nodes.op("Unsqueeze", last, nodes.integers(1)), nodes.integers(W, W), outputs=2, axis=2)
        h = self.exact(self.modulate(h, shift, scale), "output")
        h = nodes.op("Transpose", h, perm=[0, 2, 1])
        h = nodes.op("Reshape", h, nodes.integers(0, config.channels * config.patch**2, self.rows, self.columns))
        return nodes.op("DepthToSpace", h, blocksize=config.patch, mode="CRD")

    def embed(self) -> str:
        """Patches (B, N, W): a convolution whose kernel is a patch."""
        nodes, config = self.nodes, self.config
        kernel = self.weights["embed.weight"].reshape(config.width, config.inputs, config.patch, config.patch)
        shape: dict[str, Any] = {"kernel_shape": [config.patch] * 2, "strides": [config.patch] * 2}
        h = nodes.op("Conv", "x", nodes.constant("embed.weight", kernel), nodes.constant("embed.bias", self.weights["embed.bias"]), **shape)
        return nodes.op("Transpose", nodes.op("Reshape", h, nodes.integers(0, config.width, -1)), perm=[0, 2, 1])

    def exact(self, x: str, name: str) -> str:
        """A linear layer in fp32."""
        nodes = self.nodes
        y = nodes.op("MatMul", x, nodes.constant(f"{name}.transposed", self.weights[f"{name}.weight"].T))
        return nodes.op("Add", y, nodes.constant(f"{name}.bias", self.weights[f"{name}.bias"]))

    def _prefix_mask(self) -> str:
        if not self.mask:
            return ""
        nodes = self.nodes
        shape = nodes.op("Concat", self.batch, nodes.integers(self.rows * self.columns), axis=0)
        places = nodes.op("Expand", nodes.constant("one_int32", np.ones((1, 1), dtype=np.int32)), shape)
        return nodes.op("Concat", self.mask, places, axis=1)

    def block(self, x: str, name: str, modulation: str, mask: str) -> str:
        """Self-attention, attention to the tokens, feed-forward."""
        nodes, W = self.nodes, self.config.width
        bias = self.weights[f"{name}.modulation_bias"] + np.repeat([0.0, 1.0, 0.0] * 2, W).astype(np.float32)  # shift, 1 + scale, gate
        own = nodes.op("Unsqueeze", nodes.op("Add", modulation, nodes.constant(f"{name}.modulation_bias", bias)), nodes.integers(1))
        shift1, scale1, gate1, shift2, scale2, gate2 = nodes.split("Split", own, nodes.integers(*[W] * 6), outputs=6, axis=2)
        attended = self.attention(self.modulate(x, shift1, scale1), f"{name}.attention", mask)
        x = nodes.op("Add", x, nodes.op("Mul", gate1, attended))
        if self.told and not self.prefixed:
            normed = nodes.layer_norm(x, W, name=f"{name}.cross_norm.weight")
            x = nodes.op("Add", x, self.cross(normed, f"{name}.cross", self.told, self.mask, width=W, heads=self.config.heads))
        gate, up = nodes.stacked(self.modulate(x, shift2, scale2), name, ("gate", "up"))
        h = nodes.layer(nodes.op("Mul", nodes.silu(gate), up), f"{name}.down")
        return nodes.op("Add", x, nodes.op("Mul", gate2, h))

    def modulate(self, x: str, shift: str, scale: str) -> str:
        """Normalised x (B, N, W), scaled and shifted (B, 1, W)."""
        nodes = self.nodes
        return nodes.op("Add", nodes.op("Mul", nodes.layer_norm(x, self.config.width), scale), shift)

    def attention(self, x: str, name: str, mask: str) -> str:
        """Attention of x (B, N, W) to itself, turned by its positions."""
        nodes = self.nodes
        query, key, value = nodes.stacked(x, name, ("query", "key", "value"))
        query, key = (nodes.head_norm(y, f"{name}.{kind}_norm", self.head_width) for y, kind in ((query, "query"), (key, "key")))
        query, key = (
            nodes.op("RotaryEmbedding", y, self.positions, *self.tables, domain=MICROSOFT, num_heads=self.config.heads)
            for y in (query, key)
        )
        return nodes.layer(nodes.attend(query, key, value, heads=self.config.heads, mask=mask), f"{name}.output")


def _predict(network: UNet | DiT, inputs: Inputs) -> Array:
    """The network's own prediction in torch."""
    import torch

    device = next(network.parameters()).device
    tensors = {key: torch.from_numpy(np.asarray(value)).to(device) for key, value in inputs.items()}
    with torch.inference_mode():
        return network(**tensors).float().cpu().numpy()  # type: ignore[no-any-return]


def _arguments(inputs: Inputs) -> dict[str, Any]:
    return dict(inputs)


def _error(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The root mean square of the differences, as a share of that of what is expected."""
    wrong = np.concatenate([(a - b).ravel() for a, b in zip(found, expected, strict=True)])
    right = np.concatenate([b.ravel() for b in expected])
    return float(np.sqrt(np.square(wrong).mean() / max(np.square(right).mean(), 1e-12)))
