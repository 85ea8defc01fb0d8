"""Three small families from outside the package, each real enough for a film: one doodles, one hums, one mumbles. For the tests.

`BAND_STOP=doodle:2:kill` (or `:interrupt`) makes the second doodle of a process end it, as a power cut or Ctrl-C would.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miaobi.core.errors import unknown
from miaobi.core.families import Family
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Request, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema

STYLES = ("flat", "line")
VOICES = ("low", "high")
calls: dict[str, int] = {}


class Player:
    """What the three share: a tone of their own as weights, and the count of what they were asked."""

    family: Family

    def __init__(self, tone: float = 220.0) -> None:
        self.tone = tone
        kinds = {"family": self.family.name, "outputs": self.family.outputs, "verbs": self.family.verbs}
        self.card = Card(name=self.family.name, runtime="onnx", **kinds)  # its model is the runtime, as the narrator's is

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        calls[self.family.name] = calls.get(self.family.name, 0) + 1
        who, number, how = (os.environ.get("BAND_STOP") or "::").split(":")
        if who == self.family.name and int(number) == calls[who]:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        yield Piece(part=self.made(request))
        yield Done()

    def made(self, request: Request) -> Media:
        raise NotImplementedError

    def save(self, folder: Path, /) -> None:
        (folder / "tone.json").write_text(json.dumps(self.tone), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        return cls(json.loads((folder / "tone.json").read_text(encoding="utf-8")))


def _options(**fields: Any) -> Any:
    """The schemas of a family with these options."""

    def schemas() -> tuple[type[Schema], type[Schema]]:
        from pydantic import create_model

        from miaobi.core.schema import Schema

        return create_model("Config", __base__=Schema), create_model("Options", __base__=Schema, **fields)

    return schemas


def _family(name: str, outputs: Modality, kind: str, packages: tuple[str, ...] = (), *, check: str = "", **fields: Any) -> Family:
    return Family(
        name=name,
        summary=name,
        outputs=frozenset({outputs}),
        verbs=frozenset({Verb.GENERATE}),
        model=f"miaobi_band:{kind}",
        schemas=_options(**fields),
        check=check,
        extra="voice",
        packages=packages,
    )


def check_style(folder: Path, options: Mapping[str, Any], /) -> None:
    if options.get("style", "flat") not in STYLES:
        raise unknown("style", options["style"], STYLES)


def check_voice(folder: Path, options: Mapping[str, Any], /) -> None:
    if options.get("voice", "low") not in VOICES:
        raise unknown("voice", options["voice"], VOICES)


DOODLE = _family("doodle", Modality.IMAGE, "Doodle", check="miaobi_band:check_style", style=(str, "flat"), background=(str, "white"))
HUMMER = _family("hummer", Modality.MUSIC, "Hummer", mode=(str, ""), tempo=(float, 90.0), bars=(int, 8), instruments=(list[str], []))
MUMBLER = _family("mumbler", Modality.AUDIO, "Mumbler", check="miaobi_band:check_voice", voice=(str, ""), speed=(float, 1.0))
ABSENT = _family("absent", Modality.AUDIO, "Mumbler", ("no_such_package_anywhere",), voice=(str, ""))


class Doodle(Player):
    """A disc in a colour of the words, filled or as a line."""

    family = DOODLE

    def made(self, request: Request) -> Media:
        import zlib

        import numpy as np

        from miaobi.data import pictures

        style = request.options["style"]
        rng = np.random.default_rng((request.seed, zlib.crc32(request.prompt.encode()), int(self.tone)))
        y, x = np.mgrid[-1:1:48j, -1:1:48j]
        radius = np.hypot(x, y)
        inside = (radius < 0.8) if style == "flat" else (radius < 0.8) & (radius > 0.6)
        pixels = np.zeros((48, 48, 4), np.uint8)
        pixels[inside] = (*rng.integers(60, 256, 3), 255)
        return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(pixels))


class Hummer(Player):
    """A scale up and down in the tempo asked for."""

    family = HUMMER

    def made(self, request: Request) -> Media:
        from miaobi.data.scores import Note, Part, Score, write_midi

        steps = [0, 2, 4, 7, 9, 12, 9, 7]
        notes = tuple(
            Note(start=480 * place, duration=440, pitch=60 + steps[place % 8] + (self.tone > 300))
            for place in range(4 * request.options["bars"])
        )
        score = Score(parts=(Part(notes=notes, name="hum"),), ticks=480, metres=((0, (4, 4)),), tempos=((0, request.options["tempo"]),))
        return Media(modality=Modality.MUSIC, mime="audio/midi", data=write_midi(score))


class Mumbler(Player):
    """A tone a letter."""

    family = MUMBLER

    def made(self, request: Request) -> Media:
        import numpy as np

        from miaobi.data.sounds import Sound, encode

        voice = request.options["voice"] or "low"
        count = int(8000 * min(2.0, 0.12 * len(request.prompt)) / request.options.get("speed", 1.0))
        tone = self.tone * (2 if voice == "high" else 1)
        wave = 0.3 * np.sin(2 * np.pi * tone * np.arange(count) / 8000)
        return Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(Sound(wave[:, None].astype(np.float32), 8000)))
