"""Judge a poem by the rules of its form: lines, rhyme, tones, repetitions, each fault named for people.

A poem is read in the way that suits it best: of a form's shapes and patterns the one with the fewest faults counts, and a polyphone
has any of its readings. The first line of a shi may borrow its rhyme from a neighbouring group (借韵), as Song poets did, and a shi that
rhymes in 仄 (古绝) rhymes, though its tones will not be regular. A ci may part its sentences otherwise than the pattern (句读) as long as
each rhyme stands where it should.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from miaobi.core.language import tr
from miaobi.models.verse import forms, prosody
from miaobi.models.verse.forms import Form, Pattern, Tone

PARTING = re.compile(r"[，。！？；：、,.!?;:\s“”‘’《》「」『』]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a poem keeps of its form's rules. Shares are over the positions whose tone the pattern fixes; a wrong shape has share 0."""

    form: str
    pattern: str = ""  # 仄起首句入韵, or the tune
    form_ok: bool = False
    rhyme_ok: bool = False
    rhyme_share: float = 0.0  # of the lines that should rhyme
    rhymes: tuple[str, ...] = ()  # the groups that the rhymes are in
    tone_share: float = 0.0  # strict
    tone_share_loose: float = 0.0
    repeated_lines: tuple[str, ...] = ()
    repeated_characters: tuple[str, ...] = ()  # 悠悠 does not count
    violations: tuple[str, ...] = field(default=(), repr=False)

    @property
    def regular(self) -> bool:
        """Whether form, rhyme and (loose) tones are all as they should be."""
        return self.form_ok and self.rhyme_ok and self.tone_share_loose == 1.0


@dataclass(frozen=True, slots=True)
class _Judgement:
    """One way of reading a poem: a pattern and what it finds wrong. Lower `cost` reads better."""

    pattern: Pattern
    rhyme_faults: tuple[str, ...]
    rhymes: tuple[str, ...]
    loose: tuple[str, ...]  # the faults against the loose rules
    strict_share: float
    loose_share: float

    @property
    def cost(self) -> tuple[int, int, float]:
        return (len(self.rhyme_faults) + len(self.loose), len(self.rhyme_faults), -self.strict_share)


def check(text: str, form: str | Form, *, rhyme: str = "pingshui") -> Report:
    """Judge `text` as a poem of `form` (a name: any shape of the tune will do).

    `rhyme` is `pingshui`, `xinyun` or `none`; the last takes its tones from the 平水韵.
    """
    shapes = (form,) if isinstance(form, Form) else forms.variants(form)
    lines = split_lines(text)
    fitting = [(shape, parted) for shape in shapes for parted in [_part(lines, shape)] if parted is not None]
    if not fitting:
        twice, again = _repeats(lines, shapes[0])
        wrong = _wrong_shape(lines, shapes[0])
        return Report(form=shapes[0].name, violations=(wrong,), repeated_lines=twice, repeated_characters=again)
    judged = [(judgement, shape) for shape, parted in fitting for judgement in _judgements(parted, shape, rhyme)]
    best, shape = min(judged, key=lambda pair: pair[0].cost)
    twice, again = _repeats(lines, shape)
    return Report(
        form=shape.name,
        pattern=best.pattern.name,
        form_ok=True,
        rhyme_ok=not best.rhyme_faults,
        rhyme_share=1 - len(best.rhyme_faults) / max(1, sum(rhyme != forms.NO_RHYME for rhyme in best.pattern.rhymes)),
        rhymes=best.rhymes,
        tone_share=best.strict_share,
        tone_share_loose=best.loose_share,
        repeated_lines=twice,
        repeated_characters=again,
        violations=(*best.rhyme_faults, *best.loose, *(tr("the line {line} comes twice", line=line) for line in twice)),
    )


def guess_form(text: str) -> str | None:
    """The form whose lines the text has, or None; of several (生查子 has the lines of 五律) the one whose rules it keeps best."""
    lengths = tuple(map(len, split_lines(text)))
    names = [name for name in forms.names() if any(shape.lines == lengths for shape in forms.variants(name))]
    if len(names) < 2:
        return names[0] if names else None
    reports = {name: check(text, name) for name in names}
    return max(names, key=lambda name: (reports[name].rhyme_ok, reports[name].tone_share_loose))


def split_lines(text: str) -> list[str]:
    """The lines (句) of a poem, without marks.

    >>> split_lines("床前明月光，疑是地上霜。")
    ['床前明月光', '疑是地上霜']
    """
    return [line for line in PARTING.split(text) if line]


def _part(lines: Sequence[str], form: Form) -> list[str] | None:
    """The lines as the form parts them, or None when they have another shape."""
    if tuple(map(len, lines)) == form.lines:
        return list(lines)
    if form.kind == "shi" or sum(map(len, lines)) != form.characters:
        return None
    given, wanted = _ends(map(len, lines)), _ends(form.lines)
    if not {wanted[line] for line in form.rhyming} <= set(given):
        return None
    text = "".join(lines)
    return [text[end - length : end] for end, length in zip(wanted, form.lines)]


def _ends(lengths: Iterator[int] | Sequence[int]) -> list[int]:
    total, ends = 0, []
    for length in lengths:
        total += length
        ends.append(total)
    return ends


def _wrong_shape(lines: Sequence[str], form: Form) -> str:
    counts, wanted = "+".join(str(len(line)) for line in lines), "+".join(map(str, form.lines))
    return tr("{form} has lines of {wanted} characters, this text of {counts}", form=form.name, wanted=wanted, counts=counts or "0")


def _judgements(lines: Sequence[str], form: Form, rhyme: str) -> Iterator[_Judgement]:
    """One judgement for each pattern of the form."""
    book = prosody.book_for(form.kind, rhyme)
    tones = book or prosody.book("pingshui")
    for pattern in form.patterns:
        faults, groups = _judge_rhymes(lines, form, pattern, book) if book else ((), ())
        loose, loose_share = _judge_tones(lines, pattern, "loose", tones)
        _, strict_share = _judge_tones(lines, pattern, "strict", tones)
        yield _Judgement(pattern, faults, groups, loose, strict_share, loose_share)


def _judge_tones(lines: Sequence[str], pattern: Pattern, tone: Tone, book: prosody.Book) -> tuple[tuple[str, ...], float]:
    """The faults and the share of fixed positions that are right, each line read by the tone string that suits it best."""
    faults, fixed = [], 0
    for index, line in enumerate(lines):
        readings = [(_wrong_tones(line, tones, book), tones) for tones in pattern.line(index, tone)]
        wrong, tones = min(readings, key=lambda reading: len(reading[0]))
        fixed += len(tones) - tones.count(prosody.FREE)
        for column in wrong:
            faults.append(
                tr(
                    "line {line}, character {column}: {character} should be {tone}",
                    line=index + 1,
                    column=column + 1,
                    character=line[column],
                    tone=tones[column],
                )
            )
    return tuple(faults), 1.0 - len(faults) / max(1, fixed)


def _wrong_tones(line: str, tones: str, book: prosody.Book) -> list[int]:
    """The columns whose character has no reading of the wanted tone; unknown characters pass."""
    sounds = map(book.sound, line)
    return [column for column, (sound, tone) in enumerate(zip(sounds, tones)) if sound and not sound.fits(tone, rare=True)]


def _judge_rhymes(lines: Sequence[str], form: Form, pattern: Pattern, book: prosody.Book) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The faults of all rhymes of a pattern, and the groups that they are in."""
    faults: list[str] = []
    names: list[str] = []
    for number in range(max(pattern.rhymes) + 1):
        rhyming = [index for index, rhyme in enumerate(pattern.rhymes) if rhyme == number]
        wanted = {index: pattern.strict[index][0][-1] for index in rhyming}
        if form.kind == "shi" and not any(_groups(book, lines[index], prosody.LEVEL) for index in rhyming):
            wanted = dict.fromkeys(rhyming, prosody.OBLIQUE)  # 古绝 and other shi that rhyme in 仄
        groups = [_groups(book, lines[index], wanted[index]) for index in rhyming]
        shared = _most_shared(groups)
        group = "".join(book.names(shared)) or "–"
        names.append(group)
        wrong = [index for index, mask in zip(rhyming, groups) if not mask & shared]
        if wrong and not _tolerated(lines, form, rhyming, wrong, wanted, book):
            for index in wrong:
                faults.append(
                    tr("line {line}: {character} does not rhyme ({group})", line=index + 1, character=lines[index][-1], group=group)
                )
    return tuple(faults), tuple(names)


def _tolerated(
    lines: Sequence[str], form: Form, rhyming: Sequence[int], wrong: Sequence[int], wanted: dict[int, str], book: prosody.Book
) -> bool:
    """Whether custom lets the rhyme stand: 借韵 in the first line of a shi, or a ci that rhymes as a shi would (回 and 来, both 灰)."""
    if book.name == "xinyun" or (book.name == "pingshui" and list(wrong) != [0]):
        return False
    other = prosody.book("cilin" if book.name == "pingshui" else "pingshui")
    groups = [_groups(other, lines[index], wanted[index]) for index in rhyming]
    shared = _most_shared(groups)
    return all(mask & shared for mask in groups)


def _groups(book: prosody.Book, line: str, tone: str) -> int:
    """The groups of a line's last character under a tone, as a mask."""
    sound = book.sound(line[-1])
    return sound.groups(tone, rare=True) if sound else 0


def _most_shared(groups: Sequence[int]) -> int:
    """The group that most of the characters are in, as a mask; 0 when none is in any."""
    counts = Counter(bit for mask in groups for bit in range(mask.bit_length()) if mask >> bit & 1)
    return 1 << max(counts, key=lambda bit: counts[bit]) if counts else 0


def _repeats(lines: Sequence[str], form: Form) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines and the characters that come twice, beside what the form itself repeats."""
    echoed = {lines[index] for index in form.echoes if index < len(lines)}
    joined = "".join(lines)
    singles = Counter(character for index, character in enumerate(joined) if index == 0 or joined[index - 1] != character)
    twice = tuple(line for line, count in Counter(lines).items() if count > 1 and line not in echoed)
    return twice, tuple(character for character, count in singles.items() if count > 1)
