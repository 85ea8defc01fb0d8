"""The network of `network.py` in numpy: a step is a few products of a vector and a matrix, so generating needs no torch.

Shapes as there. torch stacks the gates of a matrix: input, forget, cell, output (LSTM); reset, update, new (GRU).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from miaobi.models.rnn.schema import Config

Array = NDArray[np.float32]
State = tuple[Array, ...]  # of one layer: (h,) or (h, c), each (B, H)
Cell = Callable[[Array, State, Array], State]  # the input's share of the gates (B, G * H), the state, the recurrent weights and bias


class Cells:
    """The stored tensors, and how logits come of them."""

    def __init__(self, config: Config, tensors: Mapping[str, Array]) -> None:
        self.config = config
        self.tensors = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
        self.vocab_size = len(self.tensors["embed.weight"])

    def advance(self, tokens: NDArray[np.int64], state: State | None) -> tuple[Array, State]:
        """Logits (B, V) of what follows tokens (B, T), and the state, rows first, after them."""
        x = self.tensors["embed.weight"][tokens]  # (B, T, W)
        y, state = self._window(x, state) if self.config.cell == "ffn" else self._recurrent(x, state)
        if "leave.weight" in self.tensors:
            y = self._linear("leave", y)
        head = self.tensors.get("head.weight", self.tensors["embed.weight"])
        return y @ head.T + self.tensors["head.bias"], state

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return y

    def _window(self, x: Array, state: State | None) -> tuple[Array, State]:
        B, T, W = x.shape
        before = np.zeros((B, self.config.window - 1, W), dtype=np.float32) if state is None else state[0]
        seen = np.concatenate((before, x), axis=1)
        y = seen[:, T - 1 :].reshape(B, -1)  # (B, N * W): only the last token's logits are wanted
        for layer in range(self.config.layers):
            y = np.tanh(self._linear(f"memory.layers.{layer}", y))
        return y, (seen[:, T:],)

    def _recurrent(self, x: Array, state: State | None) -> tuple[Array, State]:
        B, T, _ = x.shape
        cell, parts = CELLS[self.config.cell]
        before = state or tuple(np.zeros((B, self.config.layers, self.config.inner), dtype=np.float32) for _ in range(parts))
        after = []
        for layer in range(self.config.layers):
            w_in, w_back, b_in, b_back = (
                self.tensors[f"memory.cells.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            given = x @ w_in.T + b_in  # (B, T, G * H)
            own: State = tuple(part[:, layer] for part in before)
            outputs = []
            for step in range(T):
                own = cell(given[:, step], own, own[0] @ w_back.T + b_back)
                outputs.append(own[0])
            x = np.stack(outputs, axis=1)  # (B, T, H)
            after.append(own)
        return x[:, -1], tuple(np.stack(layers, axis=1) for layers in zip(*after))


def elman(given: Array, state: State, back: Array) -> State:
    """h' = tanh(W x + U h)."""
    return (np.tanh(given + back),)


def lstm(given: Array, state: State, back: Array) -> State:
    """c' = f c + i g, h' = o tanh(c')."""
    enter, forget, new, leave = np.split(given + back, 4, axis=1)
    c = sigmoid(forget) * state[1] + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(c), c


def gru(given: Array, state: State, back: Array) -> State:
    """h' = (1 - z) n + z h; the reset gate stands behind the product with U, as in cuDNN and torch."""
    reset_in, update_in, new_in = np.split(given, 3, axis=1)
    reset_back, update_back, new_back = np.split(back, 3, axis=1)
    update = sigmoid(update_in + update_back)
    new = np.tanh(new_in + sigmoid(reset_in + reset_back) * new_back)
    return ((1 - update) * new + update * state[0],)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), by tanh, which does not overflow."""
    y: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return y


CELLS: Mapping[str, tuple[Cell, int]] = {"rnn": (elman, 1), "lstm": (lstm, 2), "gru": (gru, 1)}  # and how many parts their state has
