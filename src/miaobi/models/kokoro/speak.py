"""Sentences to sound: phonemes in the network's numbers, cut where they are too many, and the times of words from its own durations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaobi.data.speech_text.reading import Sentence, Word
from miaobi.models.kokoro import phonemes
from miaobi.models.kokoro.schema import Config

LONGEST = 240  # phonemes at once: beyond it memory grows past a gigabyte, and the voice hurries
_BREAKS = frozenset(",.;:!?—…")
_QUIET, _EDGE = 0.01, 0.04  # amplitude that counts as silence; seconds of it that stay at either end
_Piece = tuple[Word, str, str, str]  # a word, its opening marks, phonemes and closing marks
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
    """The sentence, broken after punctuation where it is too long, or, where there is none in time, between words."""
    pieces = [piece for word in sentence.words for piece in _pieces(word, vocabulary)]
    start = 0
    while start < len(pieces):
        end = _end(pieces, start)
        letters, words = "", []
        for word, before, own, after in pieces[start:end]:
            letters += before
            words.append((word, len(letters), len(letters) + len(own)))
            letters += own + after + " "
        yield _Utterance(letters.rstrip(), tuple(words))
        start = end


def _end(pieces: Sequence[_Piece], start: int) -> int:
    """Behind which piece an utterance ends that begins at `start`."""
    size, marked = 0, 0
    for number in range(start, len(pieces)):
        _, before, own, after = pieces[number]
        size += len(before + own + after) + 1
        if size > LONGEST and number > start:
            return marked or number
        if _BREAKS & set(after) and size > LONGEST // 3:
            marked = number + 1
    return len(pieces)


def _pieces(word: Word, vocabulary: Mapping[str, int]) -> Iterator[_Piece]:
    """The word, or, when it is a number of a hundred digits, as many pieces as it needs."""
    before, own, after = _letters(word, vocabulary)
    parts = [own[start : start + LONGEST] for start in range(0, len(own), LONGEST)] or [""]
    for number, part in enumerate(parts):
        yield word, before if number == 0 else "", part, after if number == len(parts) - 1 else ""


def _letters(word: Word, vocabulary: Mapping[str, int]) -> tuple[str, str, str]:
    """Opening marks, phonemes and closing marks of a word, as far as the network knows them."""
    own = phonemes.word(word.sounds) if word.language == "zh" else word.sounds
    before, own, after = ("".join(letter for letter in text if letter in vocabulary) for text in (word.before, own, word.after))
    return before, own, after
