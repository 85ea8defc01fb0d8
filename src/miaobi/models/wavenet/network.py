"""WaveNet in torch, for learning: all samples of a stretch at once, each seeing only those before it.

A layer: (a, b) = W [x(t), x(t - dilation), c(t)]; z = tanh(a) sigmoid(b); x = x + R z; every z goes to the output as well. Unusual: a
dilated convolution of two taps is one matrix product over both taps and what steers them side by side, which a CPU likes best; the steering
vectors are computed once a frame and drawn out to samples by straight lines.

Legend: B sounds, T samples, F frames, W width, C width of the steering vector, M bands.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from miaobi.models.common.mel import CONTEXT
from miaobi.models.wavenet.schema import Config


class Network(nn.Module):
    """The names of its parameters are those that the sampler reads."""

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__()
        self.config = config
        width, layers, steered = config.width, config.layers, bool(config.conditions)
        codes = config.output == "mulaw"
        self.start: nn.Module = nn.Embedding(config.levels, width) if codes else nn.Linear(1, width)
        self.frames = nn.Conv1d(config.mel.bands, config.condition_width, 2 * CONTEXT + 1) if "mel" in config.conditions else None
        self.label = nn.Embedding(num_classes, config.condition_width) if "class" in config.conditions else None
        self.steer = nn.Linear(config.condition_width, layers * 2 * width, bias=False) if steered else None
        self.gates = nn.ModuleList(nn.Linear(2 * width, 2 * width) for _ in range(layers))
        self.residuals = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.skip = nn.Linear(layers * width, config.skip)
        self.hidden = nn.Linear(config.skip, config.skip)
        self.out = nn.Linear(config.skip, config.levels if codes else 3 * config.mixtures)

    def condition(self, frames: Tensor | None, labels: Tensor | None, count: int) -> Tensor | None:
        """What steers each of `count` samples, (B, T, C).

        Args:
            frames: (B, F + 2 CONTEXT, M), with frames of context at both ends.
        """
        if self.steer is None:
            return None
        found = torch.zeros((), device=self.steer.weight.device)
        if self.frames is not None:
            assert frames is not None
            steered = functional.leaky_relu(self.frames(frames.transpose(1, 2)), 0.2).transpose(1, 2)  # (B, F, C)
            found = self._drawn_out(steered, count)
        if self.label is not None:
            found = found + self.label(labels)[:, None]
        return found.expand(-1, count, -1)

    def forward(self, given: Tensor, frames: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """What is predicted of each sample, (B, T, levels) or (B, T, 3 mixtures).

        Args:
            given: the samples before each one: codes (B, T), or samples (B, T) in [-1, 1].
        """
        x = self.start(given if given.dtype == torch.int64 else given[..., None])  # (B, T, W)
        steering = self.condition(frames, labels, given.shape[1])
        seen = []
        for layer, dilation in enumerate(self.config.dilations):
            past = functional.pad(x, (0, 0, dilation, 0))[:, : x.shape[1]]
            signal, gate = self._gates(layer, [x, past], steering).chunk(2, dim=-1)  # (B, T, W) each
            z = torch.tanh(signal) * torch.sigmoid(gate)
            seen.append(z)
            x = x + self.residuals[layer](z)
        found = torch.relu(self.skip(torch.cat(seen, dim=-1)))
        return self.out(torch.relu(self.hidden(found)))  # type: ignore[no-any-return]

    def _gates(self, layer: int, given: list[Tensor], steering: Tensor | None) -> Tensor:
        """Both halves of a layer's gate (B, T, 2W): one product over present, past and steering side by side."""
        gates = self.gates[layer]
        assert isinstance(gates, nn.Linear)
        if steering is None:
            return gates(torch.cat(given, dim=-1))  # type: ignore[no-any-return]
        assert self.steer is not None
        steer = self.steer.weight.view(self.config.layers, -1, self.config.condition_width)[layer]  # (2W, C)
        return functional.linear(torch.cat([*given, steering], dim=-1), torch.cat([gates.weight, steer], dim=1), gates.bias)

    def _drawn_out(self, steered: Tensor, count: int) -> Tensor:
        """Frames (B, F, C) to samples (B, T, C), by straight lines; frame f is at sample f * hop."""
        hop = self.config.mel.hop
        share = torch.arange(hop, device=steered.device, dtype=steered.dtype)[:, None] / hop  # (hop, 1)
        here, there = steered[:, :-1, None], steered[:, 1:, None]
        return torch.lerp(here, there, share).flatten(1, 2)[:, :count]
