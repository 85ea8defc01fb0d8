"""A grammar as values, and what can be said of it before it is used: whether every rule can end, and how soon.

A rule is a list of options; one is chosen by weight. `height` and `size` are the least depth and the least number of options that a rule
needs to become text. A rule without them can never end, and one of enormous size would be a bomb: both are refused when a grammar is
read. Generation uses them too: at the depth limit only options that still fit are left, so recursion always ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from miaobi.models.rules.template import Slot, Template

Once = Literal["", "true", "end"]
LARGEST = 2_000  # options that the shortest text of a rule may need


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to fill a rule. `features` may have several values each; `about` are the topics that it is for (none: for any)."""

    pieces: Template
    weight: float = 1.0
    about: frozenset[str] = frozenset()
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    place: tuple[int, int] = (0, 0)  # line and column in its file

    @property
    def slots(self) -> Iterator[Slot]:
        """The places that other rules fill."""
        return (piece for piece in self.pieces if isinstance(piece, Slot))

    @property
    def variables(self) -> frozenset[str]:
        """The variables of its slots; a demand on the option with such a name is handed down to them."""
        return frozenset(value[1:] for slot in self.slots for value in slot.features.values() if value.startswith("@"))

    @property
    def plain(self) -> str:
        """Its text, if it has no slots."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str)) if not any(self.slots) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Options to choose from. `once`: `true`, none of them comes twice in a text; `end`, nor two texts that end in the same word."""

    name: str
    options: tuple[Option, ...]
    once: Once = ""
    place: tuple[int, int] = (0, 0)  # line and column in its file


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Rules by name, the rule of each form, the words that make a topic, and the rule that takes a prompt's unknown words."""

    name: str
    language: str
    rules: Mapping[str, Rule]
    forms: Mapping[str, str]  # form -> rule; the first is the default
    topics: Mapping[str, frozenset[str]] = field(default_factory=dict)  # topic -> words that call it up
    unknown: str = ""  # the rule that takes words of a prompt which the grammar does not know
    summary: str = ""

    @cached_property
    def memories(self) -> Mapping[str, str]:
        """The names that are remembered, and the rule of each."""
        return {slot.memory: slot.rule for rule in self.rules.values() for option in rule.options for slot in option.slots if slot.memory}

    def rule_of(self, slot: Slot) -> str:
        """The rule behind a slot: `{hero}` is that of `{hero:name}`."""
        return self.memories.get(slot.rule, slot.rule)

    @cached_property
    def heights(self) -> Mapping[str, int]:
        """The least depth of each rule that can end."""
        return self._least(lambda inner: 1 + max(inner, default=0))

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The least number of options of each rule that can end."""
        return self._least(lambda inner: 1 + sum(inner))

    def height(self, option: Option) -> int:
        """The least depth below an option; 0 for plain text."""
        return max((self.heights[self.rule_of(slot)] for slot in option.slots), default=0)

    def size(self, option: Option) -> int:
        """The least number of options below an option."""
        return sum(self.sizes[self.rule_of(slot)] for slot in option.slots)

    def _least(self, total: Callable[[list[int]], int]) -> dict[str, int]:
        """The least fixed point of a measure over options (Knuth 1977, by repeated passes)."""
        found: dict[str, int] = {}
        changed = True
        while changed:
            changed = False
            for name, rule in self.rules.items():
                ends = (
                    total([found[self.rule_of(slot)] for slot in option.slots])
                    for option in rule.options
                    if all(self.rule_of(slot) in found for slot in option.slots)
                )
                best = min(ends, default=None)
                if best is not None and best < found.get(name, best + 1):
                    found[name] = best
                    changed = True
        return found

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word that calls up a topic or is an option of its own."""
        plain = (option.plain.lower() for rule in self.rules.values() for option in rule.options)
        return frozenset({word for text in plain for word in text.split()}.union(*self.topics.values()))
