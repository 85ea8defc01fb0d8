"""Style transfer without torch: the exported graphs by ONNX Runtime, the style between them in numpy. Optimised pixels need torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open

from miaobi.core.errors import ArtifactError
from miaobi.core.types import Card, Chunk, Request
from miaobi.models.common.picture_codec import Floats
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.style.family import FAMILY
from miaobi.models.style.schema import Options
from miaobi.models.style.stored import WEIGHTS, read
from miaobi.models.style.transfer import Job, draw

EYE, DECODER, NETWORK, TRANSLATORS = "eye", "decoder", "network", ("to0", "to1")
MAPS = ("maps0", "maps1", "maps2", "maps3")  # at strides 2, 4, 8, 16
EPSILON = 1e-5  # of `losses.moments`

Moments = Sequence[tuple[Floats, Floats]]  # of each stage: means and deviations, (1, C) each


class StyleRuntime:
    """Generates; it does not learn. What a request does not need is not loaded."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.folder, self._threads = folder, threads
        self.config, self.styles = read(folder)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._graphs: dict[str, Session] = {}

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The request's picture in the style that it asks for; see `transfer.draw`."""
        yield from draw(self, request)

    def stylise(self, content: Floats, style: int | Floats, strength: float, /) -> Floats:
        """The content (1, 3, H, W) in the style of that number, or of a picture."""
        if self.config.method == "adain":
            manner = self._named[style] if isinstance(style, int) else [moments(x) for x in self._look(style)]
            maps = [restyle(x, own, strength) for x, own in zip(self._look(content), manner, strict=True)]
            return self._graph(DECODER).run(dict(zip(MAPS, maps, strict=True)))
        assert isinstance(style, int), "the other methods take names alone"
        graph = NETWORK if self.config.method == "fast" else TRANSLATORS[style]
        made = self._graph(graph).run({"pixels": content, "styles": np.array([style])})
        return content + np.float32(strength) * (made - content)

    def optimise(self, job: Job, options: Options, seed: int, /) -> Iterator[Chunk]:
        """By optimised pixels, which takes gradients, so torch.

        Raises:
            MissingExtra: torch or the eye's weights are not installed.
        """
        FAMILY.model_class()
        import torch

        from miaobi.models.style.pixels import optimised

        yield from optimised(job, options, seed, device=torch.device("cpu"))

    def _graph(self, name: str) -> Session:
        if name not in self._graphs:
            self._graphs[name] = open_graph(self.folder, name, threads=self._threads)
        return self._graphs[name]

    def _look(self, pixels: Floats) -> list[Floats]:
        """The maps of a picture."""
        return self._graph(EYE).all({"pixels": pixels})

    @cached_property
    def _named(self) -> list[Moments]:
        """The moments of every style that has a name."""
        try:
            with safe_open(self.folder / WEIGHTS, framework="numpy") as tensors:
                stages = [(tensors.get_tensor(f"means{n}"), tensors.get_tensor(f"deviations{n}")) for n in range(len(MAPS))]
        except (OSError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=self.folder, error=error) from None
        return [[(means[[number]], deviations[[number]]) for means, deviations in stages] for number in range(len(self.styles))]

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`.

        Raises:
            ArtifactError: it has no graphs, or a file is damaged.
        """
        model = cls(folder, threads=threads)
        model._graph({"adain": DECODER, "fast": NETWORK, "cycle": TRANSLATORS[0]}[model.config.method])
        return model


def moments(x: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation (B, C) of each channel, as `losses.moments` has them."""
    deviation: Floats = np.sqrt(x.var(axis=(2, 3)) + np.float32(EPSILON))
    return x.mean(axis=(2, 3)), deviation


def restyle(x: Floats, style: tuple[Floats, Floats], strength: float) -> Floats:
    """The map (B, C, H, W) with the style's mean and deviation in each channel, or a part of the way there; see `losses.restyle`."""
    mean, deviation = (value[..., None, None] for value in style)
    own_mean, own_deviation = (value[..., None, None] for value in moments(x))
    return x + np.float32(strength) * ((x - own_mean) / own_deviation * deviation + mean - x)
