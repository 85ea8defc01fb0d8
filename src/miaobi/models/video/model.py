"""The video family in torch: learns to take noise away from clips, and makes them.

Ho et al. (2022, video diffusion), Liu et al. (2022, rectified flow), Peebles and Xie (2023, DiT). Unusual: by default not frames are
denoised but the motion of the first one (`flow`), a thousandth of the numbers, so a small network learns it on a laptop, and pictures of
any size move without losing their sharpness. Shapes: B clips, F frames, C channels, H and W of what is denoised.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.shelf import find
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.sampling.noise import Process, mix, target
from miaobi.models.common import autoencoder, latent_codec
from miaobi.models.common.autoencoder import AutoencoderConfig
from miaobi.models.common.denoising import noise_for
from miaobi.models.common.picture_codec import Floats
from miaobi.models.common.text_condition import tie
from miaobi.models.common.text_units import Vocabulary, caption_words
from miaobi.models.common.weights import FLOATS, WEIGHTS, reading_weights, save_weights
from miaobi.models.video import graphs
from miaobi.models.video.animate import animate
from miaobi.models.video.codec import ClipCodec, texts_of
from miaobi.models.video.family import FAMILY
from miaobi.models.video.first import request_for
from miaobi.models.video.network import Network
from miaobi.models.video.schema import Config
from miaobi.models.video.stored import Stored

CONFIG = "config.json"


class Video:
    """A Learner and Exporter."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, network: Network, stored: Stored, *, name: str = "video") -> None:
        self.network, self.stored, self.config, self.shape = network, stored, stored.config, stored.shape
        self.codec = ClipCodec(stored.config, vocabulary=Vocabulary(network.words.cpu().numpy()) if network.text is not None else None)
        self.process = Process("flow" if stored.config.predict != "velocity" else "cosine")
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the words of captions.

        Raises:
            DataError: the model is to read captions and there are none.
            UsageError: the codec is of other pictures, or its latents do not fit the patches.
        """
        chosen = validate(Config, config, "model.config")
        latents = autoencoder.load(find(chosen.codec)) if chosen.codec else None
        if latents:
            latent_codec.check_fit(latents, size=chosen.size, channels=chosen.channels, step=chosen.patch)
        words = caption_words(texts_of(records), size=chosen.words, min_count=1) if chosen.conditions else None
        network = Network(chosen, words=words, latent=latents.config if latents else None)
        network.initialise(torch.Generator().manual_seed(seed))
        if latents and network.autoencoder is not None:
            network.autoencoder.load_state_dict(latents.state_dict())
        shapes = asdict(latents.config) if latents else None
        return cls(network, Stored(config=chosen, autoencoder=shapes, shape=network.shape))

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Squared errors of the prediction, averaged over a clip's numbers and summed over clips."""
        network = self.network
        first, clean = self._clean(batch)
        level, noise = noise_for(batch, clean, self.process, distribution=self.config.times)
        vector = network.read(batch["rows"], batch["told"]) if network.text is not None else self._untold(clean)
        times = torch.as_tensor(level.time, dtype=torch.float32, device=clean.device)
        prediction = network.denoiser(mix(clean, noise, level), times, vector, first, batch["given"])
        wanted = target(clean, noise, level, self.config.predict)
        errors = (prediction.float() - wanted).square().flatten(1).mean(1)  # (B,)
        logs = {"error": float(errors.detach().sum())}
        total = errors.sum()
        if network.training and network.text is not None and self.config.tie > 0:
            apart = tie(network.read(batch["rows"]), network.read(batch["other"]), batch["concepts"])
            total = total + self.config.tie * apart
            logs["tie"] = float(apart.detach())
        return Loss(total=total, count=len(clean), logs=logs)

    def _clean(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """First frames (B, channels, S, S) and what is denoised (B, F, C, H, W), mirrored where the batch says so."""
        parts = [(batch["old"], batch["first"], batch["known"])] if "old" in batch else []
        if "fresh" in batch:
            measured = self.codec.recall(batch["keys"])
            if measured is None:
                measured = batch["clips"][:, 0].half().float(), self.network.encode(batch["clips"]).half().float()
                self.codec.remember(batch["keys"], *measured)  # as it is remembered: a resumed training sees the same numbers
            parts.append((batch["fresh"], *measured))
        order = torch.cat([part[0].to(self._device) for part in parts]).argsort()
        first, clean = (torch.cat([part[number].to(self._device) for part in parts])[order] for number in (1, 2))
        mirrored = batch["mirrored"]
        if not mirrored.any():
            return first, clean
        turned = clean.flip(-1)
        if self.config.space == "flow":  # what went to the right goes to the left
            turned = turned * turned.new_tensor([-1, 1])[:, None, None]
        return torch.where(mirrored[:, None, None, None], first.flip(-1), first), torch.where(
            mirrored[:, None, None, None, None], turned, clean
        )

    def _untold(self, like: Tensor) -> Tensor:
        return like.new_zeros(len(like), self.config.width)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Everything but the codec."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    # ------------------------------------------------------------------ making clips

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Clips; see `animate.animate`."""
        self.network.eval()
        yield from animate(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a clip; evaluation asks it of held-out ones."""
        return request_for(self.codec, record)

    @torch.inference_mode()
    def read(self, texts: Sequence[str], /) -> Floats:
        """Each text as a vector (B, W); zeros when the model reads no words."""
        vocabulary = self.codec.vocabulary
        if vocabulary is None:
            return np.zeros((len(texts), self.config.width), np.float32)
        return self._array(self.network.read(self._tensor(vocabulary.rows(texts))))

    @torch.inference_mode()
    def predict(self, x: Floats, time: float, vector: Floats, first: Floats, given: Floats, /) -> Floats:
        """The network's prediction."""
        times = torch.full((len(x),), time, dtype=torch.float32, device=self._device)
        told = (self._tensor(part) for part in (vector, first, given))
        return self._array(self.network.denoiser(self._tensor(x), times, *told))

    @torch.inference_mode()
    def encode(self, frames: Floats, /) -> Floats:
        """Latents (B, C, H, W) of frames (B, channels, S, S)."""
        assert self.network.autoencoder is not None
        return self._array(self.network.autoencoder.encode(self._tensor(frames))[0])

    @torch.inference_mode()
    def decode(self, latents: Floats, /) -> Floats:
        """The inverse."""
        return self._array(self.network.decode(self._tensor(latents)))

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
        """Graphs for the runtime, compared with torch."""
        return graphs.write(self.network.to("cpu").eval(), folder, formats=formats)

    def save(self, folder: Path, /) -> None:
        """`config.json`, and `model.safetensors` with the network, its words, and the codec of a model of latents."""
        save_weights(self.network.state_dict(), folder, dtype=FLOATS[self.config.stored])
        write_text(folder / CONFIG, json.dumps(self.stored.values(), indent=2, ensure_ascii=False) + "\n")

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
                words=tensors["words"].numpy() if stored.config.conditions else None,
                latent=AutoencoderConfig.of(shape) if shape else None,
            )
            network.load_state_dict(tensors)
        return cls(network.float().to(device).eval(), stored, name=folder.name)
