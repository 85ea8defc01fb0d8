"""A Transformer over space and time in turn, the tower that looks at the first frame, the encoder of words, and the frozen picture codec.

Ho et al. (2022, video diffusion) and Ma et al. (2024, Latte) part attention into frames and moments, which costs F + N looks for each of
F N patches instead of F N; the blocks over space are those of `models.common.dit`. Unusual: where a clip is a loop, time is a circle, and
its rotations turn by whole numbers a round, so that the last frame is as near to the first as any neighbour.
Shapes: B clips, F frames, N patches of a frame, W width, C channels, H and W of what is denoised, S side of the first frame.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common import picture_blocks
from miaobi.models.common.autoencoder import Autoencoder, AutoencoderConfig
from miaobi.models.common.dit import TIME_FEATURES, modulate, to_patches, to_picture
from miaobi.models.common.dit import Block as SpaceBlock
from miaobi.models.common.picture_blocks import Attention, Condition, rotation_2d, silence
from miaobi.models.common.picture_config import DiTConfig
from miaobi.models.common.text_condition import TextEncoder
from miaobi.models.common.text_units import FEATURES
from miaobi.models.video.schema import Config

Rotation = tuple[Tensor, Tensor]
SPACE, TIME = 6, 3  # numbers a channel that modulate a block over space and one over time
THETA = 100.0
STEM = 8  # pixels a side that the tower's first layer takes together, where they fit


class Denoiser(nn.Module):
    """Noisy clips (B, F, C, H, W) at time (B,) to predictions of that shape."""

    def __init__(self, config: Config, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        C, H, W = shape
        self.rows, self.columns = H // config.patch, W // config.patch
        values = C * config.patch**2
        self.embed = nn.Linear(values, config.width)
        self.moments = nn.Parameter(torch.zeros(config.frames, 1, config.width))
        self.tower = Tower(config, self.rows)
        self.condition = Condition(TIME_FEATURES, config.width, config.width if config.conditions else 0)
        self.modulation = nn.Linear(config.width, (SPACE + TIME) * config.width)
        self.blocks = nn.ModuleList(Block(config, values) for _ in range(config.layers))
        self.modulation_output = nn.Linear(config.width, 2 * config.width)
        self.output = nn.Linear(config.width, values)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""
        picture_blocks.initialise(self, generator)
        nn.init.normal_(self.moments, std=0.5, generator=generator)
        silence(self.modulation, self.modulation_output, self.output)

    def edges(self) -> list[nn.Parameter]:
        """First and last weights, which map from and to pixels: an optimizer for hidden matrices leaves them out."""
        layers = (self.embed, self.condition.time1, self.output, self.tower.stem)
        return [*(cast("nn.Parameter", layer.weight) for layer in layers), self.moments]

    def forward(self, x: Tensor, time: Tensor, vector: Tensor, first: Tensor, given: Tensor) -> Tensor:
        """The prediction.

        Args:
            vector: (B, width), the caption; zeros for a model that reads none.
            first: (B, channels, S, S), the first frame. given: (B,) 1 where it is shown, 0 where it is hidden.
        """
        B, frames, patch = x.shape[0], self.config.frames, self.config.patch
        h = self.embed(to_patches(x.flatten(0, 1), patch))  # (B * F, N, W)
        seen = self.tower(first, given)  # (B, N, W)
        N, W = self.rows * self.columns, self.config.width
        h = h.view(B, frames, N, W) + seen[:, None] + self.moments
        condition = F.silu(self.condition(time, vector if self.config.conditions else None))  # (B, W)
        modulation = self.modulation(condition)  # (B, 9 W)
        D = W // self.config.heads
        place = rotation_2d(self.rows, self.columns, D, theta=THETA, device=h.device)
        moment = rotation_in_time(frames, D, loop=self.config.loop, device=h.device)
        for block in self.blocks:
            h = block(h, modulation, place, moment)
        shift, scale = self.modulation_output(condition)[:, None].chunk(2, dim=-1)
        h = self.output(modulate(h.flatten(1, 2), shift, scale))  # (B, F * N, values)
        h = to_picture(h.view(B * frames, N, -1), self.rows, self.columns, patch)
        return h.view(B, frames, *self.shape).to(x.dtype)


class Block(nn.Module):
    """Every place looks along time, then every frame over its places."""

    def __init__(self, config: Config, values: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.bias = nn.Parameter(torch.zeros(TIME * config.width))
        self.time = Attention(config.width, config.heads, head_norm=True)
        shape = DiTConfig(channels=values, width=config.width, heads=config.heads, dropout=config.dropout)
        self.space = SpaceBlock(shape)

    def start_at_zero(self) -> None:
        """The gate is silent at first."""
        nn.init.zeros_(self.bias)

    def forward(self, h: Tensor, modulation: Tensor, place: Rotation, moment: Rotation) -> Tensor:
        """(B, F, N, W) → (B, F, N, W)."""
        B, frames, N, W = h.shape
        shift, scale, gate = (modulation[:, SPACE * W :] + self.bias)[:, None].chunk(3, dim=-1)  # (B, 1, W) each
        x = modulate(h.transpose(1, 2).reshape(B, N * frames, W), shift, scale)
        x = self.time(x.reshape(B * N, frames, W), rotation=moment).reshape(B, N * frames, W)
        x = gate * F.dropout(x, self.dropout, self.training)
        h = h + x.view(B, N, frames, W).transpose(1, 2)
        spatial = modulation[:, None, : SPACE * W].expand(-1, frames, -1).reshape(B * frames, SPACE * W)
        return self.space(h.reshape(B * frames, N, W), spatial, place, None, None).view(B, frames, N, W)  # type: ignore[no-any-return]


class Tower(nn.Module):
    """What is seen in the first frame at each patch, in two layers, first over small squares; a learned vector where it is hidden."""

    def __init__(self, config: Config, rows: int) -> None:
        super().__init__()
        reach = config.size // rows  # pixels a side that a patch stands on
        self.square = next(side for side in (STEM, STEM // 2, STEM // 4, 1) if reach % side == 0)
        self.stem = nn.Linear(config.channels * self.square**2, config.width // 2)
        self.group = reach // self.square
        self.deep = nn.Linear(self.group**2 * (config.width // 2), config.width)
        self.rows = config.size // self.square
        self.nothing = nn.Parameter(torch.zeros(config.width))

    def forward(self, first: Tensor, given: Tensor) -> Tensor:
        """(B, channels, S, S) and (B,) → (B, N, W)."""
        seen = F.silu(self.stem(to_patches(first, self.square)))  # (B, squares, W / 2)
        seen = to_patches(seen.transpose(1, 2).reshape(first.shape[0], -1, self.rows, self.rows), self.group)
        seen = self.deep(seen)  # (B, N, W)
        share = given[:, None, None].to(seen.dtype)
        return share * seen + (1 - share) * self.nothing  # type: ignore[no-any-return]


def rotation_in_time(frames: int, head_width: int, *, loop: bool, device: torch.device | None = None) -> Rotation:
    """Cosines and sines (F, D): in a loop each pair turns by a whole number of rounds, from none to one every other frame."""
    half = head_width // 2
    if loop:
        rounds = torch.linspace(0, frames // 2, half, device=device).round()
        frequencies = 2 * math.pi * rounds / frames
    else:
        frequencies = THETA ** -(torch.arange(half, dtype=torch.float32, device=device) / half)
    angles = torch.arange(frames, dtype=torch.float32, device=device)[:, None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


class Network(nn.Module):
    """The denoiser, the encoder of captions, and the frozen codec of a model of latents."""

    words: Tensor

    def __init__(self, config: Config, *, words: Any, latent: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(replace(latent)).requires_grad_(False) if latent else None
        self.shape = self.autoencoder.latent_shape if self.autoencoder else shape_of(config)
        self.denoiser = Denoiser(config, self.shape)
        self.register_buffer("words", torch.from_numpy(np.zeros(0, np.int64) if words is None else words))
        self.text = TextEncoder(len(words), config.text_width, config.width, layers=config.text_layers) if words is not None else None

    def initialise(self, generator: torch.Generator) -> None:
        """Random weights; the codec keeps its own."""
        self.denoiser.initialise(generator)
        if self.text is not None:
            self.text.initialise(generator)

    def read(self, rows: Tensor, told: Tensor | None = None) -> Tensor:
        """Captions (B, L, F) as vectors (B, W). `told` (B,) is False where the empty text stands in a caption's place."""
        assert self.text is not None
        vector: Tensor = self.text(rows)[0]
        if told is not None and not told.all():
            nothing = self.text(torch.zeros((1, 1, FEATURES), dtype=torch.long, device=rows.device))[0]
            vector = torch.where(told[:, None], vector, nothing.to(vector.dtype))
        return vector

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """What is denoised, (B, F, C, H, W), of clips (B, F, channels, S, S) in [-1, 1]."""
        if self.config.space == "flow":
            from miaobi.models.video.registration import measure

            return measure((clips + 1) / 2, self.config.grid) / self.config.reach
        if self.autoencoder is None:
            return clips
        with torch.autocast(clips.device.type, enabled=False):  # frozen: exact, and remembered
            latents: Tensor = self.autoencoder.encode(clips.flatten(0, 1))[0]
        return latents.view(*clips.shape[:2], *self.shape)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (B, channels, S, S) in [-1, 1] of latents (B, C, H, W)."""
        assert self.autoencoder is not None
        return self.autoencoder.decode(latents)


def shape_of(config: Config) -> tuple[int, int, int]:
    """Channels, height and width of a frame of what is denoised, where no codec decides it."""
    return (2, config.grid, config.grid) if config.space == "flow" else (config.channels, config.size, config.size)
