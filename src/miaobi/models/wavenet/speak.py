"""A request to sounds: so many seconds from nothing or of a class, or the sound of a spectrogram. The same for both runtimes, in NumPy.

A vocoder makes a long sound in stretches side by side, which costs little more than one of them. They are cut where it is quietest, since
two stretches know nothing of each other's phase; each begins a little before its cut, to find its voice, and is faded into there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.random import Generator as Random
from numpy.typing import NDArray

from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.sounds import Sound, encode
from miaobi.models.common.mel import as_heard, sound_in, with_context
from miaobi.models.wavenet import mulaw
from miaobi.models.wavenet.sampler import Sampler
from miaobi.models.wavenet.schema import Config, Options

Floats = NDArray[np.float32]
STRETCH_SECONDS = 0.6  # of a stretch, when the number of stretches is ours to choose
MOST_STRETCHES = 32
LEAD_SECONDS, FADE_SECONDS = 0.05, 0.01  # before a cut: what is made and thrown away; what is faded


class Voice(Protocol):
    """What both runtimes are."""

    config: Config
    classes: tuple[str, ...]

    @property
    def sampler(self) -> Sampler:
        """The network for sampling, with the weights of now."""
        ...


def speak(model: Voice, request: Request) -> Iterator[Chunk]:
    """One sound for each content. Content i depends on the seed and i alone, whatever `n` is.

    Raises:
        UsageError: no such class, a vocoder that is given no sound, or a sound for a model that takes none.
        DataError: the sound cannot be read.
    """
    options = Options.model_validate(dict(request.options))
    config, sampler = model.config, model.sampler
    given = sound_in(request)
    frames = None
    if "mel" in config.conditions:
        if given is None:
            raise UsageError("this model is a vocoder: give it a sound to make again, or name it as the vocoder of a tacotron")
        frames = config.mel.of(as_heard(given, config.rate), config.rate)
    elif given is not None:
        raise UsageError("this model makes sounds from nothing and takes none")
    for index in range(options.n):
        rng = np.random.default_rng((request.seed, index))
        label = _class(request, model.classes, rng)
        if frames is None:
            blocks = _from_nothing(sampler, round(options.seconds * config.rate), rng, label, options.temperature)
        else:
            blocks = vocoded(sampler, frames, rng, label=label, temperature=options.temperature, stretches=options.stretches)
        samples = yield from _watched(blocks, index)
        media = Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(Sound(samples, config.rate)), name="sound")
        yield Piece(part=media, index=index)
        notes = {} if label is None else {"class": model.classes[label]}
        yield Done(index=index, usage=Usage(generated=len(samples)), notes=notes)


def vocoded(
    sampler: Sampler, frames: Floats, rng: Random, *, label: int | None = None, temperature: float = 1.0, stretches: int = 0
) -> Iterator[tuple[int, int] | Floats]:
    """The sound of a spectrogram (F, M): pairs of samples made and all samples on the way, then the samples (T,) in [-1, 1].

    Args:
        stretches: how many are made side by side; 0 chooses.
    """
    config, hop = sampler.config, sampler.config.mel.hop
    count = (len(frames) - 1) * hop
    cuts = _cuts(frames, stretches or min(MOST_STRETCHES, max(1, round(count / config.rate / STRETCH_SECONDS))))
    lead = max(1, round(LEAD_SECONDS * config.rate / hop)) if len(cuts) > 2 else 0
    size = int(np.diff(cuts).max()) + lead  # frames of a stretch
    steering = [sampler.steering(with_context(frames, cut - lead, cut - lead + size + 1), label) for cut in cuts[:-1]]
    made: list[Floats] = []
    for block in sampler.run(
        size * hop, rng, steering=np.stack([one for one in steering if one is not None]), batch=len(steering), temperature=temperature
    ):
        made.append(block)
        yield sum(part.shape[1] for part in made), size * hop
    joined = _joined(np.concatenate(made, axis=1), [cut * hop for cut in cuts], lead * hop, round(FADE_SECONDS * config.rate))
    yield _finished(joined[:count], config)


def _from_nothing(sampler: Sampler, count: int, rng: Random, label: int | None, temperature: float) -> Iterator[tuple[int, int] | Floats]:
    steering = sampler.steering(None, label)
    made: list[Floats] = []
    for block in sampler.run(count, rng, steering=None if steering is None else steering[None], temperature=temperature):
        made.append(block[0])
        yield sum(map(len, made)), count
    yield _finished(np.concatenate(made), sampler.config)


def _watched(blocks: Iterator[tuple[int, int] | Floats], index: int) -> Generator[Chunk, None, Floats]:
    """Progress on the way; returns the samples that come last."""
    samples: Floats = np.zeros(0, np.float32)
    for block in blocks:
        if isinstance(block, tuple):
            yield Progress(step=block[0], total=block[1], index=index)
        else:
            samples = block
    return samples  # `yield from` takes it


def _class(request: Request, classes: Sequence[str], rng: Random) -> int | None:
    """The class that the prompt names, one drawn when it names none; None for a model without classes."""
    prompt = request.prompt.strip()
    if not classes:
        if prompt:
            raise UsageError("this model reads no words, it learned from sounds alone; leave the prompt empty")
        return None
    if not prompt:
        return int(rng.integers(len(classes)))
    if prompt not in classes:
        raise unknown("class", prompt, classes)
    return classes.index(prompt)


def _cuts(frames: Floats, stretches: int) -> list[int]:
    """The first frame of each stretch and the end: near even parts, moved to the quietest frame around."""
    end = len(frames) - 1
    stretches = max(1, min(stretches, end // 8))
    loudness, reach = frames.mean(axis=1), end // stretches // 3
    cuts = [0]
    for number in range(1, stretches):
        middle = end * number // stretches
        low = max(cuts[-1] + 1, middle - reach)
        cuts.append(low + int(loudness[low : middle + reach + 1].argmin()))
    return [*cuts, end]


def _joined(stretches: Floats, cuts: Sequence[int], lead: int, fade: int) -> Floats:
    """Stretches (B, T) that begin `lead` samples before their cut, one after the other, each faded in over `fade` samples up to its cut."""
    found = np.zeros(cuts[-1], np.float32)
    rising = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    for stretch, start, end in zip(stretches, cuts, cuts[1:]):
        found[start:end] = stretch[lead : lead + end - start]
        if start and fade:
            place = slice(max(0, start - fade), start)
            width = place.stop - place.start
            found[place] = found[place] * (1 - rising[-width:]) + stretch[lead - width : lead] * rising[-width:]
    return found


def _finished(samples: Floats, config: Config) -> Floats:
    """What was predicted as a sound: high frequencies lowered again."""
    finished: Floats = np.clip(mulaw.restored(samples, config.emphasis), -1, 1)
    return finished
