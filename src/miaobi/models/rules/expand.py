"""From a grammar to a text: a search that goes back when a demand (a rhyme, a number) cannot be met.

Options are tried in the order of an exponential race, which draws by weight without replacement (Efraimidis and Spirakis 2006). Slots
share variables as a unification grammar does (Pereira and Warren 1980): the first slot that mentions `@a` chooses its value, the others
must agree, and when none can, the choice is made anew. The search is cut off after a number of steps and begun again with other draws,
since a bad early choice can cost all the time (Gomes et al. 1998); at the depth limit only options that still end are tried.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from miaobi.core.errors import UsageError, unknown
from miaobi.models.rules.english import MODIFIERS
from miaobi.models.rules.grammar import Grammar, Option
from miaobi.models.rules.prompt import Prompt
from miaobi.models.rules.template import Slot, Template

GIVEN, ON_TOPIC = 40.0, 6.0  # how much likelier an option is that is the prompt's very words, or about its topic
STEPS, ATTEMPTS = 5_000, 24  # options tried in a search, and searches
Bindings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _State:
    """What the text so far decides for the rest: what is remembered, and what may not come again."""

    memory: Mapping[str, str] = field(default_factory=dict)
    used: frozenset[tuple[str, int]] = frozenset()
    ends: frozenset[str] = frozenset()  # the last words of texts of `once: end` rules


class _OutOfSteps(Exception):
    """This search takes too long."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """An option as a search sees it."""

    place: int
    option: Option
    weight: float
    height: int
    size: int


class Writer:
    """Writes texts of a grammar about a prompt; what the prompt makes of every option's weight is worked out once."""

    def __init__(self, grammar: Grammar, prompt: Prompt) -> None:
        self.grammar, self.prompt = grammar, prompt
        self._choices: dict[str, list[_Choice]] = {}

    def text(self, *, form: str = "", slots: Mapping[str, str] | None = None, depth: int = 24, seed: str = "0") -> str:
        """One text.

        Raises:
            UsageError: an unknown form or slot, a depth in which no text fits, or demands that no text meets.
        """
        grammar, fixed = self.grammar, dict(slots or {})
        if form and form not in grammar.forms:
            raise unknown("form", form, grammar.forms)
        rule = grammar.forms[form] if form else next(iter(grammar.forms.values()))
        for name in fixed:
            if name not in grammar.rules and name not in grammar.memories:
                raise unknown("slot", name, [*grammar.rules, *grammar.memories])
        least = grammar.heights[rule]
        if depth < least:
            raise UsageError(
                "the depth {depth} is too small for {rule}: its shortest text needs {least}", depth=depth, rule=rule, least=least
            )
        for attempt in range(ATTEMPTS):
            search = _Search(self, fixed, random.Random(f"{seed}/{attempt}"))
            shallower = max(least, depth >> attempt // 4)  # rules that breed need a tighter limit
            try:
                for text, _, _ in search.slot(Slot(rule=rule), {}, _State(), shallower):
                    return text
            except (_OutOfSteps, RecursionError):
                continue
            break  # everything was tried
        raise UsageError("no text of the rule {rule} meets all its demands: too few words agree (rhyme, number …)", rule=rule)

    def choices(self, rule: str) -> list[_Choice]:
        """The options of a rule. Those about what the prompt is not about are left out, unless nothing else is there."""
        if rule not in self._choices:
            options = list(enumerate(self.grammar.rules[rule].options))
            relevant = [each for each in options if not each[1].about or each[1].about & self.prompt.topics] or options
            measure = self.grammar
            self._choices[rule] = [
                _Choice(place, option, self._weight(option), measure.height(option), measure.size(option)) for place, option in relevant
            ]
        return self._choices[rule]

    def _weight(self, option: Option) -> float:
        """Options on a topic of the prompt are likelier, and those with its very words much more so."""
        words = " ".join(piece if isinstance(piece, str) else self._words_of(piece) for piece in option.pieces)
        topical = ON_TOPIC if option.about & self.prompt.topics else 1.0
        mentions = ON_TOPIC if self.prompt.taken_up(words) else 1.0
        return option.weight * topical * mentions * (GIVEN if self.prompt.has(option.plain) else 1.0)

    def _words_of(self, slot: Slot) -> str:
        """The plain words that may fill a slot."""
        behind = self.grammar.rules[self.grammar.rule_of(slot)].options
        return " ".join(each.plain for each in behind if all(key in each.features for key in slot.features) and len(each.plain) < 40)


class _Search:
    """One depth-first search. Its generators yield every way to go on, so the caller's next demand decides among them."""

    def __init__(self, writer: Writer, fixed: Mapping[str, str], rng: random.Random) -> None:
        self.writer, self.grammar, self.fixed, self.rng = writer, writer.grammar, fixed, rng
        self.steps = 0

    def slot(self, slot: Slot, bound: Bindings, state: _State, depth: int) -> Iterator[tuple[str, Bindings, _State]]:
        """The texts of a slot, with the variables that they bind in the option around it."""
        if slot.rule in state.memory:
            yield _changed(state.memory[slot.rule], slot), bound, state
            return
        memory = slot.memory or (slot.rule if slot.rule in self.grammar.memories else "")
        for name in (memory, self.grammar.rule_of(slot)):
            if name in self.fixed:
                yield _changed(self.fixed[name], slot), bound, state
                return
        wanted = {key: bound.get(value[1:], "") if value.startswith("@") else value for key, value in slot.features.items()}
        for text, given, after in self.rule(self.grammar.rule_of(slot), wanted, state, depth):
            learned = {value[1:]: given[key] for key, value in slot.features.items() if value.startswith("@") and given.get(key)}
            if memory:
                after = replace(after, memory={**after.memory, memory: text})
            yield _changed(text, slot), {**bound, **learned}, after

    def rule(self, name: str, wanted: Bindings, state: _State, depth: int) -> Iterator[tuple[str, Bindings, _State]]:
        """The texts of a rule whose features are as wanted (an empty value: to be chosen), with the values that they have."""
        once = self.grammar.rules[name].once
        for place, option in self.order(name, depth):
            if once and (name, place) in state.used:
                continue
            after = replace(state, used=state.used | {(name, place)}) if once else state
            for chosen in self.agreements(option, wanted):
                for text, bound, last in self.sequence(option.pieces, chosen, after, depth - 1):
                    end = _last_word(text) if once == "end" else ""
                    if not end or end not in last.ends:
                        last = replace(last, ends=last.ends | {end}) if end else last
                        yield text, {key: bound.get(key, "") for key in wanted}, last

    def order(self, name: str, depth: int) -> list[tuple[int, Option]]:
        """The options that still end, drawn by weight; late in the search the shortest way out comes first."""
        fitting = [each for each in self.writer.choices(name) if each.height < depth]
        late = self.steps > STEPS // 2
        race = sorted((each.size if late else -math.log(1.0 - self.rng.random()) / each.weight, each.place, each) for each in fitting)
        return [(place, each.option) for _, place, each in race]

    def agreements(self, option: Option, wanted: Bindings) -> Iterator[Bindings]:
        """The values of the wanted features that the option allows; those of its variables are decided inside it."""
        self.step()
        allowed: list[list[str]] = []
        for key, value in wanted.items():
            if key in option.features:
                values = [each for each in option.features[key] if value in ("", each)]
                self.rng.shuffle(values)
            else:
                values = [value] if key in option.variables else []
            allowed.append(values)
        for number, chosen in enumerate(itertools.product(*allowed)):  # as many as the features' values multiplied: each is a step
            if number:
                self.step()
            yield dict(zip(wanted, chosen))

    def step(self) -> None:
        """Count one more thing that is tried."""
        self.steps += 1
        if self.steps > STEPS:
            raise _OutOfSteps

    def sequence(self, pieces: Template, bound: Bindings, state: _State, depth: int) -> Iterator[tuple[str, Bindings, _State]]:
        """The texts of an option's pieces, left to right."""
        if not pieces:
            yield "", bound, state
            return
        first, rest = pieces[0], pieces[1:]
        here = [(first, bound, state)] if isinstance(first, str) else self.slot(first, bound, state, depth)
        for text, inner, after in here:
            for tail, last, end in self.sequence(rest, inner, after, depth):
                yield text + tail, last, end


def _last_word(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    return words[-1] if words else ""


def _changed(text: str, slot: Slot) -> str:
    for modifier in slot.modifiers:
        text = MODIFIERS[modifier](text)
    return text
