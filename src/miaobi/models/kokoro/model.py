"""The narrator: text to a sound with the times of its words, sentence by sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import explain_os_errors, read_json
from miaobi.core.errors import Unreadable, UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.sounds import Sound, encode
from miaobi.data.speech_text.reading import HAN_RUN, Sentence, language_of, read
from miaobi.models.kokoro.family import FAMILY
from miaobi.models.kokoro.network import Network, joined
from miaobi.models.kokoro.schema import Config, Options
from miaobi.models.kokoro.speak import say
from miaobi.models.kokoro.voices import BRITISH, Voices

CONFIG = "config.json"
LONGEST_MINUTES = 30  # of one sound: it is held in memory, and a listener wants chapters anyway
PACE = {"zh": 4.3, "en": 14.0}  # characters a second of a reader at speed 1, for the estimate alone
_MOST_WORDS = 3000  # beyond so many the notes hold the times of sentences only, since they travel in the file's label


class Kokoro:
    """Generates; it does not learn."""

    def __init__(self, network: Network, voices: Voices, config: Config, folder: Path) -> None:
        self.network, self.known, self.config, self.folder = network, voices, config, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs, runtime="onnx")

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of its voices: zf_ and zm_ speak Mandarin, af_ and am_ American, bf_ and bm_ British English."""
        return self.known.names

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """One sound. After every sentence comes a `Progress` whose preview is that sentence; the notes of the end hold the times.

        Raises:
            UsageError: nothing to say, too much of it, or an unknown voice.
            MissingExtra: a package that reads the text's language is not installed.
        """
        options = Options.model_validate(dict(request.options))
        text = request.prompt
        language = options.language if options.language != "auto" else language_of(text)
        mix = self.known.mix(options.voice, language)
        _check(text, options.speed)
        british = max(mix, key=lambda name: mix[name]).startswith(BRITISH)
        sentences = list(read(text, language=options.language, british=british))
        unread = "".join(dict.fromkeys(letter for sentence in sentences for letter in sentence.unread))
        spoken = [sentence for sentence in sentences if sentence.words]
        if not spoken:
            raise Unreadable("there is nothing in the text that this voice can read: {text}", text=text.strip()[:60])
        narration = _Narration(self.config, pause=options.pause)
        for number, sentence in enumerate(spoken, 1):
            samples = self._say(sentence, mix, options.speed, narration)
            yield Progress(step=number, total=len(spoken), preview=_media(samples, self.config.rate))
        notes = narration.notes(times=options.times) | {"voice": _named(mix)} | ({"unread": unread} if unread else {})
        yield Piece(part=_media(narration.samples(), self.config.rate))
        yield Done(usage=Usage(prompt=len(text), generated=narration.length // self.config.frame), notes=notes)

    def _say(self, sentence: Sentence, mix: Mapping[str, float], speed: float, narration: _Narration) -> NDArray[np.int16]:
        """Render one sentence and add it to the narration."""
        narration.begin(sentence)

        def render(tokens: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return self.network(tokens, self.known.style(mix, len(tokens)), speed)

        for spoken in say(sentence, self.config, render):
            narration.add(spoken.samples, [(word.text, start, end) for word, start, end in spoken.words])
        return narration.end(sentence)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The voices in `folder`, and the network that the packages of the extra `voice` bring.

        Raises:
            ArtifactError: a file or a package is damaged.
        """
        config = read_config(folder)
        with explain_os_errors(folder):
            path = joined(config)
        return cls(Network(path, threads=threads), Voices.load(folder), config, folder)


class _Narration:
    """The sound as it grows, in whole sentences, and the times in it."""

    def __init__(self, config: Config, *, pause: float) -> None:
        self.rate, self.gap, self.length = config.rate, round(pause * config.rate), 0
        self.pieces: list[NDArray[np.int16]] = []
        self.words: list[tuple[str, float, float]] = []
        self.sentences: list[tuple[str, float, float]] = []
        self._open = self._first = 0

    def begin(self, sentence: Sentence) -> None:
        """A pause before every sentence but the first."""
        if self.pieces:
            self._append(np.zeros(self.gap, np.int16))
        self._open, self._first = len(self.pieces), self.length

    def add(self, samples: NDArray[np.float32], words: list[tuple[str, float, float]]) -> None:
        """What was said, and its words with their times in it."""
        shift = self.length / self.rate
        self.words += [(text, _milliseconds(start + shift), _milliseconds(end + shift)) for text, start, end in words]
        self._append(np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16))

    def end(self, sentence: Sentence) -> NDArray[np.int16]:
        """The samples of the sentence that ends."""
        self.sentences.append((sentence.text, _milliseconds(self._first / self.rate), _milliseconds(self.length / self.rate)))
        return np.concatenate(self.pieces[self._open :])

    def _append(self, samples: NDArray[np.int16]) -> None:
        self.pieces.append(samples)
        self.length += len(samples)

    def samples(self) -> NDArray[np.int16]:
        """Everything that was said."""
        return np.concatenate(self.pieces)

    def notes(self, *, times: bool) -> dict[str, Any]:
        """How long it is and, if wanted, when which sentence and word is heard: [text, start, end] in seconds."""
        notes: dict[str, Any] = {"seconds": _milliseconds(self.length / self.rate)}
        if times:
            notes |= {"times": "durations of the network", "sentences": self.sentences}
            notes |= {"words": self.words} if len(self.words) <= _MOST_WORDS else {}
        return notes


def _check(text: str, speed: float) -> None:
    """Refuse what is empty or would take too long, before anything is computed."""
    if not text.strip():
        raise UsageError("there is nothing to say: the text is empty")
    letters = len("".join(text.split()))
    chinese = sum(map(len, HAN_RUN.findall(text)))
    minutes = (chinese / PACE["zh"] + (letters - chinese) / PACE["en"]) / speed / 60
    if minutes > LONGEST_MINUTES:
        raise UsageError(
            "the text would take about {minutes:.0f} minutes to read, and one sound has at most {most}. "
            "Read it from a file, which may be as long as you like: miaobi narrate FILE",
            minutes=minutes,
            most=LONGEST_MINUTES,
        )


def _media(samples: NDArray[np.int16], rate: int) -> Media:
    sound = Sound(samples.astype(np.float32) / np.float32(32767), rate)
    return Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(sound))


def _named(mix: Mapping[str, float]) -> str:
    return ",".join(name if weight == 1 else f"{name}:{weight:.3g}" for name, weight in mix.items())


def _milliseconds(seconds: float) -> float:
    return round(seconds, 3)


def read_config(folder: Path) -> Config:
    """`config.json`.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    return validate(Config, read_json(folder / CONFIG), str(folder / CONFIG))
