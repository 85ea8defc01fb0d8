"""EfficientNet-lite0 and the grid of its maps as nodes of an ONNX graph: `picture_features.grid_of` without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from miaobi.engine.efficientnet import STAGE_CHANNELS, Block, EfficientNet, Same
from miaobi.models.common.graph_nodes import Nodes
from miaobi.models.common.picture_features import STAGES

ROWS_OF_STAGES = (0, 1, 2, 4, 6)  # the rows of blocks whose maps `EfficientNet.stages` gives
EPSILON = 1e-5


class EyeGraph:
    """Adds the network's layers to `nodes`; pictures are `size` by `size`, so that the padding is known."""

    def __init__(self, nodes: Nodes, network: EfficientNet, *, size: int) -> None:
        self.nodes, self.network, self.size = nodes, network, size

    def grid(self, pixels: str, grid: int) -> str:
        """(B, 3, S, S) in [-1, 1] to (B, G * G, F)."""
        nodes = self.nodes
        gain = nodes.constant("eye.gain", np.array(127.5 / 128, dtype=np.float32))
        offset = nodes.constant("eye.offset", np.array(0.5 / 128, dtype=np.float32))
        x, side = self.clipped("stem", self.network.stem, nodes.op("Add", nodes.op("Mul", pixels, gain), offset), self.size)
        cells = []
        for number, row in enumerate(self.network.rows):
            assert isinstance(row, nn.Sequential)
            for place, block in enumerate(row):
                assert isinstance(block, Block)
                x, side = self.block(f"{number}.{place}", block, x, side)
            if number in ROWS_OF_STAGES and (stage := ROWS_OF_STAGES.index(number)) in STAGES:
                cells.append(self.cells(x, f"{number}", STAGE_CHANNELS[stage], side, grid))
        return nodes.op("Concat", *cells, axis=-1)

    def block(self, name: str, block: Block, x: str, side: int) -> tuple[str, int]:
        """An inverted residual."""
        y, after = x, side
        if block.expand is not None:
            y, after = self.clipped(f"{name}.expand", block.expand, y, after)
        y, after = self.clipped(f"{name}.depthwise", block.depthwise, y, after)
        y, after = self.convolve(f"{name}.project", block.project, y, after)
        return (self.nodes.op("Add", x, y) if block.skips else y), after

    def clipped(self, name: str, layer: Same, x: str, side: int) -> tuple[str, int]:
        """A convolution and ReLU6."""
        y, after = self.convolve(name, layer, x, side)
        low, high = (self.nodes.constant(f"eye.{value}", np.array(value, dtype=np.float32)) for value in (0, 6))
        return self.nodes.op("Clip", y, low, high), after

    def convolve(self, name: str, layer: Same, x: str, side: int) -> tuple[str, int]:
        """A convolution with TensorFlow's padding of a map `side` wide."""
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        after = -(-side // stride)
        padding = max((after - 1) * stride + kernel - side, 0)
        pads = [padding // 2] * 2 + [padding - padding // 2] * 2
        assert layer.bias is not None
        weight, bias = self.nodes.weight(f"eye.{name}", array(layer.weight)), self.nodes.constant(f"eye.{name}.bias", array(layer.bias))
        y = self.nodes.op("Conv", x, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=layer.groups)
        return y, after

    def cells(self, x: str, name: str, channels: int, side: int, grid: int) -> str:
        """A map (B, C, S, S) as (B, G * G, C), its channels normed."""
        nodes = self.nodes
        if side > grid:
            x = nodes.op("AveragePool", x, kernel_shape=[side // grid] * 2, strides=[side // grid] * 2)
        elif side < grid:
            sizes = nodes.constant(f"eye.{name}.scales", np.array([1, 1, grid // side, grid // side], dtype=np.float32))
            x = nodes.op("Resize", x, "", sizes, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        x = nodes.op("Transpose", nodes.op("Reshape", x, nodes.integers(0, channels, grid * grid)), perm=[0, 2, 1])
        ones = nodes.constant(f"ones.{channels}", np.ones(channels, dtype=np.float32))
        return nodes.op("LayerNormalization", x, ones, axis=-1, epsilon=EPSILON)


def array(tensor: Tensor) -> NDArray[np.float32]:
    """A parameter as numpy."""
    found: NDArray[np.float32] = tensor.detach().float().cpu().contiguous().numpy()
    return found
