"""The autoencoder in torch: learns a bound on the likelihood of pictures (Kingma and Welling, 2014), scores, samples, reconstructs.

β-VAE (Higgins et al., 2017) weighs the divergence of the latents. A VQ-VAE (van den Oord et al., 2017) learns in two phases of each step:
a small Transformer learns which codes follow each other, then encoder, codebook and decoder move. So a codebook has a prior from the start,
samples come from it, and the bits of its codes and of the pixels given the codes are a true bound as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.core.errors import UsageError
from miaobi.core.protocols import Batch, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request, Verb
from miaobi.engine.sampling.stepper import Stepper
from miaobi.models.common import autoencoder as files
from miaobi.models.common import traced_graph
from miaobi.models.common.autoencoder import Autoencoder, AutoencoderConfig
from miaobi.models.common.language import export_graphs, load_network, new_network, save_network, shape
from miaobi.models.common.picture_codec import Floats, PictureCodec, Pixels, class_names
from miaobi.models.common.record_request import request_of
from miaobi.models.common.transformer import TorchStepper, Transformer
from miaobi.models.common.weights import FLOATS
from miaobi.models.vae.draw import abstains, draw, reconstruct
from miaobi.models.vae.family import FAMILY
from miaobi.models.vae.likelihood import READINGS, distance, divergence, nats, num_outputs
from miaobi.models.vae.schema import Config
from miaobi.models.vae.stored import PRIOR, read

HEAD_WIDTH = 16
SCORED_AT_ONCE = 64
DRAWS = 4  # latents drawn for each scored picture: a bound is an expectation


class Network(nn.Module):
    """The autoencoder and, with a codebook, the prior of its codes."""

    def __init__(self, autoencoder: Autoencoder, prior: Transformer | None) -> None:
        super().__init__()
        self.autoencoder = autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.prior = prior


class VAE:
    """A Learner, Scorer and Exporter; without a likelihood (`likelihood: none`) no Scorer in its card."""

    def __init__(self, network: Network, config: Config, *, classes: Sequence[str] = (), name: str = "vae") -> None:
        self.network, self.config, self.classes = network, config, tuple(classes)
        self.phases: tuple[str, ...] = ("main",) if network.prior is None else ("prior", "main")
        self.latent_shape = network.autoencoder.latent_shape
        self.codec = PictureCodec(
            config.size, config.channels, fit=config.fit, augmentation=config, classes=self.classes, field=config.field
        )
        verbs = FAMILY.verbs if config.likelihood != "none" else FAMILY.verbs - {Verb.SCORE}
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the classes of a conditional model."""
        chosen = validate(Config, config, "model.config")
        classes = class_names(records, chosen.field) if chosen.conditional else ()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            autoencoder = Autoencoder(_shape(chosen, len(classes)))
        prior = None
        if chosen.kind == "vq":
            prior = new_network(_prior_shape(chosen, autoencoder.config.cells**2, len(classes)), seed)
        return cls(Network(autoencoder, prior), chosen, classes=classes)

    @classmethod
    def begin_from(cls, base: Path, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0) -> Self:
        """The autoencoder in `base` with other losses; what the configuration leaves out stays as it is there.

        Raises:
            UsageError: the configuration asks for another shape than that of the base.
        """
        old, classes = read(base)
        chosen = validate(Config, {**old.model_dump(), **config}, "model.config")
        model = cls.create(chosen.model_dump(), records, seed=seed)
        known = files.load(base).state_dict()
        wanted = {name: tensor.shape for name, tensor in model.network.autoencoder.state_dict().items()}
        if model.classes != classes or wanted != {name: tensor.shape for name, tensor in known.items()}:
            raise UsageError("the base {base} is another network; leave its shape out of model.config", base=base)
        model.network.autoencoder.load_state_dict(known)
        if model.network.prior is not None:
            model.network.prior.load_state_dict(load_network(base / PRIOR).state_dict())
        return model

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Nats over the numbers of the pictures; in the phase `prior` over their codes.

        Logs: `bits_per_dimension` is the bound on -log p of a model whose likelihood is one; `divergence` is in nats per picture.
        """
        if phase == PRIOR:
            return self._prior_loss(batch)
        pixels, autoencoder = batch["pixels"], self.network.autoencoder
        outputs, latents = autoencoder(_fast(pixels), batch.get("labels"))
        outputs, count = outputs.float(), pixels.numel()
        plain = self.config.likelihood == "none"
        pixel_nats = (distance(outputs, pixels) if plain else nats(self.config.likelihood, outputs, pixels)).sum()
        total, logs = pixel_nats, {"squared_error": float((autoencoder.pictures(outputs.detach()) - pixels).square().sum())}
        if self.config.kind == "kl":
            apart = divergence(latents["mean"], latents["logvar"]).sum()
            total = total + self.config.beta * apart
            logs["divergence"] = float(apart.detach()) * pixels[0].numel()  # the log divides by numbers, this is per picture
            if not plain:
                logs["bits_per_dimension"] = float((pixel_nats + apart).detach()) / math.log(2)
        elif self.config.kind == "vq":
            away = (latents["latents"] - latents["quantised"]).square().mean(dim=(1, 2, 3)).sum()
            total = total + self.config.commitment * pixels[0].numel() * away
            logs["perplexity"] = _perplexity(latents["indices"], self.config.codes) * count
        return Loss(total=total, count=count, logs=logs)

    def _prior_loss(self, batch: Batch) -> Loss:
        labels = batch.get("labels")
        with torch.no_grad():
            codes = self._codes(batch["pixels"], labels)  # (B, H * W)
        lost = self._code_nats(codes, labels)
        return Loss(total=lost.sum(), count=codes.numel(), logs={"bits_per_code": float(lost.detach().sum()) / math.log(2)})

    def _codes(self, pixels: Tensor, labels: Tensor | None) -> Tensor:
        """Codes (B, H * W) of pictures, row by row."""
        autoencoder = self.network.autoencoder
        assert autoencoder.codebook is not None
        codes: Tensor = autoencoder.codebook.nearest(autoencoder.posterior(_fast(pixels), labels)[0])
        return codes.flatten(1)

    def _code_nats(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """-log p (B, H * W) of each code by those before it and the class."""
        assert self.network.prior is not None
        first = self.config.codes + (torch.zeros_like(codes[:, 0]) if labels is None else labels)
        tokens = torch.cat([first[:, None], codes[:, :-1]], dim=1)
        logits = self.network.prior(tokens).float()  # (B, H * W, V)
        lost: Tensor = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        return lost.view_as(codes)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """The prior in its phase, the autoencoder in the other."""
        part = self.network.prior if phase == PRIOR else self.network.autoencoder
        assert part is not None
        return (parameter for parameter in part.parameters() if parameter.requires_grad)

    # ------------------------------------------------------------------ scoring

    @torch.inference_mode()
    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """The bound on -log2 p of each picture, over its numbers.

        Normal latents are drawn a few times for each picture, from its id, so that a score does not depend on the other records.

        Raises:
            UsageError: this model learned a distance, not a likelihood.
        """
        if self.config.likelihood == "none":
            raise UsageError("this autoencoder was trained with likelihood: none, so it has no likelihoods to give")
        self.network.eval()
        for start in range(0, len(records), SCORED_AT_ONCE):
            part = records[start : start + SCORED_AT_ONCE]
            batch = self.codec.collate(part)
            device = next(self.network.parameters()).device
            labels = batch["labels"].to(device) if "labels" in batch else None
            lost = self._record_nats(batch["pixels"].to(device), labels, part)
            for record, value in zip(part, lost.tolist()):
                yield Score(id=record.id, bits=value / math.log(2), dimensions=batch["pixels"][0].numel())

    def _record_nats(self, pixels: Tensor, labels: Tensor | None, records: Sequence[Record]) -> Tensor:
        """The bound in nats (B,)."""
        autoencoder = self.network.autoencoder
        pixels = torch.round((pixels + 1) * 127.5) / 127.5 - 1  # the levels that the likelihood is of; premultiplied ones lie between
        if self.config.kind != "kl":
            latents = autoencoder.posterior(_fast(pixels), labels)[0]
            spent = torch.zeros(len(pixels), device=pixels.device)
            if autoencoder.codebook is not None:
                codes = autoencoder.codebook.nearest(latents)
                latents, spent = autoencoder.codebook.embed(codes), self._code_nats(codes.flatten(1), labels).sum(1)
            return spent + self._pixel_nats(latents, pixels, labels)
        mean, logvar = autoencoder.posterior(_fast(pixels), labels)
        lost = divergence(mean, logvar).sum(dim=(1, 2, 3))
        noise = np.stack([np.random.default_rng(crc32(record.id.encode())).standard_normal((DRAWS, *mean.shape[1:])) for record in records])
        for number in range(DRAWS):
            drawn = torch.from_numpy(noise[:, number].astype(np.float32)).to(mean.device)
            lost = lost + self._pixel_nats(mean + (0.5 * logvar).exp() * drawn, pixels, labels) / DRAWS
        return lost

    def _pixel_nats(self, latents: Tensor, pixels: Tensor, labels: Tensor | None) -> Tensor:
        outputs = self.network.autoencoder.decoder(latents, labels).float()
        return nats(self.config.likelihood, outputs, pixels).sum(dim=(1, 2, 3))

    # ------------------------------------------------------------------ drawing

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Samples, reconstructions or walks."""
        self.network.eval()
        yield from draw(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its class, where the model has classes."""
        return request_of(record, classes=self.classes)

    def abstains(self) -> str:
        """Why it draws nothing of its own: a latent codec has no prior."""
        return abstains(self.config)

    def reconstruct(self, pictures: Sequence[Pixels], /) -> list[Pixels]:
        """Pictures through encoder and decoder, at the model's size."""
        self.network.eval()
        return reconstruct(self, pictures)

    @torch.inference_mode()
    def encode(self, pixels: Floats, labels: Sequence[int], /) -> tuple[Floats, Floats]:
        """Mean and deviation of the latents of pictures, as arrays."""
        mean, logvar = self.network.autoencoder.posterior(_fast(self._tensor(pixels)), self._tensor(labels))
        return mean.cpu().numpy(), (0.5 * logvar).exp().cpu().numpy()

    @torch.inference_mode()
    def decode(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures of latents, as arrays."""
        pictures: Floats = Painting(self.network.autoencoder)(self._tensor(latents), self._tensor(labels)).cpu().numpy()
        return pictures

    def prior(self) -> Stepper:
        """The Transformer of a codebook."""
        assert self.network.prior is not None
        return TorchStepper(self.network.prior)

    def embed(self, codes: Sequence[int], /) -> Floats:
        """Latents of the codes of one picture."""
        codebook = self.network.autoencoder.codebook
        assert codebook is not None
        found: Floats = codebook.embed(self._tensor(codes).view(1, *self.latent_shape[1:]))[0].cpu().numpy()
        return found

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, device=next(self.network.parameters()).device)

    # ------------------------------------------------------------------ files

    def save(self, folder: Path, /) -> None:
        """`model.safetensors` and `config.json` of the autoencoder, which `models.common.autoencoder` reads; `prior/` beside them."""
        dtype = FLOATS[self.config.stored]
        own = {"model_type": "miaobi_vae", "config": self.config.model_dump(mode="json"), "classes": list(self.classes)}
        files.save(self.network.autoencoder, folder, dtype=dtype, **own)
        if self.network.prior is not None:
            (folder / PRIOR).mkdir(exist_ok=True)
            save_network(self.network.prior, folder / PRIOR, dtype=dtype)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config, classes = read(folder)
        network = Network(files.load(folder), load_network(folder / PRIOR) if config.kind == "vq" else None)
        return cls(network.to(device).eval(), config, classes=classes, name=folder.name)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Graphs of encoder and decoder, and of the prior in its own folder, each compared with torch."""
        self.network.eval()
        told = {"labels": torch.zeros(2, dtype=torch.long)} if self.classes else {}
        torch.manual_seed(0)
        pixels = {"pixels": torch.rand(2, self.config.channels, self.config.size, self.config.size) * 2 - 1}
        latents = {"latents": torch.randn(2, *self.latent_shape)}
        found = traced_graph.export(Painting(self.network.autoencoder), folder, "decoder", latents | told, formats=formats)
        seen = traced_graph.export(Looking(self.network.autoencoder), folder, "encoder", pixels | told, formats=formats)
        errors = {form: {**found[form], **seen[form]} for form in formats}
        if self.network.prior is not None:
            prompts = [[self.config.codes], [self.config.codes, *range(min(7, self.config.codes))]]
            for form, more in export_graphs(self.network.prior, folder / PRIOR, formats, prompts).items():
                errors[form] |= {f"prior_{name}": value for name, value in more.items()}
        return errors


class Painting(nn.Module):
    """The decoder as it is exported: latents before whitening, or near the codes of a codebook, to pictures."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.autoencoder.codebook is not None:
            latents = self.autoencoder.codebook.embed(self.autoencoder.codebook.nearest(latents))
        return self.autoencoder.pictures(self.autoencoder.decoder(latents, labels))


class Looking(nn.Module):
    """The encoder as it is exported: pictures to mean and deviation (B, 2L, H, W) of their latents."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> Tensor:
        mean, logvar = self.autoencoder.posterior(pixels, labels)
        return torch.cat([mean, (0.5 * logvar).exp()], dim=1)


def _shape(config: Config, num_classes: int) -> AutoencoderConfig:
    return AutoencoderConfig(
        size=config.size,
        channels=config.channels,
        patch=config.patch,
        widths=tuple(config.widths),
        blocks=config.blocks,
        latent=config.latent,
        vector=config.vector,
        kind=config.kind,
        codes=config.codes,
        noise=config.noise,
        refine=config.refine,
        outputs=num_outputs(config.likelihood, config.channels),
        reading=READINGS[config.likelihood],
        classes=num_classes,
    )


def _prior_shape(config: Config, length: int, num_classes: int) -> Any:
    heads = max(1, config.prior_width // HEAD_WIDTH)
    values = {
        "width": heads * (config.prior_width // heads),
        "layers": config.prior_layers,
        "heads": heads,
        "key_heads": 0,
        "hidden": 0,
        "context": max(8, length + 1),
        "dropout": 0.0,
    }
    return shape(values, vocab_size=config.codes + max(1, num_classes))


def _fast(pixels: Tensor) -> Tensor:
    """Channels beside each other in memory, which is how convolutions on a CPU read them."""
    return pixels.contiguous(memory_format=torch.channels_last)


def _perplexity(indices: Tensor, count: int) -> float:
    """How many codes a batch uses evenly: the exponential of their entropy."""
    shares = torch.bincount(indices.flatten(), minlength=count).float() / indices.numel()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))
