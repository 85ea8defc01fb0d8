"""A text to sound: sentence by sentence a spectrogram, then a vocoder, with short pauses between. The same for both runtimes, in NumPy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.random import Generator as Random
from numpy.typing import NDArray

from miaobi.core.errors import Unreadable, UsageError
from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.sounds import Sound, encode
from miaobi.models.tacotron import alignment
from miaobi.models.tacotron.schema import Config, Options
from miaobi.models.tacotron.speaker import Said, Speaker
from miaobi.models.tacotron.stored import Vocoder, load_vocoder, vocoder_by_name
from miaobi.models.tacotron.text import MOST_CHARACTERS, Alphabet, sentences

Floats = NDArray[np.float32]
PAUSE = 0.15  # seconds between sentences
GRIFFIN_LIM = "griffin-lim"


class Reader(Protocol):
    """What both runtimes are."""

    config: Config
    alphabet: Alphabet
    vocoder: Path | None  # the folder of the one that the model brings

    @property
    def speaker(self) -> Speaker:
        """The network for speaking, with the weights of now."""
        ...


def speak(model: Reader, request: Request) -> Iterator[Chunk]:
    """One rendering of the text for each content. Content i depends on the seed and i alone, whatever `n` is.

    Raises:
        UsageError: an empty or endless text, symbols that the model never heard, an unknown vocoder.
    """
    options = Options.model_validate(dict(request.options))
    texts = _read(model, request.prompt)
    vocoder = _vocoder(model, options)
    speaker = model.speaker
    most_frames = round(options.most_seconds * model.config.rate / model.config.mel.hop)
    for index in range(options.n):
        rng = np.random.default_rng((request.seed, index))
        spoken: list[Said] = []
        sounds: list[Floats] = []
        for number, text in enumerate(texts):
            for one in speaker.say(text, rng, most_frames=most_frames):
                if isinstance(one, Said):
                    spoken.append(one)
                else:
                    yield Progress(step=2 * number, total=2 * len(texts), index=index)
            yield Progress(step=2 * number + 1, total=2 * len(texts), index=index)
            sounds.append((yield from _heard(model.config, vocoder, spoken[-1].frames, rng, options, index)))
        yield Piece(part=_media(sounds, model.config.rate), index=index)
        if options.attention:
            yield Piece(part=alignment.picture([one.weights for one in spoken]), index=index)
        generated = sum(len(one.frames) for one in spoken)
        yield Done(
            index=index,
            reason="stop" if all(one.ended for one in spoken) else "length",
            usage=Usage(prompt=sum(map(len, texts)), generated=generated),
            notes=_notes(spoken, model, options),
        )


def _read(model: Reader, prompt: str) -> list[list[int]]:
    """The symbols of every sentence."""
    if len(prompt) > MOST_CHARACTERS:
        raise UsageError("the text has {count:,} characters; at most {most:,} are spoken at once", count=len(prompt), most=MOST_CHARACTERS)
    found = sentences(prompt)
    if not found:
        raise Unreadable("there is nothing to say: the prompt has no words")
    return [model.alphabet.read(sentence, model.config.text) for sentence in found]


def _vocoder(model: Reader, options: Options) -> Vocoder | None:
    """The vocoder that is asked for; None for Griffin and Lim's phases."""
    config = model.config
    if options.vocoder == GRIFFIN_LIM or (options.vocoder == "auto" and model.vocoder is None):
        return None
    if options.vocoder == "auto" and model.vocoder is not None:
        return load_vocoder(model.vocoder, "wavenet", rate=config.rate, mel=config.mel)
    return vocoder_by_name(options.vocoder, rate=config.rate, mel=config.mel)[0]


def _heard(
    config: Config, vocoder: Vocoder | None, frames: Floats, rng: Random, options: Options, index: int
) -> Generator[Chunk, None, Floats]:
    """Progress on the way; returns the samples of a spectrogram."""
    if vocoder is None:
        return config.mel.heard(frames, config.rate, iterations=options.iterations, rng=rng)  # `yield from` takes it
    samples: Floats = np.zeros(0, np.float32)
    for block in vocoder.vocode(frames, rng):
        if isinstance(block, tuple):
            yield Progress(step=block[0], total=block[1], index=index)
        else:
            samples = block
    return samples


def _media(sounds: Sequence[Floats], rate: int) -> Media:
    """All sentences with pauses between, as WAV."""
    pause = np.zeros(round(PAUSE * rate), np.float32)
    joined = np.concatenate([part for sound in sounds for part in (pause, sound)][1:])
    return Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(Sound(joined, rate)), name="sound")


def _notes(spoken: Sequence[Said], model: Reader, options: Options) -> dict[str, object]:
    """How attention went, over all sentences, and what made the sound."""
    each = [alignment.figures(one.weights) for one in spoken]
    figures = {name: round(float(np.mean([one[name] for one in each])), 4) for name in each[0]}
    product = round(float(np.mean([np.prod(list(one.values())) for one in each])), 4)
    name = options.vocoder if options.vocoder != "auto" else "own" if model.vocoder else GRIFFIN_LIM
    return {"alignment": product, **figures, "ended": all(one.ended for one in spoken), "vocoder": name}
