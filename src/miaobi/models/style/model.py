"""The style family in torch: learns one of three methods, and gives pictures the style of another or of a name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.picture_codec import Floats
from miaobi.models.common.weights import reading_weights, save_weights
from miaobi.models.style.codec import StyleCodec, styles_of
from miaobi.models.style.family import FAMILY
from miaobi.models.style.graphs import export
from miaobi.models.style.methods import METHODS, AdaIN, Cycle, Fast
from miaobi.models.style.networks import initialise
from miaobi.models.style.pixels import optimised
from miaobi.models.style.schema import Config, Options
from miaobi.models.style.stored import CONFIG, WEIGHTS, read
from miaobi.models.style.transfer import Job, draw

REMEMBERED = 64  # pictures whose mean is a named style


class Style:
    """A Learner and Exporter."""

    def __init__(self, network: AdaIN | Fast | Cycle, config: Config, styles: Sequence[str], *, name: str = "style") -> None:
        self.network, self.config, self.styles = network, config, tuple(styles)
        self.phases = network.phases
        self.codec = StyleCodec(config, self.styles)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; what is kept of each named style is taken from the first of its records."""
        chosen = validate(Config, config, "model.config")
        styles = styles_of(records, chosen.styles)
        network = METHODS[chosen.method](chosen, len(styles))
        initialise(network, torch.Generator().manual_seed(seed))
        model = cls(network, chosen, styles)
        if not isinstance(network, Cycle):
            for number, style in enumerate(styles):
                own = [record for record in records if record.meta.get("style") == style][:REMEMBERED]
                network.remember(number, model.codec.collate(own)["pixels"])
        return model

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """The loss of the method; see `methods`."""
        return self.network.loss(batch["pixels"], batch["labels"], phase)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What moves in this phase; the eye never does."""
        return self.network.trainable(phase)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The request's picture in the style that it asks for; see `transfer.draw`."""
        yield from draw(self, request)

    @torch.inference_mode()
    def stylise(self, content: Floats, style: int | Floats, strength: float, /) -> Floats:
        """The content (1, 3, H, W) in the style of that number, or of a picture."""
        network, pixels = self.network.eval(), self._tensor(content)
        if isinstance(network, AdaIN):
            manner = network.named(style) if isinstance(style, int) else network.of(self._tensor(style))
            made = network(pixels, manner, strength)
        else:
            made = network(pixels, style if isinstance(network, Cycle) else torch.tensor([style], device=pixels.device))
            made = torch.lerp(pixels, made, strength)
        found: Floats = made.cpu().numpy()
        return found

    def optimise(self, job: Job, options: Options, seed: int, /) -> Iterator[Chunk]:
        """By optimised pixels, for which the network is not needed."""
        yield from optimised(job, options, seed, device=next(self.network.parameters()).device)

    def _tensor(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(next(self.network.parameters()).device)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The graphs of the eye and of what draws, each compared with torch; see `graphs`."""
        return export(self.network.eval(), folder, formats)

    def save(self, folder: Path, /) -> None:
        """`config.json`, with the names of the styles, and `model.safetensors`."""
        save_weights(self.network.state_dict(), folder)
        values = {"config": self.config.model_dump(mode="json"), "styles": list(self.styles)}
        write_text(folder / CONFIG, json.dumps(values, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit its configuration.
        """
        config, styles = read(folder)
        network = METHODS[config.method](config, len(styles))
        with reading_weights(folder):
            network.load_state_dict(load_file(folder / WEIGHTS))
        return cls(network.to(device).eval(), config, styles, name=folder.name)
