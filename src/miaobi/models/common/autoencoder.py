"""A convolutional autoencoder of pictures, and the latent codec of latent diffusion.

Its latents are normal (Kingma and Welling, 2014), entries of a codebook (van den Oord et al., 2017), or plain numbers. Unusual: `encode`
and `decode` speak of whitened latents, of mean 0 and deviation 1 in every channel, whatever the kind, so that a diffusion model needs no
scale factor of its own; the statistics travel in the weights. A first convolution with a stride of 4 and PixelShuffle at the end keep the
wide feature maps small, which is what makes it quick on a CPU. Shapes: B pictures, C channels, S size, L latent channels, H = W cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.weights import WEIGHTS, save_weights

SHARPEST = 7.0  # log scales beyond this are taken for it: a scale of 0.0009 is an eighth of a grey level already
EMBEDDING = 16  # length of a class's vector beside the latents
CONFIG = "config.json"

Kind = Literal["kl", "vq", "plain"]
Reading = Literal["pixels", "odds", "logistic", "normal"]  # themselves; log odds of white; means and log scales of a distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """The network's shape. The first level has `widths[0]` channels at `size / patch`; each further width halves the picture again."""

    size: int
    channels: int = 3
    patch: int = 4
    widths: tuple[int, ...] = (48, 96)
    blocks: int = 1  # residual blocks of a level
    latent: int = 16  # latent channels
    vector: bool = False  # one latent for the picture instead of one for each cell
    kind: Kind = "kl"
    codes: int = 512  # entries of the codebook (vq)
    noise: float = 0.05  # at most so much is added to whitened latents while training (plain)
    refine: int = 16  # channels of a last convolution at full size, which smooths the grid that PixelShuffle leaves; 0 is none
    outputs: int = 0  # channels that the decoder gives; as many as `channels` when 0
    reading: Reading = "pixels"  # what the decoder's outputs mean
    classes: int = 0  # labels that encoder and decoder are told

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> AutoencoderConfig:
        """The shape that `dataclasses.asdict` gave, read from JSON."""
        return cls(**{**values, "widths": tuple(values["widths"])})

    @property
    def cells(self) -> int:
        """Width and height of the latents."""
        return 1 if self.vector else self.grid

    @property
    def grid(self) -> int:
        """Width and height of the lowest level."""
        return self.size // self.patch >> (len(self.widths) - 1)


class Residual(nn.Module):
    """Two 3 by 3 convolutions beside the identity. The second starts at zero, so a new network is shallow (Zhang et al., 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(F.silu(self.first(F.silu(self.norm(x)))))
        return x + y


class Encoder(nn.Module):
    """Pictures (B, C, S, S) to `outputs` numbers for each latent cell."""

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__()
        first = config.widths[0]
        layers: list[nn.Module] = [nn.Conv2d(config.channels, first, config.patch, stride=config.patch)]
        layers += [Residual(first) for _ in range(config.blocks)]
        for before, width in zip(config.widths, config.widths[1:]):
            layers += [nn.Conv2d(before, width, 2, stride=2), *(Residual(width) for _ in range(config.blocks))]
        last = config.widths[-1]
        self.layers = nn.Sequential(*layers)
        self.labels = nn.Embedding(config.classes, last) if config.classes else None
        self.head = nn.Conv2d(last, outputs, config.grid if config.vector else 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.layers(x)  # (B, W, grid, grid)
        if self.labels is not None:
            assert labels is not None, "a model of classes is told which"
            x = x + self.labels(labels)[:, :, None, None]
        y: Tensor = self.head(F.silu(x))
        return y


class Decoder(nn.Module):
    """Latents (B, L, H, W) to pictures, or to the parameters of their distribution (B, outputs, S, S)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        last, outputs = config.widths[-1], config.outputs or config.channels
        self.labels = nn.Embedding(config.classes, EMBEDDING) if config.classes else None
        inputs = config.latent + (EMBEDDING if config.classes else 0)
        self.stem = nn.ConvTranspose2d(inputs, last, config.grid) if config.vector else nn.Conv2d(inputs, last, 3, padding=1)
        layers: list[nn.Module] = [Residual(last) for _ in range(config.blocks)]
        for before, width in zip(config.widths[:0:-1], config.widths[-2::-1]):
            layers += [nn.Conv2d(before, 4 * width, 1), nn.PixelShuffle(2), *(Residual(width) for _ in range(config.blocks))]
        full = config.refine or outputs
        layers += [nn.SiLU(), nn.Conv2d(config.widths[0], full * config.patch**2, 3, padding=1), nn.PixelShuffle(config.patch)]
        if config.refine:
            layers += [nn.SiLU(), nn.Conv2d(full, outputs, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.labels is not None:  # beside the latents: the stem then says what the class looks like in every place
            assert labels is not None, "a model of classes is told which"
            told = self.labels(labels)[:, :, None, None].expand(-1, -1, *z.shape[2:])
            z = torch.cat([z, told], dim=1)
        y: Tensor = self.layers(self.stem(z))
        return y


class Whitening(nn.Module):
    """Running mean and variance of every latent channel. The first batches weigh fully, so short trainings are served as well."""

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, channels: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("seen", torch.zeros(()))

    @torch.no_grad()
    def watch(self, latents: Tensor) -> None:
        """Take a batch (B, L, H, W) into the statistics."""
        values = latents.detach().float().transpose(0, 1).flatten(1)  # (L, B * H * W)
        self.seen += 1
        share = max(self.momentum, 1 / float(self.seen))
        self.mean.lerp_(values.mean(1), share)
        self.variance.lerp_(values.var(1, correction=0), share)

    def forward(self, latents: Tensor) -> Tensor:
        return (latents - self.mean.view(-1, 1, 1)) / self.deviation.view(-1, 1, 1)

    def undo(self, latents: Tensor) -> Tensor:
        """The inverse."""
        return latents * self.deviation.view(-1, 1, 1) + self.mean.view(-1, 1, 1)

    @property
    def deviation(self) -> Tensor:
        """(L,)"""
        return (self.variance + 1e-6).sqrt()


class Codebook(nn.Module):
    """Vector quantisation. Codes move to the mean of what they stand for by a moving average; gradients go straight through.

    van den Oord et al. (2017), appendix A.1. A code that stands for next to nothing starts again at a latent of the batch (Dhariwal et al.,
    2020), so the whole codebook is used. Unlike weights, codes are buffers: no optimizer moves them.
    """

    codes: Tensor
    sizes: Tensor
    sums: Tensor

    def __init__(self, count: int, width: int, *, decay: float = 0.99, dead: float = 0.1) -> None:
        super().__init__()
        self.decay, self.dead = decay, dead
        codes = torch.randn(count, width)
        self.register_buffer("codes", codes)  # (K, L)
        self.register_buffer("sizes", torch.zeros(count))  # latents that a code stands for, averaged over batches
        self.register_buffer("sums", codes.clone())  # their sum, averaged likewise

    def nearest(self, latents: Tensor) -> Tensor:
        """Indices (B, H, W) of the nearest codes of (B, L, H, W)."""
        flat = latents.float().permute(0, 2, 3, 1).flatten(0, -2)  # (N, L)
        scores = flat @ self.codes.T - self.codes.square().sum(1) / 2  # largest where the distance is smallest
        return scores.argmax(1).view(latents.shape[0], *latents.shape[2:])

    def embed(self, indices: Tensor) -> Tensor:
        """The codes (B, L, H, W) of indices (B, H, W)."""
        return F.embedding(indices, self.codes).permute(0, 3, 1, 2)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Quantised latents with a gradient straight through, and the indices; while training the codes move."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.float()
            indices = self.nearest(latents)
            if self.training and torch.is_grad_enabled():
                self._learn(latents.detach().permute(0, 2, 3, 1).flatten(0, -2), indices.flatten())
            quantised = self.embed(indices)
            return latents + (quantised - latents).detach(), indices

    @torch.no_grad()
    def _learn(self, latents: Tensor, indices: Tensor) -> None:
        """Move the codes by a batch of latents (N, L) that chose `indices` (N,)."""
        chosen = F.one_hot(indices, len(self.codes)).to(latents.dtype)  # (N, K)
        self.sizes.lerp_(chosen.sum(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ latents, 1 - self.decay)
        dead = self.sizes < self.dead * latents.shape[0] / len(self.codes)  # as a share of what it would stand for if all were alike
        fresh = latents[torch.randint(len(latents), (len(self.codes),), device=latents.device)]
        even = torch.full_like(self.sizes, latents.shape[0] / len(self.codes))
        self.sizes.copy_(torch.where(dead, even, self.sizes))
        self.sums.copy_(torch.where(dead[:, None], fresh * even[:, None], self.sums))
        self.codes.copy_(self.sums / self.sizes[:, None])


class Autoencoder(nn.Module):
    """Encoder, latents of one kind, decoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, 2 * config.latent if config.kind == "kl" else config.latent)
        self.decoder = Decoder(config)
        self.whitening = Whitening(config.latent)
        self.codebook = Codebook(config.codes, config.latent) if config.kind == "vq" else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(L, H, W) of one picture's latents."""
        return self.config.latent, self.config.cells, self.config.cells

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whitened latents of pictures: their mean and log variance, each (B, L, H, W). Only `kl` has a variance that is not nearly 0."""
        mean, logvar = self.posterior(x, labels)
        return self.whitening(mean), logvar - 2 * self.whitening.deviation.log().view(-1, 1, 1)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures (B, C, S, S) in [-1, 1] of whitened latents; with a codebook, of the nearest codes."""
        latents = self.whitening.undo(z)
        if self.codebook is not None:
            latents = self.codebook.embed(self.codebook.nearest(latents))
        return self.pictures(self.decoder(latents, labels))

    def pictures(self, outputs: Tensor) -> Tensor:
        """The expected picture (B, C, S, S) in [-1, 1] by what the decoder gives (B, outputs, S, S)."""
        outputs = outputs.float()
        if self.config.reading == "pixels":
            return outputs.clamp(-1, 1)
        if self.config.reading == "odds":
            return torch.tanh(outputs / 2)
        middle, log_scale = outputs.chunk(2, dim=1)
        return expectation(middle, log_scale, logistic=self.config.reading == "logistic")

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the encoder says of pictures, before whitening: mean and log variance (B, L, H, W)."""
        raw = self.encoder(x, labels)
        if self.config.kind == "kl":
            mean, logvar = raw.float().chunk(2, dim=1)
            return mean, logvar.clamp(-20, 10)
        return raw.float(), torch.full_like(raw, -40.0, dtype=torch.float32)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """A training pass: what the decoder gives (B, outputs, S, S), and what the losses of the latents need.

        `kl`: `mean` and `logvar`; `vq`: `latents`, `quantised` and `indices`; `plain`: nothing. The statistics of whitening follow.
        """
        mean, logvar = self.posterior(x, labels)
        found: dict[str, Tensor] = {}
        latents = mean
        if self.config.kind == "kl":
            latents = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            found = {"mean": mean, "logvar": logvar}
        elif self.codebook is not None:
            latents, indices = self.codebook(mean)
            found = {"latents": mean, "quantised": latents.detach(), "indices": indices}
        if self.training:
            if next(self.encoder.parameters()).requires_grad:  # else the statistics are those of latents that somebody draws already
                self.whitening.watch(mean)
            if self.config.kind == "plain":
                latents = self._noisy(mean)
        return self.decoder(latents, labels), found

    def _noisy(self, latents: Tensor) -> Tensor:
        """Latents with noise in proportion to their own spread: what a diffusion model gets slightly wrong must not show.

        Each picture gets another share of it, so that the decoder learns to clean and does not forget how to copy.
        """
        spread = latents.detach().std(dim=(0, 2, 3), keepdim=True)
        share = self.config.noise * torch.rand(len(latents), 1, 1, 1, device=latents.device)
        return latents + share * spread * torch.randn_like(latents)


def save(autoencoder: Autoencoder, folder: Path, *, dtype: torch.dtype = torch.float32, **more: Any) -> None:
    """`model.safetensors` and `config.json`, which holds `more` beside the autoencoder's own configuration."""
    save_weights(autoencoder.state_dict(), folder, dtype=dtype)
    write_text(folder / CONFIG, json.dumps({"autoencoder": asdict(autoencoder.config)} | more, indent=2, ensure_ascii=False) + "\n")


def load(folder: Path, *, device: str = "cpu") -> Autoencoder:
    """The autoencoder that `save` wrote (a `vae` artifact, say), in fp32 and evaluation mode.

    Raises:
        ArtifactError: a file is missing, damaged, or of another kind of model.
    """
    config = read_config(folder)
    try:
        values = config["autoencoder"]
        network = Autoencoder(AutoencoderConfig.of(values))
        network.load_state_dict(load_file(folder / WEIGHTS))
    except KeyError:
        raise ArtifactError("{folder} holds no autoencoder of pictures", folder=folder) from None
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
    return network.float().to(device).eval()


def expectation(middle: Tensor, log_scale: Tensor, *, logistic: bool) -> Tensor:
    """The mean of a logistic or normal distribution whose mass beyond -1 and 1 lies on these ends: 1 minus the integral of its CDF.

    Where a pixel is black or white and nothing between, the middle may be far off or the scale huge; the mean is right all the same.
    """
    scale = log_scale.clamp(-SHARPEST, SHARPEST).exp()
    upper, lower = (1 - middle) / scale, (-1 - middle) / scale
    if logistic:
        return 1 - scale * (F.softplus(upper) - F.softplus(lower))
    return 1 - scale * (_normal_integral(upper) - _normal_integral(lower))


def _normal_integral(z: Tensor) -> Tensor:
    """The integral of the normal CDF up to z: z Phi(z) + phi(z)."""
    cumulative: Tensor = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return z * cumulative + torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
