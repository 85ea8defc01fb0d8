"""The effects family: what a prompt names is synthesised, mixed, put at its distance, looped if wanted, and brought to its loudness."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.random import Generator

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.loudness import integrated, normalise
from miaobi.data.sounds import Sound, encode
from miaobi.models.effects import ambience, animals, strokes
from miaobi.models.effects.family import FAMILY
from miaobi.models.effects.prompt import WORDS, Heard, understand
from miaobi.models.effects.scene import Scene
from miaobi.models.effects.schema import Config, Options
from miaobi.models.effects.signal import Floats, faded, filtered, levelled, space

Effect = Callable[[Generator, Scene], Floats]
EFFECTS: Mapping[str, Effect] = {
    "rain": ambience.rain,
    "wind": ambience.wind,
    "stream": ambience.stream,
    "waves": ambience.waves,
    "fire": ambience.fire,
    "thunder": strokes.thunder,
    "birds": animals.birds,
    "crickets": animals.crickets,
    "bell": strokes.bell,
    "gong": strokes.gong,
    "drum": strokes.drum,
    "click": strokes.click,
    "clock": strokes.clock,
}
SECONDS = {"thunder": 6.0, "bell": 6.0, "gong": 6.0, "drum": 1.5, "click": 0.2, "waves": 14.0}  # of all others 8
EVERY = {"clock": 0.5}
STRUCK = frozenset({"bell", "gong", "drum", "click", "clock", "thunder"})
_OVERLAP_SECONDS = 1.5  # of a loop's end and beginning
_CONFIG = "config.json"


class Effects:
    """Sounds by rule. The model is its list of words; what they sound like is in this package."""

    def __init__(self, config: Config, *, name: str = "effects") -> None:
        self.config = config
        self.words = config.words or WORDS
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """One sound.

        Raises:
            UsageError: neither the prompt nor the options name a sound that is known.
        """
        options = validate(Options, {key: value for key, value in request.options.items() if key != "n"}, "options of effects")
        heard = understand(request.prompt, options, self.words)
        layers = []
        for number, kind in enumerate(heard.kinds):
            yield Progress(step=number, total=len(heard.kinds))
            layers.append(_layer(kind, heard, options, seed=request.seed))
        yield Progress(step=len(heard.kinds), total=len(heard.kinds))
        sound = _finished(layers, heard, options, seed=request.seed)
        yield Piece(part=Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(sound)))
        yield Done(usage=Usage(generated=len(sound.samples)), notes={"kinds": list(heard.kinds), "seconds": round(sound.seconds, 3)})

    def save(self, folder: Path, /) -> None:
        """The words."""
        write_text(folder / _CONFIG, json.dumps({"words": self.words}, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: the configuration is missing or damaged.
        """
        try:
            values: Any = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ArtifactError("{folder}: {file} is missing or damaged", folder=folder, file=_CONFIG) from None
        return cls(validate(Config, values, str(folder / _CONFIG)), name=folder.resolve().name)


def seconds_of(heard: Heard, options: Options) -> float:
    """How long the sound lasts: as asked, else as the longest of its kinds usually does."""
    return options.seconds or max(SECONDS.get(kind, 8.0) for kind in heard.kinds)


def _layer(kind: str, heard: Heard, options: Options, *, seed: int) -> Floats:
    """One kind of sound (T, 2) at a level that goes with the others."""
    seconds = seconds_of(heard, options) + (_OVERLAP_SECONDS if options.loop else 0)
    scene = Scene(
        seconds=max(seconds, 0.1),
        rate=options.rate,
        strength=heard.strength,
        brightness=options.brightness,
        pitch=options.pitch,
        every=options.every or EVERY.get(kind, 0.0),
    )
    rng = np.random.default_rng((seed, list(EFFECTS).index(kind)))
    sound = EFFECTS[kind](rng, scene)
    if len(heard.kinds) == 1:
        return sound
    return sound / max(float(np.abs(sound).max()), 1e-9) if kind in STRUCK else levelled(sound, 0.12)


def _finished(layers: list[Floats], heard: Heard, options: Options, *, seed: int) -> Sound:
    """The layers mixed, far away, looped, at their loudness, in the channels that are wanted."""
    mixed = np.sum(layers, axis=0)
    rate = options.rate
    if heard.distance > 0:
        top = 16000 * (1 - heard.distance) ** 2 + 1200
        mixed = filtered(mixed, rate, lambda hertz: 1 / np.sqrt(1 + (hertz / top) ** 2))
        rng = np.random.default_rng((seed, len(EFFECTS)))
        mixed = space(rng, mixed, rate, seconds=0.4 + 2.2 * heard.distance, wet=0.5 * heard.distance)
    if options.loop:
        mixed = _looped(mixed, round(_OVERLAP_SECONDS * rate))
    else:
        struck = all(kind in STRUCK for kind in heard.kinds)
        mixed = faded(mixed, rate, start=0.001 if struck else min(0.25, 0.1 * len(mixed) / rate), end=min(0.5, 0.25 * len(mixed) / rate))
    if options.channels == 1:
        mixed = mixed.mean(axis=1, keepdims=True)
    whole = Sound((mixed / max(float(np.abs(mixed).max()), 1e-9) * 0.5).astype(np.float32), rate)
    return normalise(whole, options.loudness) if np.isfinite(integrated(whole)) else whole


def _looped(sound: Floats, overlap: int) -> Floats:
    """The sound without its last stretch, which is laid over the first one while that fades in, so that the end leads to the beginning."""
    overlap = min(overlap, len(sound) // 2)
    part = np.linspace(0, np.pi / 2, overlap)[:, None]
    looped = sound[: len(sound) - overlap].copy()
    looped[:overlap] = looped[:overlap] * np.sin(part) + sound[len(sound) - overlap :] * np.cos(part)
    return looped
