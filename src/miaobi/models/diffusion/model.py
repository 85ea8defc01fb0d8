"""The diffusion family in torch: learns to take noise away, and draws with it.

Ho et al. (2020); Liu et al. (2022, rectified flow); Peebles and Xie (2023, DiT); Rombach et al. (2022, latents). The network and its
conditions learn together. Shapes: B pictures, C channels, H and W of what is denoised.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import DataError
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.shelf import find
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.sampling.noise import Level, Process, mix, target, weight
from miaobi.models.common import autoencoder, latent_codec
from miaobi.models.common.autoencoder import AutoencoderConfig
from miaobi.models.common.denoising import noise_for
from miaobi.models.common.picture_codec import Floats, class_names
from miaobi.models.common.text_condition import tie
from miaobi.models.common.text_units import caption_words
from miaobi.models.common.weights import FLOATS, WEIGHTS, reading_weights, save_weights
from miaobi.models.diffusion import graphs
from miaobi.models.diffusion.distill import ends, huber, noises, student_config, times
from miaobi.models.diffusion.family import FAMILY
from miaobi.models.diffusion.given import request_for
from miaobi.models.diffusion.network import Network, shrink
from miaobi.models.diffusion.paint import Condition, paint
from miaobi.models.diffusion.phrases import texts_of
from miaobi.models.diffusion.schema import Config
from miaobi.models.diffusion.stored import UPSCALER, Stored, make_codec

CONFIG = "config.json"
SOFTENED = 0.05  # noise on what an upscaler is shown while training: what it gets will not be flawless either


class Diffusion:
    """A Learner and Exporter."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, network: Network, stored: Stored, *, name: str = "diffusion", teacher: Network | None = None) -> None:
        self.network, self.stored, self.config = network, stored, stored.config
        self.upscaler: Diffusion | None = None
        self.teacher = teacher  # whose many steps this model learns to do in few; it is not saved
        words = network.words.cpu().numpy() if network.text is not None else None
        pairs = self.config.distill_pairs if teacher is not None else 0
        self.codec = make_codec(stored.config, words=words, styles=stored.styles, classes=stored.classes, pairs=pairs)
        self.process = Process(stored.config.schedule)
        self.shape = stored.shape
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the words of captions, the styles and the classes.

        Raises:
            DataError: no record has what the model is to be steered by.
            UsageError: the codec is of other pictures, or its latents do not fit the patches.
        """
        chosen = validate(Config, config, "model.config")
        if chosen.distill:
            return cls._student(chosen)
        latents = autoencoder.load(find(chosen.codec)) if chosen.codec else None
        words = None
        if "text" in chosen.conditions:
            words = caption_words(texts_of(records), size=chosen.words, min_count=1 if len(records) < 1000 else 3)
        styles = _names(records, "style") if "style" in chosen.conditions else ()
        classes = class_names(records) if "class" in chosen.conditions else ()
        shape = latents.latent_shape if latents else (chosen.channels, chosen.size, chosen.size)
        if latents:
            step = chosen.patch if chosen.backbone == "dit" else 2 ** (len(chosen.widths) - 1)
            latent_codec.check_fit(latents, size=chosen.size, channels=chosen.channels, step=step)
        shapes = asdict(latents.config) if latents else None
        network = Network(chosen, words=words, styles=len(styles), classes=len(classes), latent=latents.config if latents else None)
        network.initialise(torch.Generator().manual_seed(seed))
        if latents and network.autoencoder is not None:
            network.autoencoder.load_state_dict(latents.state_dict())
        return cls(network, Stored(config=chosen, styles=styles, classes=classes, autoencoder=shapes, shape=shape))

    @classmethod
    def _student(cls, chosen: Config) -> Self:
        """A copy of its teacher, which stays beside it."""
        master = cls.load(find(chosen.distill))
        config = student_config(chosen, master.config)
        pupil = cls.load(find(chosen.distill))
        network = pupil.network.train()
        return cls(network, replace(pupil.stored, config=config), teacher=master.network.requires_grad_(False))

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Squared errors of the prediction, averaged over a picture's numbers and summed over pictures."""
        if self.teacher is not None:
            errors = self._distilled(batch, self.teacher.to(self._device))
            return Loss(total=errors.sum(), count=len(errors))
        network = self.network
        clean = self._clean(batch)
        text = network.read(batch["rows"]) if network.text is not None else None
        level, noise = noise_for(batch, clean, self.process, distribution=self.config.times)
        vector, tokens = network.condition(text, batch.get("style"), batch.get("class"), told=batch.get("told"))
        prediction = network(mix(clean, noise, level), self._times(level, clean), vector, tokens, self._low(clean))
        wanted = target(clean, noise, level, self.config.predict)
        errors = (prediction.float() - wanted).square().flatten(1).mean(1)  # (B,)
        weights = torch.as_tensor(weight(level, self.config.predict, weighting=self.config.weighting), device=clean.device)
        total = (errors * weights.to(errors.dtype)).sum()
        logs = {"error": float(errors.detach().sum())}
        if network.training and text is not None and self.config.tie > 0:
            apart = tie(text[0], network.read(batch["other"])[0], batch["concepts"])
            total = total + self.config.tie * apart
            logs["tie"] = float(apart.detach())
        return Loss(total=total, count=len(clean), logs=logs)

    def _distilled(self, batch: Batch, teacher: Network) -> Tensor:
        """The loss (B,) of pairs of a noise and the teacher's picture. Conditions come from the teacher's encoders, which do not move."""
        with torch.no_grad():
            named = batch.get("style"), batch.get("class")
            text = teacher.read(batch["rows"]) if teacher.text is not None else None
            told = teacher.condition(text, *named, told=batch.get("told"))
            noise = noises(batch["seeds"].tolist(), torch.zeros((len(batch["seeds"]), *self.shape), device=self._device))
            clean = batch.get("latents")
            if clean is None:
                empty = teacher.read(torch.zeros_like(batch["rows"][:1])) if text is not None else None
                zeros = [None if numbers is None else torch.zeros_like(numbers[:1]) for numbers in named]
                clean = ends(teacher, noise, told, teacher.condition(empty, *zeros), self.config).half().float()
                self.codec.remember(batch["keys"], clean)
            rng = np.random.default_rng(int(torch.randint(2**62, ())) if self.network.training else batch["seeds"].tolist())
            level = times(self.process, len(clean), rng)
        prediction = self.network(mix(clean, noise, level), self._times(level, clean), *told)
        return huber(prediction, target(clean, noise, level, self.config.predict))

    def _clean(self, batch: Batch) -> Tensor:
        """Pixels or latents (B, C, H, W)."""
        if "latents" in batch:
            latents: Tensor = batch["latents"]
            return latents
        clean = self.network.encode(batch["pixels"])
        if "keys" in batch:
            clean = clean.half().float()  # as they are remembered: a resumed training sees the same numbers as an unbroken one
            self.codec.remember(batch["keys"], clean)
        return clean

    def _times(self, level: Level, like: Tensor) -> Tensor:
        return torch.as_tensor(level.time, dtype=torch.float32, device=like.device)

    def _low(self, clean: Tensor) -> Tensor | None:
        """What an upscaler is shown."""
        if self.config.upscale == 1:
            return None
        low = shrink(clean, self.config.upscale)
        return low + SOFTENED * torch.randn_like(low) if self.network.training else low

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Everything but the autoencoder; of a student the network alone, which keeps its teacher's understanding of conditions."""
        if self.teacher is not None:
            return self.network.backbone.parameters()
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    # ------------------------------------------------------------------ drawing

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Pictures; see `paint.paint`."""
        self.network.eval()
        yield from paint(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a picture; evaluation asks it of held-out ones."""
        return request_for(self.config, self.codec, record)

    @torch.inference_mode()
    def condition(self, texts: Sequence[str], style: int, label: int, /) -> Condition:
        """What the network is told of each text, in one style and class."""
        vocabulary = self.codec.vocabulary
        text = None if vocabulary is None else self.network.read(self._tensor(vocabulary.rows(texts)))
        numbers = [self._tensor(np.full(len(texts), number)) for number in (style, label)]
        return Condition(*(None if part is None else self._array(part) for part in self.network.condition(text, *numbers)))

    @torch.inference_mode()
    def predict(self, x: Floats, time: float, condition: Condition, low: Floats | None, /) -> Floats:
        """The network's prediction."""
        times = torch.full((len(x),), time, dtype=torch.float32, device=self._device)
        told = (None if part is None else self._tensor(part) for part in (condition.vector, condition.tokens, low))
        return self._array(self.network(self._tensor(x), times, *told))

    @torch.inference_mode()
    def encode(self, pixels: Floats, /) -> Floats:
        """Pixels or latents of pictures."""
        return self._array(self.network.encode(self._tensor(pixels)))

    @torch.inference_mode()
    def decode(self, x: Floats, /) -> Floats:
        """The inverse."""
        return self._array(self.network.decode(self._tensor(x)))

    @property
    def _device(self) -> torch.device:
        return self.network.words.device

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self._device)

    def _array(self, tensor: Tensor) -> Floats:
        array: Floats = tensor.float().cpu().numpy()
        return array

    # ------------------------------------------------------------------ keeping

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Graphs for the runtime, compared with torch on pictures as they are drawn."""
        errors = graphs.write(self.network.to("cpu"), self.shape, folder, formats=formats)
        if self.upscaler is not None:
            for form, found in self.upscaler.export(folder / UPSCALER, formats=formats).items():
                errors.setdefault(form, {}).update({f"{UPSCALER}_{name}": error for name, error in found.items()})
        return errors

    def save(self, folder: Path, /) -> None:
        """`config.json`, and `model.safetensors` with the network, its words, and a latent model's autoencoder."""
        save_weights(self.network.state_dict(), folder, dtype=FLOATS[self.config.stored])
        write_text(folder / CONFIG, json.dumps(self.stored.values(), indent=2, ensure_ascii=False) + "\n")
        if self.upscaler is not None:
            (folder / UPSCALER).mkdir()
            self.upscaler.save(folder / UPSCALER)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote, in fp32.

        Raises:
            ArtifactError: a file is missing, damaged or does not fit its configuration.
        """
        stored = Stored.read(folder)
        with reading_weights(folder):
            tensors = load_file(folder / WEIGHTS)
            shape = stored.autoencoder
            network = Network(
                stored.config,
                words=tensors["words"].numpy() if "text" in stored.config.conditions else None,
                styles=len(stored.styles),
                classes=len(stored.classes),
                latent=AutoencoderConfig.of(shape) if shape else None,
            )
            network.load_state_dict(tensors)
        model = cls(network.float().to(device).eval(), stored, name=folder.name)
        if (folder / UPSCALER / WEIGHTS).is_file():  # not when it came along as graphs alone
            model.upscaler = cls.load(folder / UPSCALER, device=device)
        return model


def _names(records: Sequence[Record], field: str) -> tuple[str, ...]:
    """The values of a key of meta.

    Raises:
        DataError: no record has one.
    """
    names = sorted({str(record.meta[field]) for record in records if record.meta.get(field)})
    if not names:
        raise DataError("no record has a {field}, which the model is to be steered by. Give the records one, or leave it out", field=field)
    return tuple(names)
