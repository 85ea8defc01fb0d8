"""The instruments of the house: what plays, in which range, and where it sits in General MIDI. Standard library only.

Ranges are what sounds well and not the longest that can be reached. Chinese instruments have the programs of their nearest kin in General
MIDI, so that a file made here sounds alike in any player.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """`low` to `high` are MIDI pitches; `sound` says whether the soundfont has it or which synthesis makes it."""

    name: str
    chinese: str
    program: int
    low: int
    high: int
    sound: str = "font"  # font, plucked, bowed, blown


INSTRUMENTS: dict[str, Instrument] = {
    instrument.name: instrument
    for instrument in (
        Instrument(name="piano", chinese="钢琴", program=0, low=28, high=96),
        Instrument(name="glockenspiel", chinese="钟琴", program=9, low=72, high=103),
        Instrument(name="organ", chinese="管风琴", program=19, low=36, high=91),
        Instrument(name="guitar", chinese="吉他", program=24, low=40, high=83),
        Instrument(name="violin", chinese="小提琴", program=40, low=55, high=93),
        Instrument(name="cello", chinese="大提琴", program=42, low=36, high=76),
        Instrument(name="harp", chinese="竖琴", program=46, low=31, high=96),
        Instrument(name="strings", chinese="弦乐", program=48, low=36, high=88),
        Instrument(name="choir", chinese="合唱", program=52, low=38, high=84),
        Instrument(name="oboe", chinese="双簧管", program=68, low=58, high=89),
        Instrument(name="clarinet", chinese="单簧管", program=71, low=50, high=88),
        Instrument(name="flute", chinese="长笛", program=73, low=60, high=96),
        Instrument(name="dizi", chinese="笛子", program=72, low=62, high=93, sound="blown"),
        Instrument(name="xiao", chinese="箫", program=77, low=55, high=84, sound="blown"),
        Instrument(name="pipa", chinese="琵琶", program=106, low=45, high=88, sound="plucked"),
        Instrument(name="guzheng", chinese="古筝", program=107, low=38, high=86, sound="plucked"),
        Instrument(name="erhu", chinese="二胡", program=110, low=62, high=91, sound="bowed"),
    )
}
_NEAREST = (  # for programs that nobody here plays: the first program of a group, and who stands in
    (0, "piano"), (8, "glockenspiel"), (16, "organ"), (24, "guitar"), (32, "cello"), (40, "violin"), (41, "violin"), (42, "cello"),
    (43, "cello"), (44, "strings"), (45, "harp"), (47, "cello"), (48, "strings"), (52, "choir"), (55, "strings"), (56, "oboe"),
    (57, "cello"), (58, "cello"), (59, "oboe"), (64, "clarinet"), (68, "oboe"), (70, "cello"), (71, "clarinet"), (72, "flute"),
    (80, "clarinet"), (88, "strings"), (96, "strings"), (104, "pipa"), (107, "guzheng"), (108, "glockenspiel"), (109, "oboe"),
    (110, "erhu"), (111, "oboe"), (112, "glockenspiel"),
)  # fmt: skip


def by_program(program: int) -> Instrument:
    """Who plays a General MIDI program: the instrument itself, or its nearest kin."""
    for instrument in INSTRUMENTS.values():
        if instrument.program == program:
            return instrument
    name = next(name for first, name in reversed(_NEAREST) if first <= program)
    return INSTRUMENTS[name]
