"""When which words are shown: a narration cut into phrases, each for as long as it is heard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from miaobi.apps.common.timeline import Cue

LONGEST = 20  # letters of a Chinese phrase, about four words of English count as many; more would fill the frame
_SENTENCE = re.compile(r"[^。！？；…\n.!?;]*(?:[。！？；…\n]|[.!?;](?=\s|$)|$)[”’」』）)\"']*")
_CLAUSE = re.compile(r"[^，、：,:—]*(?:[，、：—]|[,:](?=\s|$)|$)[”’」』）)\"']*")


def phrases(text: str, *, longest: float = LONGEST) -> list[str]:
    """The text in sentences, and long sentences at their commas.

    >>> phrases("海上生明月，天涯共此时。情人怨遥夜，竟夕起相思。")
    ['海上生明月，天涯共此时。', '情人怨遥夜，竟夕起相思。']
    """
    found: list[str] = []
    for sentence in _SENTENCE.findall(text):
        line = ""
        for clause in _CLAUSE.findall(sentence):
            if line and weight(line + clause) > longest:
                found.append(line)
                line = ""
            line += clause
        found.append(line)
    return [phrase for phrase in map(str.strip, found) if phrase]


def weight(text: str) -> float:
    """How long a text takes to read, in Chinese characters; a Latin letter is a third of one, a stop a pause."""
    return sum(1.0 if ord(letter) > 0x2E7F else 0.0 if letter.isspace() else 0.35 for letter in text)


def timed(text: str, *, start: float, seconds: float, times: Sequence[tuple[str, float, float]] = ()) -> list[Cue]:
    """A cue for each phrase of a narration that is heard from `start` on.

    With the times of its words a phrase begins with its first word; without them every phrase gets time in proportion to its length.
    """
    lines = phrases(text)
    if not lines:
        return []
    starts = _by_words(text, lines, times) or _by_length(lines, seconds)
    ends = [*starts[1:], seconds]
    return [
        Cue(start=round(start + begin, 3), end=round(start + end, 3), text=line)
        for line, begin, end in zip(lines, starts, ends)
        if end - begin > 0.02
    ]


def _by_length(lines: Sequence[str], seconds: float) -> list[float]:
    weights = [weight(line) + 0.5 for line in lines]
    return [seconds * sum(weights[:number]) / sum(weights) for number in range(len(lines))]


def _by_words(text: str, lines: Sequence[str], times: Sequence[tuple[str, float, float]]) -> list[float]:
    """The start of the word that each line begins with: words and lines are both walked through the text's letters."""
    places, at = [], 0
    for word, begin, _ in times:
        found = text.find(word, at)
        if found < 0:
            continue
        places.append((found, begin))
        at = found + len(word)
    if not places:
        return []
    starts, at = [], 0
    for line in lines:
        at = text.find(line, at)
        starts.append(next((begin for place, begin in places if place >= at), places[-1][1]))
        at += len(line)
    return [0.0, *starts[1:]]
