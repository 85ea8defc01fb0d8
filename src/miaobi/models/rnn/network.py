"""One language model, four ways to remember: a window of the last tokens, or the state of an Elman network, an LSTM or a GRU.

Bengio et al. (2003), Mikolov et al. (2010), Zaremba et al. (2014). Shapes: B rows, T tokens, W width, H state, L layers, N window,
V vocabulary. States hold the rows first, so that rows are copied and dropped by an index; `cells.py` computes the same in numpy.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.rnn.schema import Config

State = tuple[Tensor, ...]  # (h,) or (h, c) of (B, L, H); of a window the vectors (B, N - 1, W) of the last tokens


class RNNNetwork(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.memory: nn.Module = Window(config) if config.cell == "ffn" else Recurrent(config)
        out = config.width if config.tied else config.inner
        self.leave: nn.Module = nn.Linear(config.inner, out) if out != config.inner else nn.Identity()
        self.head = nn.Linear(out, vocab_size)
        if config.tied:
            self.head.weight = self.embed.weight

    def initialise(self, generator: torch.Generator) -> None:
        """Small embeddings, even weights by the length of the input, orthogonal recurrences, forget gates that begin open."""
        for name, parameter in self.named_parameters():
            if name == "embed.weight":
                nn.init.normal_(parameter, std=self.config.width**-0.5, generator=generator)
            elif parameter.ndim < 2:
                nn.init.zeros_(parameter)
            elif "weight_hh" in name:
                for gate in torch.split(parameter.data, self.config.inner):
                    nn.init.orthogonal_(gate, generator=generator)
            else:
                bound = parameter.shape[1] ** -0.5
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
            if self.config.cell == "lstm" and "bias_ih" in name:
                parameter.data[self.config.inner : 2 * self.config.inner] = 1.0  # Jozefowicz et al. (2015)

    def forward(self, tokens: Tensor, state: State | None = None, *, select: Tensor | None = None) -> tuple[Tensor, State]:
        """Logits of what follows each token, and the state after the last.

        Args:
            tokens: (B, T) ids.
            state: what was read before; nothing when absent.
            select: (B, T) True where logits are wanted; then they are (selected, V).
        """
        x = F.dropout(self.embed(tokens), self.config.dropout, self.training)  # (B, T, W)
        y, state = self.memory(x, state)  # (B, T, H)
        y = F.dropout(y if select is None else y[select], self.config.dropout, self.training)
        return self.head(self.leave(y)), state


class Recurrent(nn.Module):
    """torch's own cells, with rows first in the state too."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        between = config.dropout if config.layers > 1 else 0.0
        self.cells = kind(config.width, config.inner, config.layers, batch_first=True, dropout=between)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        given = None if state is None else tuple(part.transpose(0, 1).contiguous() for part in state)  # (L, B, H)
        y, after = self.cells(x, given[0] if given is not None and len(given) == 1 else given)
        parts = after if isinstance(after, tuple) else (after,)
        return y, tuple(part.transpose(0, 1) for part in parts)


class Window(nn.Module):
    """The last N tokens side by side through layers of tanh; before a text's beginning stand zeros."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.window = config.window
        sizes = [config.window * config.width, *[config.inner] * config.layers]
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in itertools.pairwise(sizes))

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        B, T, W = x.shape
        before = x.new_zeros((B, self.window - 1, W)) if state is None else state[0]
        seen = torch.cat((before, x), dim=1)  # (B, N - 1 + T, W)
        y = seen.unfold(1, self.window, 1).transpose(2, 3).flatten(2)  # (B, T, N * W), the oldest token first
        for layer in self.layers:
            y = torch.tanh(layer(y))
        return y, (seen[:, T:],)
