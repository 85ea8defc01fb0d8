"""Sampling with queues in NumPy: what a layer computed is kept until a later sample looks back at it (Paine et al., 2016, "Fast WaveNet").

A sample costs one small matrix product a layer, however far the network looks back. Unusual: what all layers need of their past is known
before the first of them is computed, so that half of the work is one product over all layers at once; the gate's sigmoid is taken as (1 +
tanh(x / 2)) / 2, its halves hidden in the weights, so that a layer has one tanh; and several sounds, or stretches of one, are made side by
side. The learner samples by this, too: on a GPU one sample at a time would be slower.

Legend: B sounds side by side, L layers, W width, F frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miaobi.models.common.mel import CONTEXT
from miaobi.models.wavenet import mulaw
from miaobi.models.wavenet.schema import Config

Floats = NDArray[np.float32]
BLOCK = 400  # samples between two looks at whether somebody cancelled
LEAST_SCALE = -9.0


class Sampler:
    """The network's weights in the order in which sampling uses them."""

    def __init__(self, config: Config, weights: Mapping[str, Floats]) -> None:
        self.config = config
        width, layers = config.width, config.layers
        halves = np.concatenate([np.ones(width), np.full(width, 0.5)]).astype(np.float32)  # sigmoid(x) = (1 + tanh(x / 2)) / 2
        gates = np.stack([weights[f"gates.{layer}.weight"].T * halves for layer in range(layers)])  # (L, 2W, 2W)
        self._here, self._past = np.ascontiguousarray(gates[:, :width]), np.ascontiguousarray(gates[:, width:])
        self._bias = np.stack([weights[f"gates.{layer}.bias"] * halves for layer in range(layers)])[:, None]  # (L, 1, 2W)
        self._residual = np.stack([weights[f"residuals.{layer}.weight"].T / 2 for layer in range(layers)])
        self._residual_bias = np.stack([weights[f"residuals.{layer}.bias"] for layer in range(layers)])
        self._skip, self._skip_bias = np.ascontiguousarray(weights["skip.weight"].T / 2), weights["skip.bias"]
        self._head = [(np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]) for name in ("hidden", "out")]
        self._weights, self._halves = weights, halves
        self._values = mulaw.table(config.levels)

    def steering(self, frames: Floats | None, label: int | None) -> Floats | None:
        """What each frame adds to every layer's gates, (F, L, 2W); one frame when only the class steers.

        Args:
            frames: (F + 2 CONTEXT, M).
        """
        weights = self._weights
        if "steer.weight" not in weights:
            return None
        found = np.zeros((1, 1), np.float32)
        if frames is not None:
            kernel = weights["frames.weight"]  # (C, M, taps)
            spread = np.lib.stride_tricks.sliding_window_view(frames, 2 * CONTEXT + 1, axis=0)  # (F, M, taps)
            summed = spread.reshape(len(spread), -1) @ kernel.reshape(len(kernel), -1).T + weights["frames.bias"]
            found = np.where(summed > 0, summed, 0.2 * summed)
        if label is not None:
            found = found + weights["label.weight"][label]
        steered: Floats = (found @ weights["steer.weight"].T).reshape(len(found), self.config.layers, -1) * self._halves
        return steered

    def run(
        self, count: int, rng: Generator, *, steering: Floats | None = None, batch: int = 1, temperature: float = 1.0
    ) -> Iterator[Floats]:
        """`batch` sounds of `count` samples in [-1, 1], in blocks (B, up to BLOCK).

        Args:
            steering: (B, F, L, 2W) or (B, 1, L, 2W); frame f is at sample f * hop.
        """
        dilations = np.array(self.config.dilations)
        offsets = np.concatenate([[0], np.cumsum(dilations)[:-1]])
        queue = np.zeros((dilations.sum(), batch, self.config.width), np.float32)
        moved = None if steering is None else np.ascontiguousarray(steering.transpose(1, 2, 0, 3))  # (F, L, B, 2W)
        silence = np.zeros(batch, np.float32)
        x = self._first(mulaw.to_codes(silence, self.config.levels) if self.config.output == "mulaw" else silence)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            lots = rng.random((size, 2, batch), dtype=np.float64)
            made = np.empty((size, batch), np.float32)
            for step in range(size):
                places = offsets + (start + step) % dilations
                given = self._past_of(queue, places, moved, start + step)
                skipped, seen = self._layers(x, given)
                queue[places] = seen
                made[step], x = self._draw(skipped, lots[step], temperature)
            yield made.T

    def _past_of(self, queue: Floats, places: NDArray[np.int64], steering: Floats | None, sample: int) -> Floats:
        """What every layer's gates get besides the present, (L, B, 2W)."""
        given: Floats = np.matmul(queue[places], self._past) + self._bias
        if steering is None:
            return given
        if len(steering) == 1:
            given += steering[0]
            return given
        frame, place = divmod(sample, self.config.mel.hop)
        share = np.float32(place / self.config.mel.hop)
        here = steering[frame]
        given += here + share * (steering[frame + 1] - here)
        return given

    def _layers(self, x: Floats, given: Floats) -> tuple[Floats, Floats]:
        """Skip channels (B, S), and what each layer was given (L, B, W), which the queues keep."""
        layers, batch, width = len(given), len(x), self.config.width
        seen = np.empty((layers, batch, width), np.float32)
        gated = np.empty((batch, layers, width), np.float32)
        for layer in range(layers):
            seen[layer] = x
            both = x @ self._here[layer]
            both += given[layer]
            np.tanh(both, out=both)
            z = both[:, width:]
            z += 1
            z *= both[:, :width]
            gated[:, layer] = z
            x = x + z @ self._residual[layer]
            x += self._residual_bias[layer]
        skipped = np.asarray(gated.reshape(batch, -1) @ self._skip + self._skip_bias, np.float32)
        return skipped, seen

    def _draw(self, skipped: Floats, lots: NDArray[np.float64], temperature: float) -> tuple[Floats, Floats]:
        """Samples (B,) drawn from what is predicted, and what the first layer makes of them."""
        found = skipped
        for matrix, bias in self._head:
            found = np.maximum(found, 0) @ matrix + bias
        if self.config.output == "mulaw":
            codes = drawn_code(found, lots[0], temperature)
            return self._values[codes], self._first(codes)
        samples = drawn_sample(found, lots, temperature)
        return samples, self._first(samples)

    def _first(self, given: NDArray[np.float32] | NDArray[np.int64]) -> Floats:
        if given.dtype.kind == "i":
            return self._weights["start.weight"][given]
        found: Floats = given[:, None] * self._weights["start.weight"][:, 0] + self._weights["start.bias"]
        return found


def drawn_code(logits: Floats, lots: NDArray[np.float64], temperature: float) -> NDArray[np.int64]:
    """One class a row of (B, levels), where a lot in [0, 1) falls in the running sum of the probabilities."""
    if temperature == 0:
        likeliest: NDArray[np.int64] = logits.argmax(axis=1)
        return likeliest
    scaled = (logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature)
    summed = np.cumsum(np.exp(scaled), axis=1, dtype=np.float64)
    drawn: NDArray[np.int64] = (summed > (lots * summed[:, -1])[:, None]).argmax(axis=1)
    return drawn


def drawn_sample(parameters: Floats, lots: NDArray[np.float64], temperature: float) -> Floats:
    """One sample a row of (B, 3K): a logistic distribution by its weight, then a point of it; in [-1, 1]."""
    weights, means, scales = np.split(parameters, 3, axis=1)
    chosen = drawn_code(weights, lots[0], temperature)
    row = np.arange(len(chosen))
    lot = np.clip(lots[1], 1e-5, 1 - 1e-5)
    width = np.exp(np.maximum(scales[row, chosen], LEAST_SCALE)) * temperature
    found: Floats = np.clip(means[row, chosen] + width * (np.log(lot) - np.log1p(-lot)), -1, 1).astype(np.float32)
    return found
