"""The network as an ONNX graph of any number of rows and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from miaobi.models.bert.network import BertNetwork
from miaobi.models.common import traced_graph

GRAPH = "bert"  # the graph: tokens (B, T), real (B, T) to logits (B, T, V or C), of classes (B, C)


class Whole(nn.Module):
    """The network with logits everywhere: tracing wants no optional argument."""

    def __init__(self, network: BertNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        return self.network(tokens, real)  # type: ignore[no-any-return]


def export(network: BertNetwork, folder: Path, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the graph, and compare it with the network on two rows, one of them padded.

    Raises:
        ArtifactError: a graph is too far off, so it is not kept.
    """
    length = min(12, network.config.context)
    tokens = torch.arange(2 * length).view(2, length) % network.embed.num_embeddings
    real = torch.ones((2, length), dtype=torch.bool)
    real[1, length // 2 :] = False
    axes = {"tokens": {1: "length"}, "real": {1: "length"}}
    if network.config.task != "classify":
        axes[GRAPH] = {1: "length"}
    return traced_graph.export(Whole(network).eval(), folder, GRAPH, {"tokens": tokens, "real": real}, formats=formats, axes=axes)
