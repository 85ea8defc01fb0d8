"""The two networks in torch: they learn in the phases `discriminator` and `generator` of each step, and the generator draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.language import tr
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common import traced_graph
from miaobi.models.common.picture_codec import Floats, PictureCodec, class_names
from miaobi.models.common.record_request import request_of
from miaobi.models.common.weights import WEIGHTS, reading_weights, save_weights
from miaobi.models.gan.draw import draw
from miaobi.models.gan.family import FAMILY
from miaobi.models.gan.game import Watch, discriminator_loss, generator_loss, gradient_penalty
from miaobi.models.gan.networks import NETWORKS, Shape
from miaobi.models.gan.schema import Config
from miaobi.models.gan.stored import read

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
CONFIG = "config.json"
LEAST_RECALL, LEAST_DIVERSITY = 0.25, 0.6  # below these a person would see that pictures repeat


class Network(nn.Module):
    """Both players and the watch over them."""

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__()
        shape = Shape(
            size=config.size,
            channels=config.channels,
            latent=config.latent,
            patch=config.patch,
            widths=tuple(config.widths),
            blocks=config.blocks,
            expansion=config.expansion,
            group=config.group,
            classes=num_classes,
        )
        makes, judges = NETWORKS[config.architecture]
        self.generator, self.discriminator = makes(shape), judges(shape)
        self.watch = Watch()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class GAN:
    """A Learner and Exporter."""

    phases: tuple[str, ...] = (DISCRIMINATOR, GENERATOR)

    def __init__(self, network: Network, config: Config, *, classes: Sequence[str] = (), name: str = "gan") -> None:
        self.network, self.config, self.classes = network, config, tuple(classes)
        self.codec = PictureCodec(
            config.size, config.channels, fit=config.fit, augmentation=config, classes=self.classes, field=config.field
        )
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the classes of a conditional model."""
        chosen = validate(Config, config, "model.config")
        classes = class_names(records, chosen.field) if chosen.conditional else ()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return cls(Network(chosen, len(classes)), chosen, classes=classes)

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """What the player of this phase pays, summed over pictures. Each real picture is paired with a made one of its class.

        Numbers are fp32 whatever the rest of a training has: second derivatives lose too much in bf16.
        """
        pixels, labels = batch["pixels"], batch.get("labels")
        self.network.discriminator.requires_grad_(phase == DISCRIMINATOR)  # the generator's gradients pass through it and leave none there
        with torch.autocast(pixels.device.type, enabled=False):
            z = torch.randn(len(pixels), self.config.latent, device=pixels.device)
            return self._judge(pixels, z, labels) if phase == DISCRIMINATOR else self._create(pixels, z, labels)

    def _judge(self, pixels: Tensor, z: Tensor, labels: Tensor | None) -> Loss:
        with torch.no_grad():
            made = self.network.generator(z, labels)
        penalised = bool(self.config.gamma) and torch.is_grad_enabled()
        real, made = pixels.detach().requires_grad_(penalised), made.requires_grad_(penalised)
        real_scores, made_scores = self.network.discriminator(real, labels), self.network.discriminator(made, labels)
        total = discriminator_loss(self.config.loss, real_scores, made_scores).sum()
        logs = {"margin": float((real_scores - made_scores).detach().sum())}
        if penalised:
            slopes = gradient_penalty(real_scores, real).sum(), gradient_penalty(made_scores, made).sum()
            total = total + self.config.gamma / 2 * sum(slopes)
            logs |= {"r1": float(slopes[0].detach()), "r2": float(slopes[1].detach())}
        return Loss(total=total, count=len(pixels), logs=logs)

    def _create(self, pixels: Tensor, z: Tensor, labels: Tensor | None) -> Loss:
        made = self.network.generator(z, labels)
        real_scores, made_scores = self.network.discriminator(pixels, labels), self.network.discriminator(made, labels)
        total = generator_loss(self.config.loss, real_scores, made_scores).sum()
        found = self.network.watch.look(pixels, made.detach()) if self.network.training else {}
        return Loss(total=total, count=len(pixels), logs={name: value * len(pixels) for name, value in found.items()})

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """The player of the phase."""
        return (self.network.discriminator if phase == DISCRIMINATOR else self.network.generator).parameters()

    def concerns(self) -> Sequence[str]:
        """A warning when the generator makes few kinds of pictures."""
        watch = self.network.watch
        recall, diversity = float(watch.recall), float(watch.diversity)
        if not float(watch.seen) or (recall >= LEAST_RECALL and diversity >= LEAST_DIVERSITY):
            return ()
        text = tr(
            "the generator has collapsed to few kinds of pictures: they reach {recall:.0%} of the real ones (recall) and differ "
            "{diversity:.0%} as much from each other. Raise gamma, lower the learning rate, or train longer with larger batches",
            recall=recall,
            diversity=diversity,
        )
        return (text,)

    # ------------------------------------------------------------------ drawing and files

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its class, where the model has classes."""
        return request_of(record, classes=self.classes)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Pictures or walks."""
        self.network.eval()
        yield from draw(self, request)

    @torch.inference_mode()
    def paint(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures of latents, as arrays."""
        device = next(self.network.parameters()).device
        told = torch.as_tensor(labels, device=device) if self.classes else None
        pictures: Floats = self.network.generator(torch.from_numpy(latents).to(device), told).float().cpu().numpy()
        return pictures

    def save(self, folder: Path, /) -> None:
        """Both networks, so that training can go on, and what the watch saw."""
        save_weights(self.network.state_dict(), folder)
        watch = self.network.watch
        own = {
            "model_type": "miaobi_gan",
            "config": self.config.model_dump(mode="json"),
            "classes": list(self.classes),
            "watched": {"recall": round(float(watch.recall), 4), "diversity": round(float(watch.diversity), 4)},
        }
        write_text(folder / CONFIG, json.dumps(own, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config, classes = read(folder)
        network = Network(config, len(classes))
        with reading_weights(folder):
            network.load_state_dict(load_file(folder / WEIGHTS))
        return cls(network.to(device).eval(), config, classes=classes, name=folder.name)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The generator's graph, compared with torch."""
        self.network.eval()
        inputs = {"latents": torch.randn(2, self.config.latent, generator=torch.Generator().manual_seed(0))}
        if self.classes:
            inputs["labels"] = torch.tensor([0, len(self.classes) - 1])
        return traced_graph.export(self.network.generator, folder, GENERATOR, inputs, formats=formats)
