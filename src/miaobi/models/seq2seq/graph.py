"""The encoder, and one step of the decoder, as two ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from miaobi.models.common import traced_graph
from miaobi.models.seq2seq.network import Seq2SeqNetwork

LOOK, STEP = "encoder", "decoder"  # tokens (B, S) to memories; tokens (B, 1), past, cross to logits (B, V) and the longer past


class Look(nn.Module):
    """`Seq2SeqNetwork.look` as a module."""

    def __init__(self, network: Seq2SeqNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        return self.network.look(tokens)


class Step(nn.Module):
    """`Seq2SeqNetwork.step` as a module."""

    def __init__(self, network: Seq2SeqNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, past: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(tokens, past, cross)


def export(network: Seq2SeqNetwork, folder: Path, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write both graphs, and compare them with the network on two rows.

    Raises:
        ArtifactError: a graph is too far off, so it is not kept.
    """
    network.eval()
    length = min(8, network.config.context)
    tokens = torch.arange(2 * length).view(2, length) % network.embed.num_embeddings
    with torch.no_grad():
        cross = network.look(tokens)
    past = cross[:, :, :, :, : length // 2].clone()
    axes = {"tokens": {1: "read"}, LOOK: {4: "read"}}
    found = traced_graph.export(Look(network), folder, LOOK, {"tokens": tokens}, formats=formats, axes=axes)
    inputs = {"tokens": tokens[:, :1], "past": past, "cross": cross}
    axes = {"past": {4: "written"}, "cross": {4: "read"}, "longer": {4: "grown"}}
    steps = traced_graph.export(Step(network), folder, STEP, inputs, formats=formats, outputs=("logits", "longer"), axes=axes)
    return {name: {**found[name], **steps[name]} for name in found}
