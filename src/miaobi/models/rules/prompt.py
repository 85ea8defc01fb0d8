"""What a grammar hears in a prompt: the topics that its words call up, and the words that it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from miaobi.models.rules.english import beat, plural
from miaobi.models.rules.grammar import Grammar, Option

# words of a prompt that are no nouns to write about: function words, and the commonest adjectives, verbs and measures
_FUNCTION_WORDS = """
a an the and or but nor if then than so of in on at to by for from with without into onto over under above below near between through
across after before during about around against along among is are was were be been being am do does did has have had will would can
could may might shall should must not no yes this that these those it its he she they them his her their my your our we you me us who
whom whose which what where when why how all any some each every both few many much more most very too also just only once again there
here up down out off as like poem poems verse song write one two three first last second third next new old young little big small large
tiny huge long short tall high low deep wide good bad great best beautiful pretty lovely lonely happy sad quiet silent still calm bright
pale warm cool hot soft hard sweet slow quick fast early late empty full lost broken hidden secret golden silver red blue green white
black grey gray yellow brown pink purple orange distant far ancient strange wild free favourite favorite almost maybe never always ever
something nothing someone everyone day days time year years hour hours week month today tomorrow yesterday way thing things come comes
came go goes went gone meet meets met see sees saw look looks make makes made take takes get gets give gives say says tell tells live
lives stay stays sit sits stand stands walk walks run runs fall falls turn turns leaves upon within seven four five six eight nine ten
hundred thousand
"""
_FUNCTION = frozenset(_FUNCTION_WORDS.split())
_NO_NOUN = ("ing", "ly", "ed", "ous", "ful", "ish", "ive", "less")


UNKNOWN = "unknown"  # the topic of prompts with a noun that the grammar does not know


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as a grammar sees it. `words` are its content words in small letters, singular ones as well."""

    text: str
    words: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()

    def has(self, text: str) -> bool:
        """Whether all words of `text` that mean something are in the prompt."""
        meant = [word for word in _words(text) if word not in _FUNCTION]
        return bool(meant) and all(word in self.words for word in meant)

    def taken_up(self, text: str) -> int:
        """How many of the prompt's words a text takes up."""
        return len(self.words & {form for word in _words(text) for form in _forms(word)})


def understand(grammar: Grammar, text: str) -> tuple[Prompt, Grammar]:
    """The prompt, and the grammar with the prompt's unknown nouns, if it has any, as the options of its rule `unknown`."""
    words = frozenset(form for word in _words(text) for form in _forms(word) if form not in _FUNCTION)
    topics = frozenset(topic for topic, calls in grammar.topics.items() if any(_calls(call, words, text.lower()) for call in calls))
    strange = _strange(grammar, text) if grammar.unknown else []
    if not strange:
        return Prompt(text, words, topics), grammar
    rule = grammar.rules[grammar.unknown]
    own = [Option(pieces=(word,), features=_heard(word)) for word in strange]
    more = {rule.name: replace(rule, options=tuple(own))}
    return Prompt(text, words, topics | {UNKNOWN}), replace(grammar, rules={**grammar.rules, **more})


def _calls(call: str, words: frozenset[str], text: str) -> bool:
    """A word calls by itself; several words, and Chinese ones, wherever they stand."""
    return call in words or ((" " in call or not call.isascii()) and call in text)


def _strange(grammar: Grammar, text: str) -> list[str]:
    """Words of the prompt that may be nouns and that no topic and no option has."""
    nouns = [word for word in dict.fromkeys(_words(text)) if word not in _FUNCTION and not word.endswith(_NO_NOUN)]
    return [word for word in nouns if word.isascii() and not grammar.words & set(_forms(word))]


def _heard(word: str) -> dict[str, tuple[str, ...]]:
    """The features of an unknown noun: its stress, and whether it is one or many."""
    return {"beat": (beat(word),), "number": ("plural" if _is_plural(word) else "singular",)}


def _words(text: str) -> list[str]:
    """Words in small letters, without a possessive ending."""
    return [word.removesuffix("'s") for word in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower().replace("’", "'"))]


def _forms(word: str) -> Iterator[str]:
    """The word, its singular if it looks like a plural, and the noun in `rainy` and `sunny`."""
    yield word
    for end, put in (("ies", "y"), ("es", "e"), ("es", ""), ("s", ""), ("y", ""), ("ny", "")):
        if word.endswith(end) and len(word) > len(end) + 1:
            yield word.removesuffix(end) + put


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is")) and any(plural(form) == word for form in _forms(word))
