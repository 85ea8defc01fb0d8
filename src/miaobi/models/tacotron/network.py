"""Tacotron 2 in torch, for learning: the frames that were really spoken are given to the decoder, which predicts the next ones.

Symbols → embedding, convolutions, an LSTM both ways → memory. Each step: the last frame through the prenet, an LSTM that asks, attention
that knows where it looked so far (Chorowski et al., 2015), an LSTM that writes `reduction` frames, and whether they are the last. At the
end convolutions mend the whole spectrogram.

Legend: B texts, N symbols, T frames, S = T / reduction steps, M bands, W width, D decoder width.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from miaobi.models.tacotron.schema import Config

KERNEL = 5
ALWAYS_DROPPED = 0.5  # in the prenet, while speaking too: without it the decoder copies frames and never listens to the text
LSTM_DROPOUT = 0.1


class Spoken(NamedTuple):
    """What the network makes of a batch."""

    frames: Tensor  # (B, T, M) as the decoder writes them
    mended: Tensor  # (B, T, M) after the postnet
    stops: Tensor  # (B, S) logits
    weights: Tensor  # (B, S, N) attention


class Network(nn.Module):
    """The names of its parameters are those that the speaker reads."""

    def __init__(self, config: Config, num_symbols: int) -> None:
        super().__init__()
        self.config = config
        width, inner, memory = config.width, config.decoder_width, config.width
        bands, attention = config.mel.bands, config.attention_width
        self.embedding = nn.Embedding(num_symbols, width, padding_idx=0)
        self.encoder = nn.ModuleList(_Convolution(width, width) for _ in range(config.encoder_layers))
        self.reader = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.prenet = nn.ModuleList([nn.Linear(bands, config.prenet_width), nn.Linear(config.prenet_width, config.prenet_width)])
        self.asker = nn.LSTMCell(config.prenet_width + memory, inner)
        self.question = nn.Linear(inner, attention, bias=False)
        self.keys = nn.Linear(memory, attention)
        self.filters = nn.Conv1d(2, config.location_filters, config.location_kernel, padding=config.location_kernel // 2, bias=False)
        self.location = nn.Linear(config.location_filters, attention, bias=False)
        self.energy = nn.Linear(attention, 1, bias=False)
        self.writer = nn.LSTMCell(inner + memory, inner)
        self.frame = nn.Linear(inner + memory, bands * config.reduction)
        self.stop = nn.Linear(inner + memory, 1)
        sizes = [bands, *[config.postnet_width] * (config.postnet_layers - 1), bands]
        self.postnet = nn.ModuleList(_Convolution(before, after) for before, after in itertools.pairwise(sizes))

    def encode(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        """Memory (B, N, W) of symbols (B, N); zero behind a text's end."""
        there = torch.arange(symbols.shape[1], device=symbols.device)[None] < lengths[:, None]
        x = self.embedding(symbols).transpose(1, 2)  # (B, W, N)
        for layer in self.encoder:
            x = functional.dropout(torch.relu(layer(x * there[:, None])), self.config.dropout, self.training)
        packed = nn.utils.rnn.pack_padded_sequence(x.transpose(1, 2), lengths.cpu(), batch_first=True, enforce_sorted=False)
        found, _ = nn.utils.rnn.pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=symbols.shape[1])
        return found

    def forward(self, symbols: Tensor, lengths: Tensor, frames: Tensor, ends: Tensor) -> Spoken:
        """Predict frames (B, T, M), of which the first `ends` (B,) are there; T is a multiple of `reduction`."""
        config = self.config
        memory = self.encode(symbols, lengths)
        absent = torch.arange(symbols.shape[1], device=symbols.device)[None] >= lengths[:, None]  # (B, N)
        keys = self.keys(memory)
        before = functional.pad(frames[:, config.reduction - 1 : -1 : config.reduction], (0, 0, 1, 0))  # (B, S, M): the last of each group
        given = self._prenet(before)
        batch, inner = len(symbols), config.decoder_width
        asked = wrote = (given.new_zeros(batch, inner), given.new_zeros(batch, inner))
        weights = given.new_zeros(absent.shape)
        paid, context = weights, given.new_zeros(batch, memory.shape[-1])
        outputs, attention = [], []
        for step in range(given.shape[1]):
            asked = self.asker(torch.cat([given[:, step], context], dim=-1), asked)
            question = functional.dropout(asked[0], LSTM_DROPOUT, self.training)
            looked = self.filters(torch.stack([weights, paid], dim=1)).transpose(1, 2)  # (B, N, filters)
            energies = self.energy(torch.tanh(self.question(question)[:, None] + keys + self.location(looked)))[..., 0]
            weights = torch.softmax(energies.masked_fill(absent, float("-inf")), dim=-1)
            paid = paid + weights
            context = (weights[:, None] @ memory)[:, 0]
            wrote = self.writer(torch.cat([question, context], dim=-1), wrote)
            outputs.append(torch.cat([functional.dropout(wrote[0], LSTM_DROPOUT, self.training), context], dim=-1))
            attention.append(weights)
        written = torch.stack(outputs, dim=1)  # (B, S, D + W)
        made = self.frame(written).reshape(batch, -1, config.mel.bands)  # (B, T, M)
        there = torch.arange(made.shape[1], device=made.device)[None] < ends[:, None]
        return Spoken(made, made + self.mend(made * there[..., None]), self.stop(written)[..., 0], torch.stack(attention, dim=1))

    def mend(self, frames: Tensor) -> Tensor:
        """What the postnet adds to a spectrogram (B, T, M)."""
        x = frames.transpose(1, 2)
        for number, layer in enumerate(self.postnet):
            x = layer(x)
            x = torch.tanh(x) if number < len(self.postnet) - 1 else x
            x = functional.dropout(x, self.config.dropout, self.training)
        return x.transpose(1, 2)

    def _prenet(self, x: Tensor) -> Tensor:
        for layer in self.prenet:
            x = functional.dropout(torch.relu(layer(x)), ALWAYS_DROPPED, training=True)
        return x


class _Convolution(nn.Module):
    """A convolution over time with batch normalisation, which is a scale and a shift once learned."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2)
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.filters(x))  # type: ignore[no-any-return]
