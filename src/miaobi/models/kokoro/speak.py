"""Sentences to sound: phonemes in the network's numbers, cut where they are too many, and the times of words from its own durations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaobi.data.speech_text.reading import Sentence, Word
from miaobi.models.kokoro import phonemes
from miaobi.models.kokoro.schema import Config

LONGEST = 240  # phonemes at once: beyond it memory grows past a gigabyte, and the voice hurries
_BREAKS = frozenset(",.;:!?—…")
_QUIET, _EDGE = 0.01, 0.04  # amplitude that counts as silence; seconds of it that stay at either end
Render = Callable[[list[int]], "tuple[NDArray[np.float32], NDArray[np.int64]]"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was said: samples (N,), and for each word when it begins and ends, in seconds from the first sample."""

    samples: NDArray[np.float32]
    words: tuple[tuple[Word, float, float], ...]


@dataclass(frozen=True, slots=True)
class _Utterance:
    """What the network says at once: its letters, and where each word's own are among them."""

    letters: str
    words: tuple[tuple[Word, int, int], ...]


def say(sentence: Sentence, config: Config, render: Render) -> Iterator[Spoken]:
    """The sentence in as many pieces as it needs."""
    for utterance in _utterances(sentence, config.vocabulary):
        samples, frames = render([config.vocabulary[letter] for letter in utterance.letters])
        ends = np.cumsum(frames) * config.frame / config.rate  # ends[i] is where letter i - 1 ends: the first one is the silence before
        first, last = _heard(samples, config.rate)
        shift = first / config.rate
        words = tuple(
            (word, max(0.0, float(ends[begin]) - shift), max(0.0, min(float(ends[end]) - shift, (last - first) / config.rate)))
            for word, begin, end in utterance.words
        )
        yield Spoken(samples[first:last], words)


def _heard(samples: NDArray[np.float32], rate: int) -> tuple[int, int]:
    """Where sound begins and ends, with a little silence around it."""
    loud = np.flatnonzero(np.abs(samples) > _QUIET)
    if not len(loud):
        return 0, len(samples)
    edge = int(_EDGE * rate)
    return max(0, int(loud[0]) - edge), min(len(samples), int(loud[-1]) + edge)


def _utterances(sentence: Sentence, vocabulary: Mapping[str, int]) -> Iterator[_Utterance]:
    """The sentence, broken after punctuation, or, where there is none, between words."""
    letters, words = "", []
    pieces = [(word, *_letters(word, vocabulary)) for word in sentence.words]
    for place, (word, before, own, after) in enumerate(pieces):
        if letters and len(letters) + len(before + own + after) >= (LONGEST if _ends(letters) or _far(pieces, place) else 2 * LONGEST):
            yield _Utterance(letters.rstrip(), tuple(words))
            letters, words = "", []
        for start in range(0, max(1, len(own)), LONGEST):  # a single word of hundreds of letters is no word
            part = own[start : start + LONGEST]
            if start:
                yield _Utterance(letters, tuple(words))
                letters, words = "", []
            letters += before if not start else ""
            words.append((word, len(letters), len(letters) + len(part)))
            letters += part
        letters += after + " "
    if words:
        yield _Utterance(letters.rstrip(), tuple(words))


def _ends(letters: str) -> bool:
    return letters.rstrip()[-1:] in _BREAKS


def _far(pieces: list[tuple[Word, str, str, str]], place: int) -> bool:
    """Whether the next punctuation is so far away that one had better break here."""
    length = 0
    for _, before, own, after in pieces[place:]:
        length += len(before + own + after) + 1
        if _BREAKS & set(after):
            break
    return length >= LONGEST // 2


def _letters(word: Word, vocabulary: Mapping[str, int]) -> tuple[str, str, str]:
    """Opening marks, phonemes and closing marks of a word, as far as the network knows them."""
    own = phonemes.word(word.sounds) if word.language == "zh" else word.sounds
    before, own, after = ("".join(letter for letter in text if letter in vocabulary) for text in (word.before, own, word.after))
    return before, own, after
