"""The captioner without torch: the eye and the Transformer by onnxruntime, the same vocabulary, the same writing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.errors import ArtifactError
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.data.pictures import Pixels
from miaobi.models.caption.describe import describe, request_for
from miaobi.models.caption.family import FAMILY
from miaobi.models.caption.schema import Config
from miaobi.models.caption.vocabulary import Vocabulary
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.common.picture_features import see
from miaobi.models.common.traced_graph import Session, open_graph

WEIGHTS, CONFIG = "model.safetensors", "config.json"
EYE = "picture"  # the graph: pixels (B, 3, S, S) in [-1, 1] to the prefix (B, N, W)


class CaptionRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, eye: Session, stepper: OnnxStepper, config: Config, vocabulary: Vocabulary, folder: Path) -> None:
        self.eye, self.stepper, self.config, self.vocabulary, self.folder = eye, stepper, config, vocabulary, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Captions of the request's picture."""
        yield from describe(self._look, self.vocabulary, self.config, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked; see `describe`."""
        return request_for(record)

    def _look(self, picture: Pixels) -> OnnxStepper:
        return self.stepper.fresh(self.eye.run({"pixels": see([picture], self.config.size)}))

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        eye = open_graph(folder, EYE, threads=threads)
        return cls(eye, OnnxStepper(folder, threads=threads), read_config(folder), Vocabulary.load(folder), folder)


def read_config(folder: Path) -> Config:
    """The captioner's part of `config.json`.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["caption"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
    return validate(Config, values, str(path))
