"""Subtitles: cues from the times of words, lines broken as Chinese and English ask for it, SRT and WebVTT in and out.

Where a cue ends and a line breaks is found by dynamic programming over all places (Knuth & Plass 1981, for subtitles): the cheapest way, in
which ends of sentences and clauses cost little, places inside a clause more, and ragged or crowded cues most.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miaobi.core.errors import DataError

SUFFIXES = {".srt": "application/x-subrip", ".vtt": "text/vtt"}
COLUMNS = {"zh": 36, "en": 42}  # half-width columns of a line: 18 Chinese characters, or 42 letters
SHORTEST, LONGEST, LINGER = 0.8, 7.0, 0.4  # seconds that a cue lasts at least and at most, and may stay on after its last word
ENDS, CLAUSES = frozenset("。！？!?…."), frozenset("，、；：,;:—")
_NO_START = frozenset("，。、；：！？…—·）】》」』”’,.;:!?)]}%％℃°")  # never first in a line (kinsoku)
_NO_END = frozenset("（【《「『“‘([{$￥¥€£")  # never last
_STAMP = re.compile(r"(?:(\d{1,3}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})")
_TIMES = re.compile(rf"^\s*({_STAMP.pattern})\s*-->\s*({_STAMP.pattern})(?:\s.*)?$")
_TAG = re.compile(r"</?(?:[ibuc]|v|lang|ruby|rt|font)(?:[.\s][^<>]*)?>|\{\\[^{}]*\}|<[\d:.]+>")
_FAR = 1e9
Timed = tuple[str, float, float]  # a word, when it begins and ends


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start` to `end` seconds; `text` may have several lines."""

    start: float
    end: float
    text: str


# ---------------------------------------------------------------- files


def parse(source: str) -> list[Cue]:
    """The cues of SRT or WebVTT, in the order of time; styles, notes, positions and tags are left out.

    Raises:
        DataError: no cue in it, or times that are none or run backwards, with the number of the line.
    """
    lines = source.removeprefix("\ufeff").splitlines()
    cues = []
    for number, line in enumerate(lines, 1):
        if "-->" not in line:
            continue
        start, end = _times(line, number)
        cues.append(Cue(start, end, "\n".join(_shown(lines[number:]))))
    found = [cue for cue in cues if cue.text]
    if not found:
        raise DataError("there are no subtitles in it: no line of times such as 00:00:01,000 --> 00:00:02,500 with text below")
    return sorted(found, key=lambda cue: cue.start)


def _shown(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a cue's text: up to an empty one."""
    for line in lines:
        if not line.strip() or "-->" in line:
            return
        yield html.unescape(_TAG.sub("", line)).strip()


def _times(line: str, number: int) -> tuple[float, float]:
    found = _TIMES.match(line)
    if not found:
        raise DataError(
            "line {number}: '{line}' holds no two times such as 00:00:01,000 --> 00:00:02,500", number=number, line=line.strip()
        )
    start, end = _seconds(found.groups()[1:5]), _seconds(found.groups()[6:10])
    if end <= start:
        raise DataError("line {number}: the subtitle ends before it begins: '{line}'", number=number, line=line.strip())
    return start, end


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((fraction or "0").ljust(3, "0")) / 1000


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip, numbered from 1."""
    return "\n".join(f"{number}\n{_stamp(cue, ',')}\n{_plain(cue.text)}\n" for number, cue in enumerate(cues, 1))


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT, as browsers want it in `<track>`."""
    blocks = (f"{_stamp(cue, '.')}\n{html.escape(_plain(cue.text), quote=False)}\n" for cue in cues)
    return "\n".join(["WEBVTT\n", *blocks])


def _plain(text: str) -> str:
    """Lines without empty ones among them, which would end the cue."""
    return "\n".join(line.replace("-->", "→") for line in text.splitlines() if line.strip())


def _stamp(cue: Cue, point: str) -> str:
    return " --> ".join(_clock(seconds, point) for seconds in (cue.start, cue.end))


def _clock(seconds: float, point: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


# ---------------------------------------------------------------- from words to cues


def of_notes(notes: Mapping[str, Any], *, columns: int = 0, lines: int = 2, longest: float = LONGEST) -> list[Cue]:
    """The cues of a sound that was spoken or recognised, from the `sentences` and `words` in the notes of its label.

    Raises:
        DataError: the notes hold no times.
    """
    sentences: list[Timed] = [(str(text), float(start), float(end)) for text, start, end in notes.get("sentences", ())]
    words: list[Timed] = [(str(text), float(start), float(end)) for text, start, end in notes.get("words", ())]
    if not sentences:
        raise DataError("the label holds no times of sentences, so there is nothing to make subtitles of")
    cues, place = [], 0
    for number, (text, start, end) in enumerate(sentences):
        until = sentences[number + 1][1] if number + 1 < len(sentences) else _FAR
        own = []
        while place < len(words) and words[place][1] < until - 1e-6:
            own.append(words[place])
            place += 1
        cues += of_words(own or _evenly(text, start, end), text, columns=columns, lines=lines, longest=longest)
    return _unhurried(cues)


def of_words(words: Sequence[Timed], text: str, *, columns: int = 0, lines: int = 2, longest: float = LONGEST) -> list[Cue]:
    """Cues of a text whose words have times; each holds at most `lines` lines of `columns` (0: by the language) and `longest` seconds.

    Words that do not stand in the text where they should are skipped; what stands between words goes to the cue of the word before it.
    """
    width = columns or COLUMNS[_language(text)]
    placed = _placed(words, text)
    if not placed:
        return []
    ends = _cuts(placed, text, room=width * lines, longest=longest)
    cues = []
    for first, last in zip([0, *ends[:-1]], ends):
        begin = 0 if first == 0 else placed[first][0]
        shown = text[begin : placed[last][0] if last < len(placed) else len(text)].strip()
        breaks = {at - begin for at, _, _ in placed[first:last]}
        broken = break_lines(shown, columns=width, lines=lines, words=breaks)
        cues.append(Cue(placed[first][1], placed[last - 1][2], "\n".join(broken)))
    return cues


def _placed(words: Sequence[Timed], text: str) -> list[tuple[int, float, float]]:
    """Where each word stands in the text, and its times."""
    found, after = [], 0
    for word, start, end in words:
        at = text.find(word, after)
        if at >= 0:
            found.append((at, start, max(start, end)))
            after = at + len(word)
    return found


def _cuts(placed: Sequence[tuple[int, float, float]], text: str, *, room: int, longest: float) -> list[int]:
    """The numbers of words behind which a cue ends, the last one included: the cheapest way through."""
    count = len(placed)
    best, previous = [0.0] + [_FAR * count] * count, [0] * (count + 1)
    stops = [*(at for at, _, _ in placed[1:]), len(text)]
    for end in range(1, count + 1):
        for start in range(end - 1, -1, -1):
            begin = 0 if start == 0 else placed[start][0]
            size, seconds = width_of(text[begin : stops[end - 1]].strip()), placed[end - 1][2] - placed[start][1]
            over = size > room or seconds > longest
            if over and start < end - 1:
                break
            cost = best[start] + _cost(text[: stops[end - 1]].rstrip()[-1:], size / room) + (_FAR if over else 0)
            if cost < best[end]:
                best[end], previous[end] = cost, start
    ends = [count]
    while previous[ends[-1]]:
        ends.append(previous[ends[-1]])
    return ends[::-1]


def _cost(last: str, filled: float) -> float:
    """What it costs to end a cue behind this letter, and that it is this full: many short cues flicker, full ones are hard to read."""
    where = 0.0 if last in ENDS else 0.15 if last in CLAUSES else 1.2
    return where + (1 - min(filled, 1.0)) ** 2


def _evenly(text: str, start: float, end: float) -> list[Timed]:
    """Words of a sentence whose own times are not known, spread over its time by their width."""
    units = [unit for unit in _units(text) if unit.strip()]
    total = sum(map(width_of, units)) or 1
    found, so_far = [], 0
    for unit in units:
        begin, so_far = so_far, so_far + width_of(unit)
        found.append((unit.strip(), start + (end - start) * begin / total, start + (end - start) * so_far / total))
    return found


def _unhurried(cues: Sequence[Cue]) -> list[Cue]:
    """Each cue stays a little longer where the next one leaves room."""
    found = []
    for number, cue in enumerate(cues):
        until = cues[number + 1].start if number + 1 < len(cues) else _FAR
        end = min(until, max(cue.end + LINGER, cue.start + SHORTEST))
        found.append(Cue(cue.start, round(max(end, cue.start + 0.05), 3), cue.text))
    return found


# ---------------------------------------------------------------- lines


def width_of(text: str) -> int:
    """Half-width columns: a Chinese character takes two."""
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def break_lines(text: str, *, columns: int = 0, lines: int = 0, words: Iterable[int] = ()) -> list[str]:
    """Lines of at most `columns` columns, of even length, broken where it hurts least.

    No line begins with a comma or ends with an opening bracket, no English word or number is split unless it alone is too long, and where
    `words` gives the places at which words begin, Chinese words are not split either. With `lines`, at most so many; columns then give way.
    """
    text = " ".join(text.split())
    room = columns or COLUMNS[_language(text)]
    if width_of(text) <= room:
        return [text] if text else []
    units = list(_units(text))
    count = -(-width_of(text) // room)
    if lines and count > lines:
        count, room = lines, -(-width_of(text) // lines) + 2
    starts, at = set(words), 0
    free = []  # whether a word begins behind the unit
    for unit in units:
        at += len(unit)
        free.append(not starts or at in starts or unit.endswith(" ") or unit[-1] in CLAUSES | ENDS)
    return _best(units, free, room=room, wanted=width_of(text) / count, most=lines)


def _best(units: Sequence[str], free: Sequence[bool], *, room: int, wanted: float, most: int) -> list[str]:
    """Units joined to lines: the squared distance from the wanted width, and what each break costs, summed."""
    best, previous = [0.0] + [_FAR * len(units)] * len(units), [0] * (len(units) + 1)
    for end in range(1, len(units) + 1):
        for start in range(end - 1, -1, -1):
            line = "".join(units[start:end]).strip()
            size = width_of(line)
            if size > room and start < end - 1:
                break
            cost = best[start] + ((size - wanted) / room) ** 2 + (_break_cost(line, free[end - 1]) if end < len(units) else 0)
            if cost < best[end]:
                best[end], previous[end] = cost, start
    lines, end = [], len(units)
    while end:
        lines.append("".join(units[previous[end] : end]).strip())
        end = previous[end]
    return lines[::-1]


def _break_cost(line: str, free: bool) -> float:
    """What it costs to end a line here."""
    if line[-1:] in CLAUSES | ENDS:
        return 0.0
    return 0.15 if free else 1.0


def _units(text: str) -> Iterator[str]:
    """What a line may not break inside: an English word with its space, a Chinese character, each with the marks that cling to it."""
    unit = ""
    for letter in text:
        wide = width_of(letter) == 2
        clings = letter in _NO_START or unit[-1:] in _NO_END or (not wide and unit and not unit.endswith(" ") and width_of(unit[-1]) == 1)
        if unit and not clings and letter != " ":
            yield unit
            unit = ""
        unit += letter
    if unit:
        yield unit


def _language(text: str) -> str:
    return "zh" if any("\u3400" <= letter <= "\u9fff" for letter in text) else "en"
