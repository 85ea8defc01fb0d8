"""From a request to a plan: every choice made, by the person, by the prompt's words, by what is given, by custom, or by the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Media, Modality, Request
from miaobi.data.harmony import PENTATONIC, estimated_key
from miaobi.data.instruments import INSTRUMENTS, Instrument
from miaobi.data.scores import GRID, NAMES, Key, Part, Score, read
from miaobi.models.music import said
from miaobi.models.music.grammar import Rules, relative_range
from miaobi.models.music.layout import Bar, Sheet, sheet_of
from miaobi.models.music.schema import Options
from miaobi.models.music.vocabulary import METRES

_TONICS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_METRES = {  # by kind
    "reel": (2, 2), "hornpipe": (2, 2), "jig": (6, 8), "slip jig": (9, 8), "march": (4, 4), "waltz": (3, 4), "minuet": (3, 4),
    "polka": (2, 4), "strathspey": (4, 4), "quick step": (2, 4), "slide": (12, 8), "chorale": (4, 4), "air": (4, 4), "lament": (3, 4),
}  # fmt: skip
_TEMPOS = {  # quarters a minute
    "reel": 192, "hornpipe": 152, "jig": 165, "slip jig": 165, "march": 112, "waltz": 138, "minuet": 116, "polka": 120, "strathspey": 120,
    "quick step": 112, "chorale": 78, "air": 80, "lament": 60,
}  # fmt: skip
_CHOIR = ((60, 81), (55, 74), (48, 69), (38, 64))  # soprano, alto, tenor, bass
MIDDLES = {"dizi": 76, "flute": 77, "violin": 74, "erhu": 74, "xiao": 70, "oboe": 74, "clarinet": 70, "cello": 55, "glockenspiel": 86}
SLOW = 100.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided before the first note: the header's words, the rules, and what is played with it."""

    key: Key
    tempo: float
    sheet: Sheet  # without bars but those of a given beginning; its `shift` leads from sounding to relative pitches
    rules: Rules
    names: tuple[str, ...]  # of the instruments, one a part
    accompaniment: str
    companion: str  # who plays it
    title: str


def planned(request: Request) -> Plan:
    """The plan of a request.

    Raises:
        UsageError: options that contradict each other or what is given.
        DataError: what is given cannot be read.
    """
    options = _filled(Options.model_validate(dict(request.options)), request)
    given = _given(request)
    if options.harmonise and given is None:
        raise UsageError("harmonise needs a melody: give a MIDI, MusicXML or ABC file")
    return _of_given(options, request, given) if given is not None else _of_nothing(options, request)


def _filled(options: Options, request: Request) -> Options:
    """Options that were left open, from the prompt's words and then from its mood."""
    words = said.heard(request.prompt)
    open_ones = {name: value for name, value in words.items() if _is_open(options, name)}
    options = options.model_copy(update=open_ones)
    mood = {name: value for name, value in said.felt(request.prompt).items() if _is_open(options, name) and not options.kind}
    options = options.model_copy(update=mood)
    if not options.mode and said.HAN.search(request.prompt) and not options.kind:
        options = options.model_copy(update={"mode": "gong"})
    return options.model_copy(update={"title": options.title or request.prompt.strip()[:120]})


def _is_open(options: Options, name: str) -> bool:
    return bool(getattr(options, name) == Options.model_fields[name].get_default(call_default_factory=True))


def _given(request: Request) -> Score | None:
    for turn in reversed(request.turns):
        for part in turn.parts:
            if isinstance(part, Media) and part.modality == Modality.MUSIC:
                return read(part.data, part.mime).on_grid()
    return None


# ---------------------------------------------------------------------- from nothing


def _of_nothing(options: Options, request: Request) -> Plan:
    rng = np.random.default_rng((request.seed, 17))
    kind = options.kind or ("chorale" if options.parts == 4 else "")
    num_parts = options.parts or (4 if kind == "chorale" else 1)
    mode = options.mode or ("minor" if kind == "lament" else "major")
    kind = kind or ("air" if mode in PENTATONIC else "")
    metre = _metre(options.metre) if options.metre else _METRES.get(kind, (4, 4))
    tempo = options.tempo or float(_TEMPOS.get(kind, 104))
    names, companion, accompaniment = _players(options, mode, num_parts, tempo)
    key, shift = _key(options, mode, names, rng)
    upbeat = {"none": 0, "beat": _beat(metre), "auto": None}[options.upbeat]
    sheet = Sheet(mode=mode, metre=metre, kind=kind, tempo=tempo, instruments=names, bars=(), shift=shift)
    rules = Rules(
        mode=mode,
        metre=metre,
        bars=options.bars,
        ranges=_ranges(names, shift),
        upbeat=upbeat,
        strict=_strict(options),
        periods=options.form == "periods" or (options.form == "auto" and num_parts == 1),
    )
    return Plan(
        key=key, tempo=tempo, sheet=sheet, rules=rules, names=names, accompaniment=accompaniment, companion=companion, title=options.title
    )


def _players(options: Options, mode: str, num_parts: int, tempo: float) -> tuple[tuple[str, ...], str, str]:
    """The instruments of the parts, who accompanies, and how; "" is nobody."""
    wanted = tuple(options.instruments)
    if num_parts > 1:
        names = wanted or ("choir",)
        return (*names, *[names[-1]] * num_parts)[:num_parts], "", "none"
    chinese = mode in PENTATONIC
    lead = wanted[0] if wanted else ("erhu" if tempo < 80 else "dizi") if chinese else ("flute" if tempo < SLOW else "violin")
    accompaniment = options.accompaniment
    if not accompaniment:
        alone = len(wanted) == 1
        accompaniment = "none" if alone else "arpeggio" if tempo < SLOW or chinese else "chords"
    companion = wanted[1] if len(wanted) > 1 else "guzheng" if chinese else "harp" if tempo < SLOW else "guitar"
    return (lead,), companion if accompaniment != "none" else "", accompaniment


def _key(options: Options, mode: str, names: Sequence[str], rng: np.random.Generator) -> tuple[Key, int]:
    """The tonic and the shift; one that nobody asked for is drawn among those that lie well."""
    tonic = tonic_of(options.key) if options.key else int(rng.choice([0, 2, 5, 7, 9]))
    lead = INSTRUMENTS[names[0]]
    target = 69 if len(names) > 1 else MIDDLES.get(lead.name, min(76, (lead.low + lead.high) // 2))
    # relative melodies lie around 70: the octave that brings them nearest to where the instrument sounds best
    shift = min((-tonic + 12 * octave for octave in range(-4, 5)), key=lambda shift: abs(70 - shift - target))
    return Key(tonic=tonic, mode=mode), shift


def tonic_of(name: str) -> int:
    """0 to 11 for C to B."""
    return (_TONICS[name[0]] + name.count("#") - name[1:].count("b")) % 12


def _ranges(names: Sequence[str], shift: int) -> tuple[tuple[int, int], ...]:
    players: list[Instrument] = [INSTRUMENTS[name] for name in names]
    if len(players) == 1:
        return (relative_range(players[0].low, players[0].high, shift),)
    voices = []
    for (low, high), player in zip(_CHOIR, players):
        first, last = max(low, player.low), min(high, player.high)
        voices.append(relative_range(*((first, last) if last - first >= 12 else (low, high)), shift))
    return tuple(voices)


def _beat(metre: tuple[int, int]) -> int:
    return GRID // 2 if metre[1] == 8 else GRID


def _metre(text: str) -> tuple[int, int]:
    beats, _, unit = text.partition("/")
    return int(beats), int(unit)


def _strict(options: Options) -> bool:
    return options.accidentals != "free"


# ---------------------------------------------------------------------- from something given


def _of_given(options: Options, request: Request, score: Score) -> Plan:
    """A beginning to go on from, or a melody to be set for four parts."""
    from miaobi.data.steps.score import Tidy, one_at_a_time, tidied

    melody = next((part for part in score.parts if not part.drums), None)
    if melody is None:
        raise DataError("what is given has drums alone; a melody is needed")
    alone = replace(score, parts=(Part(notes=one_at_a_time(melody.notes), name=melody.name, program=melody.program),), chords=())
    asked = Key(tonic=tonic_of(options.key), mode=options.mode or (score.key.mode if score.key else "major")) if options.key else None
    alone = replace(alone, key=asked or score.key or estimated_key(alone))
    if options.mode and alone.key is not None:
        alone = replace(alone, key=Key(tonic=alone.key.tonic, mode=options.mode))
    tidy = tidied(alone, Tidy(least_bars=1))
    if not isinstance(tidy, Score):
        raise DataError("the melody that is given cannot be used: {reason}", reason=tidy.reason.replace("_", " "))
    if tidy.metre not in METRES:
        raise DataError("music in {beats}/{unit} is not known to the model", beats=tidy.metre[0], unit=tidy.metre[1])
    sheet = sheet_of(tidy)
    assert tidy.key is not None
    return _harmony(options, sheet, tidy) if options.harmonise else _continuation(options, sheet, tidy)


def _harmony(options: Options, sheet: Sheet, score: Score) -> Plan:
    names = _players(options, sheet.mode, 4, 0.0)[0]
    shift = sheet.shift
    rules = Rules(
        mode=sheet.mode,
        metre=sheet.metre,
        bars=_full(sheet.bars),
        ranges=_ranges(names, shift),
        upbeat=_upbeat(sheet),
        strict=_strict(options),
        given=tuple(bar.parts[0] for bar in sheet.bars),
    )
    tempo = options.tempo or (score.tempo if score.tempos else float(_TEMPOS["chorale"]))
    sheet = replace(sheet, kind="chorale", tempo=tempo, instruments=names, bars=())
    return _with(options, score, sheet, rules, tempo, names, "none", "")


def _continuation(options: Options, sheet: Sheet, score: Score) -> Plan:
    full = _full(sheet.bars)
    if full >= options.bars:
        raise UsageError("the beginning has {given} bars already; ask for more than that (bars: {bars})", given=full, bars=options.bars)
    kind = options.kind or sheet.kind
    tempo = options.tempo or (score.tempo if score.tempos else float(_TEMPOS.get(kind, 104)))
    lead = options.instruments[0] if options.instruments else sheet.instruments[0]
    chosen = options if options.accompaniment or len(options.instruments) > 1 else options.model_copy(update={"accompaniment": "none"})
    names, companion, accompaniment = _players(
        chosen.model_copy(update={"instruments": [lead, *options.instruments[1:]]}), sheet.mode, 1, tempo
    )
    low, high = _ranges(names, sheet.shift)[0]
    pitches = [event.pitch for bar in sheet.bars for event in bar.parts[0] if event.pitch is not None]
    rules = Rules(
        mode=sheet.mode,
        metre=sheet.metre,
        bars=options.bars,
        ranges=((min(low, *pitches), max(high, *pitches)),) if pitches else ((low, high),),
        upbeat=_upbeat(sheet),
        strict=_strict(options),
    )
    sheet = replace(sheet, kind=kind, tempo=tempo, instruments=names)
    return _with(options, score, sheet, rules, tempo, names, accompaniment, companion)


def _with(
    options: Options, score: Score, sheet: Sheet, rules: Rules, tempo: float, names: Sequence[str], accompaniment: str, companion: str
) -> Plan:
    assert score.key is not None
    title = options.title or score.title
    return Plan(
        key=score.key,
        tempo=tempo,
        sheet=sheet,
        rules=rules,
        names=tuple(names),
        accompaniment=accompaniment,
        companion=companion,
        title=title,
    )


def _full(bars: Sequence[Bar]) -> int:
    return sum(not bar.offset for bar in bars)


def _upbeat(sheet: Sheet) -> int:
    return sheet.bar_ticks - sheet.bars[0].offset if sheet.bars and sheet.bars[0].offset else 0


def described(plan: Plan) -> dict[str, Any]:
    """The plan in a label's words."""
    return {
        "key": f"{NAMES[plan.key.tonic]} {plan.key.mode}",
        "metre": "{}/{}".format(*plan.sheet.metre),
        "kind": plan.sheet.kind,
        "tempo": plan.tempo,
        "bars": plan.rules.bars,
        "instruments": [*plan.names, *([plan.companion] if plan.companion else [])],
        "accompaniment": plan.accompaniment,
    }
