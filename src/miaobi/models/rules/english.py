"""English words in other forms, and where they are stressed, by rule with a table of exceptions: `ship` → `ships`, `hour` → `an hour`.

Spelling tells syllables and stress of most nouns: vowel groups count syllables, and nouns of two or three are stressed on the first
(Kessler and Treiman 1997 count 88 % of two-syllable nouns so). It is used only for words of a prompt that a grammar does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_VOWELS = "aeiou"


def _table(text: str) -> dict[str, str]:
    """`man men, foot feet` as a dictionary."""
    return dict(pair.split() for pair in text.split(","))


_PLURALS = _table("""man men, woman women, child children, foot feet, tooth teeth, goose geese, mouse mice, leaf leaves, wolf wolves,
knife knives, life lives, wife wives, half halves, shelf shelves, sheep sheep, deer deer, fish fish, ox oxen, person people, echo echoes,
hero heroes""")
_PAST = _table("""be was, have had, do did, go went, come came, see saw, hear heard, say said, sing sang, ring rang, drink drank, swim swam,
begin began, run ran, fall fell, rise rose, shine shone, blow blew, grow grew, know knew, fly flew, draw drew, sleep slept, keep kept,
weep wept, sweep swept, leave left, feel felt, find found, stand stood, hold held, tell told, take took, wake woke, break broke,
speak spoke, write wrote, ride rode, drive drove, give gave, sit sat, lie lay, cut cut, let let, bring brought, think thought,
catch caught, buy bought, make made, lose lost, eat ate""")
_AN = ("hour", "honest", "honour", "honor", "heir")
_NOT_AN = ("uni", "use", "usu", "eu", "one", "once", "ewe", "uto")
_SMALL = {"a", "an", "the", "and", "but", "or", "nor", "of", "in", "on", "at", "to", "by", "for", "from", "with", "into", "over", "as"}


def article(text: str) -> str:
    """`an apple`, `a house`, `an hour`, `a university`."""
    word = text.lower()
    an = word.startswith(_AN) or (word[:1] in _VOWELS and not word.startswith(_NOT_AN))
    return f"{'an' if an else 'a'} {text}"


def plural(text: str) -> str:
    """`ship` → `ships`; of several words, the last."""
    before, space, word = text.rpartition(" ")
    return f"{before}{space}{_plural(word)}"


def _plural(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def third(text: str) -> str:
    """`sing` → `sings`; of several words, the first."""
    word, space, rest = text.partition(" ")
    forms = {"be": "is", "have": "has", "do": "does", "go": "goes"}
    return f"{forms[word] if word in forms else _plural(word) if word not in _PLURALS else word + 's'}{space}{rest}"


def past(text: str) -> str:
    """`sing` → `sang`, `wait` → `waited`; of several words, the first."""
    word, space, rest = text.partition(" ")
    return f"{_PAST[word] if word in _PAST else _ended(word, 'ed')}{space}{rest}"


def ing(text: str) -> str:
    """`run` → `running`, `shine` → `shining`; of several words, the first."""
    word, space, rest = text.partition(" ")
    if word.endswith("ie"):
        return f"{word[:-2]}ying{space}{rest}"
    return f"{_ended(word, 'ing')}{space}{rest}"


def _ended(word: str, ending: str) -> str:
    """The word with `ed` or `ing`: a silent e goes, y becomes i before ed, a short last syllable doubles its consonant."""
    if word.endswith("e") and not word.endswith(("ee", "oe", "ye")):
        return word[:-1] + ending
    if ending == "ed" and word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ied"
    short = re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", word)
    return word + word[-1] + ending if short else word + ending


def possessive(text: str) -> str:
    """`ship` → `ship's`, `ships` → `ships'`."""
    return text + ("'" if text.endswith("s") else "'s")


def capital(text: str) -> str:
    """The first letter as a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def title(text: str) -> str:
    """`a rainy harbour at night` → `A Rainy Harbour at Night`."""
    words = text.split()
    return " ".join(word if 0 < place < len(words) - 1 and word in _SMALL else capital(word) for place, word in enumerate(words))


MODIFIERS: Mapping[str, Callable[[str], str]] = {
    "a": article,
    "plural": plural,
    "third": third,
    "past": past,
    "ing": ing,
    "possessive": possessive,
    "capital": capital,
    "title": title,
    "upper": str.upper,
    "lower": str.lower,
}


def syllables(word: str) -> int:
    """How many syllables the spelling shows: `harbour` 2, `little` 2, `moved` 1."""
    word = re.sub(r"[^a-z]", "", word.lower())
    groups = len(re.findall(r"[aeiouy]+", word)) + len(re.findall(r"(?<![tscgq])i[ao]|eo(?!u)", word))
    silent = re.search(r"[^aeiouyl]e$|[aeiou]le$|[^aeioutd]ed$|[^aeiouyszxc]es$", word)
    return max(1, groups - bool(silent and groups > 1))


def beat(word: str) -> str:
    """The likely stress of a noun, `/` strong and `x` weak: `moon` /, `harbour` /x, `dinosaur` /x/."""
    return "/x/x/x"[: min(syllables(word), 6)]
