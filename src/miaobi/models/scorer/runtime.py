"""The image–text scorer without torch: the picture tower by onnxruntime, the text tower in numpy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import read_json
from miaobi.core.errors import ArtifactError
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Request
from miaobi.data.pictures import Pixels
from miaobi.models.common.hashed_text import bags
from miaobi.models.common.picture_features import BATCH, see
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.scorer.choose import choose, why_nothing_of_its_own
from miaobi.models.scorer.family import FAMILY
from miaobi.models.scorer.schema import Config

WEIGHTS, CONFIG = "model.safetensors", "config.json"
GRAPH = "picture"  # pixels (B, 3, S, S) in [-1, 1] to unit vectors (B, D)
EPSILON = 1e-5  # of the text tower's norm
LARGEST = np.log(100.0)  # as in network.Towers


class ScorerRuntime:
    """Embeds and chooses; it does not learn."""

    def __init__(self, session: Session, text: dict[str, NDArray[np.float32]], config: Config, folder: Path) -> None:
        self.session, self.text, self.config, self.folder = session, text, config, folder
        self.temperature = float(np.exp(min(text["scale"], LARGEST)))
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def embed_pictures(self, pictures: Sequence[Pixels], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of pictures (H, W, 4) uint8 with straight alpha, seen on white."""
        found = [np.zeros((0, self.config.dimensions), dtype=np.float32)]
        for start in range(0, len(pictures), BATCH):
            found.append(self.session.run({"pixels": see(pictures[start : start + BATCH], self.config.size)}))
        return np.concatenate(found)

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of captions, Chinese or English."""
        if not texts:
            return np.zeros((0, self.config.dimensions), dtype=np.float32)
        weights = self.text
        rows, starts = bags(texts, self.config.buckets)
        x = np.add.reduceat(weights["text.table.weight"][rows], starts)  # (N, E); every text has a row
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
        x = x * weights["text.norm.weight"] + weights["text.norm.bias"]
        x = x @ weights["text.inner.weight"].T + weights["text.inner.bias"]
        x = x / (1 + np.exp(-x)) @ weights["text.leave.weight"].T + weights["text.leave.bias"]  # SiLU, then (N, D)
        unit: NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return unit

    def abstains(self) -> str:
        """See `engine.ask.Abstainer`."""
        return why_nothing_of_its_own()

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The captions that fit the request's picture best; see `choose`."""
        yield from choose(self, request)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        session = open_graph(folder, GRAPH, threads=threads)
        try:
            with safe_open(folder / WEIGHTS, framework="np") as stored:
                names = [name for name in stored.keys() if name.startswith("text.") or name == "scale"]  # noqa: SIM118
                text = {name: np.asarray(stored.get_tensor(name), dtype=np.float32) for name in names}
        except (OSError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
        return cls(session, text, read_config(folder), folder)


def read_config(folder: Path) -> Config:
    """The configuration in `config.json`.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    return validate(Config, read_json(folder / CONFIG), str(folder / CONFIG))
