"""The English verse that ships: its metre and rhymes hold by a pronouncing dictionary, and it follows the words of the prompt."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

import miaobi
from miaobi.api import Loaded
from miaobi.core.home import builtin
from miaobi.models.rules.grammar import Grammar
from miaobi.models.rules.reader import read
from miaobi.trust.safety import load as word_list

VOWELS = "AIOQWYaeiouæɑɒɔəɛɜɪʊʌᵊɐᵻ"  # of misaki's phonemes; the capitals are diphthongs
IN_VERSE = {  # words of which verse makes fewer syllables, or more, than the dictionary
    "every": "ˈɛvɹi",
    "hour": "ˈWɹ",
    "hours": "ˈWɹz",
    "ours": "ˈWɹz",
    "fire": "ˈIɹ",
    "flowering": "ˈflWɹɪŋ",
    "listening": "ˈlɪsnɪŋ",
    "buoy": "bˈY",
    "hundred": "hˈʌndɹəd",
    "kitten": "kˈɪtən",
    "forgotten": "fəɹɡˈɑtən",
    "carries": "kˈæɹiz",
    "tries": "tɹˈIz",
    "sailors": "sˈAləɹz",
    "sailors'": "sˈAləɹz",
    "again": "əɡˈAn",
    "our": "ˈWɹ",
    "everything": "ˈɛvɹiθɪŋ",
    "buttons": "bˈʌtənz",
    "sprinkler": "spɹˈɪŋkləɹ",
    "scribbling": "skɹˈɪblɪŋ",
    "really": "ɹˈɪli",
}
SCENES = ("scene", "meeting", "ending", "verdict")
BRIEFS = [
    *("a rainy harbour at night", "my grandmother's garden in spring", "a dinosaur learning to dance", "first snow", "the last train home"),
    *("blockchain", "two cats and a moon", "robots", "", "我们的秋天", "an old friend leaves for the mountains", "birthday cake"),
]


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return read(builtin() / "rhymer" / "grammar.yaml")


@pytest.fixture(scope="module")
def rhymer() -> Loaded:
    return miaobi.load("rhymer")


@pytest.fixture(scope="module")
def sounds() -> dict[str, str]:
    """Word → phonemes, from the dictionary of misaki (Apache-2.0), where it is installed."""
    found = importlib.util.find_spec("misaki")
    if found is None or not found.submodule_search_locations:
        pytest.skip("misaki's dictionary is not installed")
    words: dict[str, str] = {}
    for name in ("us_silver", "us_gold"):
        table: dict[str, Any] = json.loads((Path(found.submodule_search_locations[0]) / "data" / f"{name}.json").read_text("utf-8"))
        words |= {word.lower(): said if isinstance(said, str) else said["DEFAULT"] for word, said in table.items() if said}
    return words | IN_VERSE


def lines_of(grammar: Grammar) -> list[tuple[str, str, str]]:
    """Every scene's two lines with its rhyme, slots filled by each word that fits."""
    found = []
    for name in SCENES:
        for option in grammar.rules[name].options:
            texts = [""]
            for piece in option.pieces:
                if isinstance(piece, str):
                    texts = [text + piece for text in texts]
                    continue
                behind = [each for each in grammar.rules[piece.rule].options if piece.features.items() <= flat(each.features).items()]
                texts = [text + ("a " if "a" in piece.modifiers else "") + each.plain for text in texts for each in behind]
            found += [(*text.split("\n"), option.features["r"][0]) for text in texts]
    return [(first, second, rhyme) for first, second, rhyme in found]


def flat(features: Any) -> dict[str, str]:
    return {key: values[0] for key, values in features.items()}


def said(word: str, sounds: dict[str, str]) -> str:
    for form in (
        word,
        word.strip("'"),
        word.replace("our", "or"),
        word.removesuffix("s"),
        word.removesuffix("'s"),
        word.removesuffix("ed"),
        word.removesuffix("er") + "e",
    ):
        if form in sounds:
            return sounds[form]
    return ""


def stresses(line: str, sounds: dict[str, str]) -> list[str]:
    """For each syllable `/` (strong in its word), `x` (weak in its word) or `.` (a word of one syllable, which takes either)."""
    found: list[str] = []
    for word in re.findall(r"[a-zA-Z']+", line.lower().replace("-", " ")):
        phonemes = said(word, sounds)
        marks = re.findall(rf"([ˈˌ]?)[^{VOWELS}ˈˌ]*[{VOWELS}]", phonemes)
        if not phonemes:
            found += ["?"]
        else:
            found += ["."] if len(marks) == 1 else ["/" if mark == "ˈ" else "." if mark == "ˌ" else "x" for mark in marks]
    return found


def is_iambic(found: list[str], beats: int) -> bool:
    """Weak, strong, weak, strong …; the first foot may be turned, and no strong syllable of a longer word stands on a weak place."""
    if len(found) != 2 * beats:
        return False
    wrong = [
        place
        for place, mark in enumerate(found)
        if (mark == "/" and place % 2 == 0) or (mark == "x" and place % 2 == 1 and found[place - 1] == "/")
    ]
    return all(place in (0, 1) for place in wrong)


def test_the_lines_keep_their_metre(grammar: Grammar, sounds: dict[str, str]) -> None:
    lines = [(line, beats) for first, second, _ in lines_of(grammar) for line, beats in ((first, 4), (second, 3))]
    off = [
        (line, "".join(stresses(line, sounds)))
        for line, beats in lines
        if "?" not in stresses(line, sounds) and not is_iambic(stresses(line, sounds), beats)
    ]
    unknown = [line for line, _ in lines if "?" in stresses(line, sounds)]
    assert len(lines) > 400
    assert len(unknown) < 0.01 * len(lines), unknown
    assert not off


def test_the_rhymes_are_rhymes(grammar: Grammar, sounds: dict[str, str]) -> None:
    ends: dict[str, dict[str, str]] = {}
    for _, second, rhyme in lines_of(grammar):
        word = re.findall(r"[a-z]+", second.lower())[-1]
        tail = re.search(rf"[{VOWELS}][^{VOWELS}]*$", said(word, sounds))
        assert tail, word
        ends.setdefault(rhyme, {})[word] = tail[0].replace("ː", "")
    assert len(ends) > 15
    for rhyme, words in ends.items():
        assert len(set(words.values())) == 1, (rhyme, words)


@pytest.mark.parametrize("brief", BRIEFS)
def test_every_brief_gets_a_poem(brief: str, rhymer: Loaded) -> None:
    for form, count in (("ballad", 12), ("quatrain", 4), ("couple", 8)):
        texts = {content.text for content in rhymer.generate(brief, n=3, seed=1, form=form)}
        assert len(texts) >= (1 if form == "quatrain" else 2)  # a quatrain about one thing has few lines to choose from
        for text in texts:
            lines = [line for line in text.split("\n") if line]
            assert len(lines) == count
            assert len(set(lines)) == count
            ends = [re.findall(r"\w+", line)[-1] for line in lines[1::2]]
            assert len(set(ends)) == len(ends)
            assert lines[0][0].isupper()
            assert text.endswith(".")
            assert not word_list().blocked(text)


@pytest.mark.parametrize(
    ("brief", "words"), [("a rainy harbour at night", {"rain", "harbour"}), ("a dinosaur", {"dinosaur"}), ("cats", {"cat"})]
)
def test_a_poem_takes_up_the_words_of_its_brief(brief: str, words: set[str], rhymer: Loaded) -> None:
    for content in rhymer.generate(brief, n=8, seed=1):
        assert any(word in content.text.lower() for word in words)


def test_a_poem_is_about_nothing_that_was_not_asked_for(rhymer: Loaded) -> None:
    strange = ("snow", "spring", "moon", "kitten", "train", "rocket", "harbour")
    for content in rhymer.generate("autumn", n=8, seed=1):
        assert not [word for word in strange if word in content.text]
