"""Tacotron in NumPy: a text's symbols to a spectrogram, step by step until the model says that it is over.

The learner speaks by this, too. A step is a handful of matrix products over one row, which no graph makes faster than memory is;
convolutions with their batch normalisation are one product over all frames.

Legend: N symbols, T frames, M bands, W width, D decoder width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miaobi.models.common.mel import SILENCE
from miaobi.models.tacotron.schema import Config

Floats = NDArray[np.float32]
KERNEL, ALWAYS_DROPPED, EPS = 5, 0.5, 1e-5  # as in `network`


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence as the model says it."""

    frames: Floats  # (T, M)
    weights: Floats  # (steps, N): where attention was
    ended: bool  # the model found the end itself


class Speaker:
    """The network's weights in the order in which speaking uses them."""

    def __init__(self, config: Config, weights: Mapping[str, Floats]) -> None:
        self.config, self._w = config, weights
        self._encoder = [_folded(weights, f"encoder.{number}") for number in range(config.encoder_layers)]
        self._postnet = [_folded(weights, f"postnet.{number}") for number in range(config.postnet_layers)]
        self._filters = _kernel(weights["filters.weight"])
        self._asker, self._writer = (_cell(weights, name) for name in ("asker", "writer"))
        self._reader = [_cell(weights, "reader", f"_l0{end}") for end in ("", "_reverse")]

    def say(self, symbols: Sequence[int], rng: Generator, *, most_frames: int) -> Iterator[int | Said]:
        """Numbers of frames on the way, then what was said."""
        config, weights = self.config, self._w
        memory = self._encode(symbols)  # (N, W)
        keys = _linear(weights, "keys", memory)
        asked = wrote = (np.zeros(config.decoder_width, np.float32), np.zeros(config.decoder_width, np.float32))
        looking, paid = np.zeros((2, len(symbols)), np.float32)
        context = np.zeros(memory.shape[1], np.float32)
        last = np.zeros(config.mel.bands, np.float32)
        made: list[Floats] = []
        attention: list[Floats] = []
        ended = False
        while not ended and len(made) * config.reduction < most_frames:
            asked = _lstm(self._asker, np.concatenate([self._prenet(last, rng), context]), asked)
            energies = self._energies(asked[0], keys, looking, paid)
            looking = np.exp(energies - energies.max())
            looking /= looking.sum()
            paid = paid + looking
            context = looking @ memory
            wrote = _lstm(self._writer, np.concatenate([asked[0], context]), wrote)
            written = np.concatenate([wrote[0], context])
            made.append(_linear(weights, "frame", written).reshape(config.reduction, -1))
            attention.append(looking)
            last = made[-1][-1]
            ended = float(_linear(weights, "stop", written)[0]) > 0
            yield len(made) * config.reduction
        frames = np.concatenate(made)
        mended = np.maximum(frames + self._mend(frames), np.float32(SILENCE))
        yield Said(mended, np.stack(attention), ended)

    def _encode(self, symbols: Sequence[int]) -> Floats:
        """Memory (N, W)."""
        x = self._w["embedding.weight"][np.asarray(symbols)]
        for kernel, bias in self._encoder:
            x = np.maximum(_convolved(x, kernel) + bias, 0)
        ways = []
        for cell, order in zip(self._reader, (x, x[::-1])):
            state = (np.zeros(self.config.width // 2, np.float32), np.zeros(self.config.width // 2, np.float32))
            found = []
            for row in order:
                state = _lstm(cell, row, state)
                found.append(state[0])
            ways.append(np.stack(found))
        return np.concatenate([ways[0], ways[1][::-1]], axis=1)

    def _energies(self, question: Floats, keys: Floats, looking: Floats, paid: Floats) -> Floats:
        """How much each symbol is the answer (N,)."""
        weights = self._w
        looked = _convolved(np.stack([looking, paid], axis=1), self._filters)  # (N, filters)
        compared = weights["question.weight"] @ question + keys + looked @ weights["location.weight"].T
        found: Floats = np.tanh(compared) @ weights["energy.weight"][0]
        return found

    def _prenet(self, x: Floats, rng: Generator) -> Floats:
        for layer in range(2):
            x = np.maximum(_linear(self._w, f"prenet.{layer}", x), 0)
            kept = rng.random(len(x)) >= ALWAYS_DROPPED
            x = np.asarray(x * kept / (1 - ALWAYS_DROPPED), np.float32)
        return x

    def _mend(self, frames: Floats) -> Floats:
        """What the postnet adds to frames (T, M)."""
        x = frames
        for number, (kernel, bias) in enumerate(self._postnet):
            x = _convolved(x, kernel) + bias
            x = np.tanh(x) if number < len(self._postnet) - 1 else x
        return x


Cell = tuple[Floats, Floats]  # both matrices side by side, (inputs + D, 4D), and the sum of both biases


def _cell(weights: Mapping[str, Floats], name: str, suffix: str = "") -> Cell:
    both = np.concatenate([weights[f"{name}.weight_{which}{suffix}"] for which in ("ih", "hh")], axis=1)
    bias: Floats = weights[f"{name}.bias_ih{suffix}"] + weights[f"{name}.bias_hh{suffix}"]
    return np.ascontiguousarray(both.T), bias


def _lstm(cell: Cell, x: Floats, state: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """The next (hidden, inner) state."""
    hidden, inner = state
    taken, forgotten, new, shown = np.split(np.concatenate([x, hidden]) @ cell[0] + cell[1], 4)
    inner = _sigmoid(forgotten) * inner + _sigmoid(taken) * np.tanh(new)
    return _sigmoid(shown) * np.tanh(inner), inner


def _sigmoid(x: Floats) -> Floats:
    return np.asarray((1 + np.tanh(x / 2)) / 2, np.float32)


def _linear(weights: Mapping[str, Floats], name: str, x: Floats) -> Floats:
    found: Floats = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return found


def _folded(weights: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    """A convolution's kernel (taps * before, after) and bias, its batch normalisation multiplied in."""
    scale = weights[f"{name}.norm.weight"] / np.sqrt(weights[f"{name}.norm.running_var"] + EPS)
    kernel = weights[f"{name}.filters.weight"] * scale[:, None, None]
    bias: Floats = (weights[f"{name}.filters.bias"] - weights[f"{name}.norm.running_mean"]) * scale + weights[f"{name}.norm.bias"]
    return _kernel(kernel), bias


def _kernel(weight: Floats) -> Floats:
    """(after, before, taps) as (before * taps, after)."""
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T)


def _convolved(x: Floats, kernel: Floats) -> Floats:
    """Rows (T, before) with a kernel (before * taps, after), as long as before."""
    taps = len(kernel) // x.shape[1]
    padded = np.pad(x, ((taps // 2, taps // 2), (0, 0)))
    spread = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=0)  # (T, before, taps)
    found: Floats = spread.reshape(len(x), -1) @ kernel
    return found
