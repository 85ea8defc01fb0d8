"""Verse as a constraint on decoding: a pure automaton that says which token may come next, so that no poem needs mending afterwards.

It commits to nothing that the poem has not yet decided: a state holds every tone pattern that the text still fits and, for each, every
rhyme group that its rhymes still share; the mask is the union over them. `first_line` and `acrostic` are fixed text and override
tone and rhyme where they conflict; `relaxations` tells where. Masks are made once for each set of needs, for all constraints on a
vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr
from miaobi.models.verse import prosody
from miaobi.models.verse.forms import COMMA, NO_RHYME, STOP, TONES, Form, Tone

Mask = NDArray[np.bool_]  # (V,) which tokens may come next
Repeat = Literal["line", "character", "none"]
REPEATS: tuple[Repeat, ...] = ("line", "character", "none")
STOPS, COMMAS, PAUSES = "。！？", COMMA, "、，"
MASKS = 2048  # so many masks are kept for a vocabulary, some 12 MB for 6,000 characters
ANY = -1  # all rhyme groups: the need of a character that does not rhyme
MARKS = "，。！？；：、,.!?;:"


class Hypothesis(NamedTuple):
    """One way in which the text so far may go on: a pattern, a tone string for the current line, and the groups left to each rhyme."""

    pattern: int
    tones: str
    groups: tuple[int, ...]


class State(NamedTuple):
    """Where a poem stands. Immutable, so that beams may share it."""

    slot: int
    hypotheses: tuple[Hypothesis, ...]
    characters: tuple[int, ...]  # the tokens of the characters so far
    relaxed: tuple[int, ...]  # the characters (by their number) that break a rule because they were given


class Slot(NamedTuple):
    """One token of the poem: a character, or (`column` = -1) a mark or a line break."""

    line: int
    column: int
    character: int  # the number of the character in the poem
    fixed: Mask | None  # marks and given text
    echo: int | None  # the number of the character that this one repeats


class Lexicon:
    """A vocabulary's tones and rhymes as arrays, and the masks made from them."""

    def __init__(self, vocabulary: tuple[str, ...], book: prosody.Book | None) -> None:
        self.tokens = {text: token for token, text in enumerate(vocabulary) if len(text) == 1}
        self.size = len(vocabulary)
        judge = book or prosody.book("pingshui")
        empty = prosody.Sound(0, 0, 0, 0)
        sounds = [(judge.sound(text) or empty) if len(text) == 1 else empty for text in vocabulary]
        self.groups = {prosody.LEVEL: [sound.level for sound in sounds], prosody.OBLIQUE: [sound.oblique for sound in sounds]}
        self.written = np.array([len(text) == 1 and is_han(text) for text in vocabulary], dtype=np.bool_)
        self.members = {tone: _bits(groups, len(judge.groups)) for tone, groups in self.groups.items()}  # (groups, V)
        self._masks: dict[frozenset[tuple[str, int]], Mask] = {}

    def fits(self, token: int, tone: str) -> bool:
        """Whether the token can stand at 平, 仄 or 中."""
        return tone == prosody.FREE or bool(self.groups[tone][token])

    def mask(self, needs: frozenset[tuple[str, int]]) -> Mask:
        """The tokens that meet one of the needs, each a tone and the rhyme groups (`ANY`: not a rhyme) that it must be in."""
        found = self._masks.get(needs)
        if found is None:
            found = np.zeros(self.size, dtype=np.bool_)
            for tone, groups in needs:
                found |= self._need(tone, groups)
            found.flags.writeable = False
            if len(self._masks) >= MASKS:
                self._masks.clear()
            self._masks[needs] = found
        return found

    def only(self, tokens: Sequence[int]) -> Mask:
        """A mask of just these tokens."""
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[list(tokens)] = True
        mask.flags.writeable = False
        return mask

    def _need(self, tone: str, groups: int) -> Mask:
        if tone == prosody.FREE and groups == ANY:
            return self.written
        members = [self.members[tone]] if tone != prosody.FREE else list(self.members.values())
        rows = [index for index in range(len(members[0])) if groups == ANY or groups >> index & 1]
        found: Mask = np.any([member[rows].any(0) for member in members], axis=0)
        return found & self.written


@functools.lru_cache(maxsize=8)
def lexicon(vocabulary: tuple[str, ...], book: str) -> Lexicon:
    """The lexicon of a vocabulary under a rhyme book (`none`: tones of the 平水韵, no rhymes). Made once."""
    return Lexicon(vocabulary, None if book == "none" else prosody.book(book))


class VerseConstraint:
    """Lets a model write exactly one poem of `form`, then `end_token`.

    Args:
        vocabulary: the text of each token; characters, marks and the line break are tokens of one character.
        rhyme: `pingshui` (平水韵; ci by 词林正韵), `xinyun` (中华新韵) or `none`. It also decides the tones.
        tone: `strict`, `loose` (一三五不论 without 孤平 and 三平尾) or `none`.
        acrostic: the first characters of the first lines (藏头).
        first_line: the text of the first line.
        repeat: what may not come twice: a `line`; or a `character` in a shi and in each line of a ci (but 悠悠 may); or `none`.

    Raises:
        UsageError: what is asked for is impossible: an acrostic longer than the form, a first line of another length, unknown characters.
    """

    def __init__(
        self,
        form: Form,
        vocabulary: Sequence[str],
        *,
        end_token: int,
        rhyme: str = "pingshui",
        tone: Tone = "loose",
        acrostic: str = "",
        first_line: str = "",
        repeat: Repeat = "line",
    ) -> None:
        if tone not in TONES:
            raise unknown("tone", tone, TONES)
        if repeat not in REPEATS:
            raise unknown("repeat", repeat, REPEATS)
        book = prosody.book_for(form.kind, rhyme)
        self.form, self.tone, self.repeat, self.rhyming = form, tone, repeat, book is not None
        self.lexicon = lexicon(tuple(vocabulary), book.name if book else "none")
        self._starts = [sum(form.lines[:line]) for line in range(len(form.lines) + 1)]
        forced = self._forced(_characters(acrostic), _characters(first_line))
        self.slots = self._layout(forced)
        self._end = self.lexicon.only([end_token])
        free = tone == "none" and not self.rhyming
        self._lines = [
            [(prosody.FREE * length,) if free else pattern.line(index, tone) for index, length in enumerate(form.lines)]
            for pattern in form.patterns
        ]
        self._start = State(0, self._first(forced), (), ())

    @property
    def num_tokens(self) -> int:
        """How many tokens a poem of this form has, the end token included."""
        return len(self.slots) + 1

    def start(self) -> State:
        """The state before the first token."""
        return self._start

    def allowed(self, state: State) -> Mask:
        """Which tokens may come next: never none."""
        if state.slot >= len(self.slots):
            return self._end
        slot = self.slots[state.slot]
        if slot.fixed is not None:
            return slot.fixed
        if slot.echo is not None:
            return self.lexicon.only([state.characters[slot.echo]])
        mask = self.lexicon.mask(self._needs(state, slot))
        banned = self._banned(state, slot)
        return _without(mask, banned) if banned else mask

    def advance(self, state: State, token: int) -> State:
        """The state after `token`. A token that breaks the rules is kept and remembered as a relaxation."""
        if state.slot >= len(self.slots):
            return state
        slot = self.slots[state.slot]
        if slot.column < 0:
            return state._replace(slot=state.slot + 1)
        last = slot.column == self.form.lines[slot.line] - 1
        left = self._surviving(state.hypotheses, slot, token, last)
        relaxed = state.relaxed if left else (*state.relaxed, slot.character)
        left = left or state.hypotheses
        if last and slot.line + 1 < len(self.form.lines):
            left = self._next_line(left, slot.line + 1)
        return State(state.slot + 1, left, (*state.characters, token), relaxed)

    def relaxations(self, state: State) -> tuple[str, ...]:
        """What given text (acrostic, first line) broke so far, for people."""
        texts = {token: text for text, token in self.lexicon.tokens.items()}
        places = {slot.character: slot for slot in self.slots if slot.column >= 0}
        return tuple(
            tr(
                "line {line}, character {column}: the given {character} does not fit tone or rhyme and was kept",
                line=places[number].line + 1,
                column=places[number].column + 1,
                character=texts.get(state.characters[number], "?"),
            )
            for number in state.relaxed
        )

    # the plan of the poem

    def _forced(self, acrostic: str, first_line: str) -> dict[tuple[int, int], int]:
        """(line, column) -> token of the given text."""
        form = self.form
        if len(acrostic) > len(form.lines):
            raise UsageError(
                "the acrostic {acrostic} has {count} characters but {form} has {lines} lines. Shorten it or choose a longer form",
                acrostic=acrostic,
                count=len(acrostic),
                form=form.name,
                lines=len(form.lines),
            )
        if first_line and len(first_line) != form.lines[0]:
            raise UsageError(
                "the first line {line} has {count} characters but the first line of {form} has {wanted}",
                line=first_line,
                count=len(first_line),
                form=form.name,
                wanted=form.lines[0],
            )
        if first_line and acrostic and first_line[0] != acrostic[0]:
            raise UsageError(
                "the first line begins with {given} but the acrostic with {wanted}; they must begin alike",
                given=first_line[0],
                wanted=acrostic[0],
            )
        given = {(line, 0): character for line, character in enumerate(acrostic)}
        given |= {(0, column): character for column, character in enumerate(first_line)}
        for line, _ in given:
            if line in form.echoes:
                raise UsageError(
                    "line {line} of {form} repeats line {source}, so its first character cannot be given",
                    line=line + 1,
                    form=form.name,
                    source=form.echoes[line] + 1,
                )
        return {place: self._token(character) for place, character in given.items()}

    def _token(self, character: str) -> int:
        token = self.lexicon.tokens.get(character)
        if token is None or not self.lexicon.written[token]:
            raise UsageError(
                "this model does not know {character}, so it cannot be given. Write it in simplified script or choose another character",
                character=character,
            )
        return token

    def _layout(self, forced: dict[tuple[int, int], int]) -> tuple[Slot, ...]:
        """The slots of the poem in order: characters, marks and line breaks."""
        form, slots, number = self.form, [], 0
        for line, (length, mark) in enumerate(zip(form.lines, form.marks)):
            source = form.echoes.get(line)
            for column in range(length):
                token = forced.get((line, column))
                echo = None if source is None else self._starts[source + 1] - length + column
                slots.append(Slot(line, column, number, None if token is None else self.lexicon.only([token]), echo))
                number += 1
            slots.append(Slot(line, -1, number, self._mark(STOPS if mark == STOP else COMMAS if mark == COMMA else PAUSES), None))
            if mark == STOP and line + 1 < len(form.lines):
                slots.append(Slot(line, -1, number, self._mark("\n"), None))
        return tuple(slots)

    def _mark(self, marks: str) -> Mask:
        tokens = [self.lexicon.tokens[mark] for mark in marks if mark in self.lexicon.tokens]
        if not tokens:
            raise UsageError("the model's vocabulary has none of the marks {marks}, so it cannot write verse", marks=repr(marks))
        return self.lexicon.only(tokens[:1] if marks == PAUSES else tokens)

    def _first(self, forced: dict[tuple[int, int], int]) -> tuple[Hypothesis, ...]:
        """The hypotheses of the first line: all, or those that the given first line breaks least."""
        first = [
            Hypothesis(index, tones, groups)
            for index, pattern in enumerate(self.form.patterns)
            for groups in [self._viable(index)]
            for tones in self._lines[index][0]
        ]
        given = {column: token for (line, column), token in forced.items() if line == 0}
        faults = [self._faults(hypothesis, given) for hypothesis in first]
        return tuple(hypothesis for hypothesis, count in zip(first, faults) if count == min(faults))

    def _faults(self, hypothesis: Hypothesis, given: dict[int, int]) -> int:
        """How many of the given characters of the first line break the hypothesis."""
        faults = sum(not self.lexicon.fits(token, hypothesis.tones[column]) for column, token in given.items())
        number = self.form.patterns[hypothesis.pattern].rhymes[0]
        last = given.get(self.form.lines[0] - 1)
        if last is not None and number != NO_RHYME and self.rhyming and self.lexicon.fits(last, hypothesis.tones[-1]):
            faults += not hypothesis.groups[number] & self.lexicon.groups[hypothesis.tones[-1]][last]
        return faults

    def _viable(self, index: int) -> tuple[int, ...]:
        """For each rhyme of a pattern the groups in which the vocabulary has enough characters, two to spare."""
        if not self.rhyming:
            return ()
        pattern = self.form.patterns[index]
        groups = []
        for number in range(max(pattern.rhymes) + 1):
            tones = [self._lines[index][line][0][-1] for line, rhyme in enumerate(pattern.rhymes) if rhyme == number]
            enough = [self.lexicon.members[tone].sum(1) >= tones.count(tone) + 2 for tone in set(tones)]
            viable = sum(1 << int(group) for group in np.flatnonzero(np.all(enough, axis=0)))
            if not viable:
                raise UsageError("the model's vocabulary has too few rhyming characters for {form}", form=self.form.name)
            groups.append(viable)
        return tuple(groups)

    # what the text so far asks for

    def _needs(self, state: State, slot: Slot) -> frozenset[tuple[str, int]]:
        rhymes = self.rhyming and slot.column == self.form.lines[slot.line] - 1
        if not rhymes:
            return frozenset([(hypothesis.tones[slot.column], ANY) for hypothesis in state.hypotheses])
        return frozenset([(h.tones[slot.column], self._groups(h, slot.line)) for h in state.hypotheses])

    def _groups(self, hypothesis: Hypothesis, line: int) -> int:
        number = self.form.patterns[hypothesis.pattern].rhymes[line]
        return ANY if number == NO_RHYME else hypothesis.groups[number]

    def _surviving(self, hypotheses: tuple[Hypothesis, ...], slot: Slot, token: int, last: bool) -> tuple[Hypothesis, ...]:
        """The hypotheses that the token fits, with the rhyme groups that it leaves."""
        fits = self.lexicon.fits
        left = [hypothesis for hypothesis in hypotheses if fits(token, hypothesis.tones[slot.column])]
        if not last or not self.rhyming:
            return tuple(left)
        narrowed = []
        for hypothesis in left:
            number = self.form.patterns[hypothesis.pattern].rhymes[slot.line]
            if number == NO_RHYME:
                narrowed.append(hypothesis)
            elif common := hypothesis.groups[number] & self.lexicon.groups[hypothesis.tones[-1]][token]:
                narrowed.append(hypothesis._replace(groups=(*hypothesis.groups[:number], common, *hypothesis.groups[number + 1 :])))
        return tuple(narrowed)

    def _next_line(self, hypotheses: tuple[Hypothesis, ...], line: int) -> tuple[Hypothesis, ...]:
        """The ways to go on with `line`, without those that ask for the same as another."""
        ways = dict.fromkeys((hypothesis.pattern, hypothesis.groups) for hypothesis in hypotheses)
        return tuple(Hypothesis(pattern, tones, groups) for pattern, groups in ways for tones in self._lines[pattern][line])

    def _banned(self, state: State, slot: Slot) -> set[int]:
        """Tokens that would repeat a rhyme word, a line or (by choice) a character."""
        banned: set[int] = set()
        used = state.characters
        if self.repeat == "character":
            banned.update(used if self.form.kind == "shi" else used[len(used) - slot.column :])
            if slot.column == 1 or (slot.column > 1 and used[-1] != used[-2]):
                banned.discard(used[-1])  # 悠悠
        if slot.column == self.form.lines[slot.line] - 1:
            banned.update(self._rhyme_words(state, slot.line))
            if self.repeat != "none":
                banned.update(self._line_endings(state, slot))
        return banned

    def _rhyme_words(self, state: State, line: int) -> list[int]:
        """The rhyme words so far, when `line` rhymes in some hypothesis."""
        numbers = {self.form.patterns[h.pattern].rhymes[line] for h in state.hypotheses} - {NO_RHYME}
        if not numbers or not self.rhyming:
            return []
        rhymes = [self.form.patterns[h.pattern].rhymes for h in state.hypotheses]
        ends = [self._starts[index + 1] - 1 for index in range(line) if any(row[index] in numbers for row in rhymes)]
        return [state.characters[end] for end in ends]

    def _line_endings(self, state: State, slot: Slot) -> list[int]:
        """The tokens that would make this line equal to an earlier one."""
        width = slot.column + 1
        begun = state.characters[len(state.characters) - slot.column :]
        found = []
        for line in range(slot.line):
            if self.form.lines[line] == width:
                earlier = state.characters[self._starts[line] : self._starts[line + 1]]
                if earlier[:-1] == begun:
                    found.append(earlier[-1])
        return found


def _characters(text: str) -> str:
    """Given text without marks and spaces."""
    return "".join(character for character in text if character not in MARKS and not character.isspace())


def is_han(character: str) -> bool:
    """Whether this is a Chinese character (and no mark, digit or letter)."""
    return "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003ffff" or character == "〇"


def _bits(masks: list[int], count: int) -> Mask:
    """Bit masks as a table (count, V)."""
    size = (count + 7) // 8
    packed = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), dtype=np.uint8).reshape(len(masks), size)
    return np.ascontiguousarray(np.unpackbits(packed, axis=1, bitorder="little")[:, :count].T.astype(np.bool_))


def _without(mask: Mask, banned: set[int]) -> Mask:
    """The mask less the banned tokens; the whole mask where nothing else would be left."""
    left = mask.copy()
    left[list(banned)] = False
    return left if left.any() else mask
