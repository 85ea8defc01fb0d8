"""Times of words from the network's durations, and the cutting of what is too long, with a network that hums a frame for every letter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from miaobi.data.speech_text.reading import Sentence, Word
from miaobi.models.kokoro.schema import Config
from miaobi.models.kokoro.speak import LONGEST, say

HASH = "0" * 64
CONFIG = Config(parts=(HASH,), network=HASH, vocabulary={letter: number for number, letter in enumerate("abcdefghij ,.“", 1)})
FRAME = CONFIG.frame / CONFIG.rate


def hum(tokens: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two silent frames, two loud ones a letter, three silent ones."""
    frames = np.array([2, *(2 for _ in tokens), 3], np.int64)
    sound = np.repeat([0.0, *(0.5 for _ in tokens), 0.0], frames * CONFIG.frame)
    return sound.astype(np.float32), frames


def sentence(*sounds: str, after: dict[int, str] | None = None) -> Sentence:
    marks = after or {}
    words = tuple(Word(f"w{n}", n, n + 1, "en", one, "", marks.get(n, "")) for n, one in enumerate(sounds))
    return Sentence("", 0, "en", words)


def test_a_word_lasts_as_long_as_its_letters() -> None:
    [spoken] = say(sentence("abc", "de"), CONFIG, hum)
    kept = 2 * FRAME - (2 * FRAME - 0.04)  # of the silence before, 40 ms stay
    (_, first, end), (_, second, last) = spoken.words
    assert first == pytest.approx(kept)
    assert end == pytest.approx(kept + 6 * FRAME)
    assert second == pytest.approx(end + 2 * FRAME), "a space between them is heard"
    assert last == pytest.approx(second + 4 * FRAME)
    assert len(spoken.samples) / CONFIG.rate == pytest.approx(last + 0.04, abs=1e-3)


def test_letters_that_the_network_does_not_know_are_left_out() -> None:
    [spoken] = say(sentence("aXYbZ"), CONFIG, hum)
    assert spoken.words[0][2] - spoken.words[0][1] == pytest.approx(4 * FRAME)


def test_long_sentences_are_cut_at_punctuation_and_lose_nothing() -> None:
    said: list[int] = []

    def listen(tokens: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        said.append(len(tokens))
        return hum(tokens)

    long = sentence(*["abcdefghi"] * 60, after=dict.fromkeys(range(9, 60, 10), ","))
    spoken = list(say(long, CONFIG, listen))
    assert max(said) <= LONGEST
    assert sum(len(one.words) for one in spoken) == 60
    assert all(one.words[-1][0].after == "," for one in spoken), "each piece ends with a comma"
    assert len(spoken) < 6


def test_without_punctuation_it_is_cut_between_words_and_a_giant_word_inside() -> None:
    said: list[int] = []

    def listen(tokens: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        said.append(len(tokens))
        return hum(tokens)

    list(say(sentence(*["abcd"] * 200), CONFIG, listen))
    list(say(sentence("a" * 1000), CONFIG, listen))
    assert max(said) <= LONGEST
    assert sum(said) >= 800 + 1000
