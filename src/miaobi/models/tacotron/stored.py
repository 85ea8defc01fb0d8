"""What a Tacotron's folder says of itself, read without torch, and the vocoder that it brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from miaobi.core.artifact import MANIFEST, open_artifact
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.families import family
from miaobi.core.schema import validate
from miaobi.core.shelf import find
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.mel import Mel
from miaobi.models.tacotron.schema import Config
from miaobi.models.tacotron.text import Alphabet

Floats = NDArray[np.float32]
WEIGHTS, CONFIG, VOCODER = "model.safetensors", "config.json", "vocoder"
LEFT_OUT = (MANIFEST, "README.md", "eval.json", "recipe.yaml")  # of a vocoder that is taken along: what tells its own story


class Vocoder(Protocol):
    """What makes a spectrogram heard: a model of another family, which is found by its name."""

    config: Any  # has rate and mel

    def vocode(self, frames: Floats, rng: Generator, /) -> Iterator[tuple[int, int] | Floats]:
        """Pairs of samples made and all samples on the way, then the samples (T,)."""
        ...


def read(folder: Path) -> tuple[Config, Alphabet]:
    """The family's configuration, and the symbols that it knows.

    Raises:
        ArtifactError: there is none, or it is of another family.
    """
    values = read_config(folder)
    try:
        return validate(Config, values["config"], "config.json"), Alphabet([str(symbol) for symbol in values["symbols"]])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError("the configuration of the model in {folder} cannot be read: {error}", folder=folder, error=error) from None


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """All weights in fp32.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        return {name: array.astype(np.float32) for name, array in load_file(folder / WEIGHTS).items() if array.dtype.kind == "f"}
    except (OSError, SafetensorError, ValueError) as error:
        raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None


def vocoder_by_name(name: str, *, rate: int, mel: Mel) -> tuple[Vocoder, Path]:
    """A vocoder of the same spectrogram, and its folder.

    Raises:
        UsageError: no such model, one that is no vocoder, or one of other spectrograms.
        ArtifactError: it is damaged.
    """
    folder = find(name)
    artifact = open_artifact(folder, verify=True)
    return load_vocoder(folder, artifact.family, rate=rate, mel=mel), folder


def load_vocoder(folder: Path, kind: str, *, rate: int, mel: Mel) -> Vocoder:
    """The vocoder in a folder, by its light runtime.

    Raises:
        UsageError: it is no vocoder, or one of other spectrograms.
    """
    maker: Any = family(kind).runtime_class() or family(kind).model_class()
    if not hasattr(maker, "vocode"):
        raise UsageError("{model} is of the family {family}, which turns no spectrogram into sound", model=folder.name, family=kind)
    vocoder: Vocoder = maker.load(folder)
    if "mel" not in vocoder.config.conditions:
        raise UsageError("{model} makes sounds from nothing: it is no vocoder", model=folder.name)
    if (vocoder.config.rate, vocoder.config.mel) != (rate, mel):
        raise UsageError(
            "the vocoder {model} was trained on spectrograms of another kind; rate and mel must be the same", model=folder.name
        )
    return vocoder
