"""Scores to token ids and back, and batches of them.

In training, what a person may leave open is sometimes left open (kind, tempo), instruments are drawn by lot where they can play the notes,
and some melodies are folded into a pentatonic mode, of which the corpora have few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality, Record
from miaobi.data.harmony import PARENTS, folded
from miaobi.data.instruments import INSTRUMENTS
from miaobi.data.scores import Score, read_midi
from miaobi.models.music.layout import Bar, Event, Sheet, sheet_of
from miaobi.models.music.vocabulary import MOST_BARS, id_of, tempo_class, words

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

PAD, BEGIN, END = 0, 1, 2


class MusicCodec:
    """Tokens of records with one score. Picklable, no weights, no state but its settings."""

    def __init__(self, *, context: int, fold: float = 0.0) -> None:
        self.context = context
        self.fold = fold  # the share of melodies that training folds into a pentatonic mode

    @property
    def vocab_size(self) -> int:
        """Ids that there are."""
        return len(words())

    def header(self, sheet: Sheet) -> list[int]:
        """What stands before the bars."""
        return [
            BEGIN,
            id_of("kind", sheet.kind or "any"),
            id_of("mode", sheet.mode),
            id_of("metre", "{}/{}".format(*sheet.metre)),
            id_of("tempo", tempo_class(sheet.tempo) if sheet.tempo else "any"),
            *(id_of("instrument", name) for name in sheet.instruments),
        ]

    def bars(self, sheet: Sheet, *, total: int | None = None) -> list[list[int]]:
        """The tokens of each bar; `total` full bars are counted down from where the sheet is only a beginning."""
        full = total or sum(not bar.offset for bar in sheet.bars)
        counts = [0 if bar.offset else min(MOST_BARS, full - place + bool(sheet.bars[0].offset)) for place, bar in enumerate(sheet.bars)]
        return [[id_of("bar", left), *bar_tokens(bar)] for left, bar in zip(counts, sheet.bars)]

    def tokens(self, sheet: Sheet) -> list[int]:
        """The whole piece between its marks."""
        return [*self.header(sheet), *(token for bar in self.bars(sheet) for token in bar), END]

    def document(self, record: Record, *, rng: Generator | None = None) -> list[int]:
        """The tokens of a record, at most context + 1: of a longer piece a stretch of whole bars from where `rng` says, or the first."""
        sheet = sheet_of(_score(record, rng, self.fold))
        if rng is not None:
            sheet = _varied(sheet, rng)
        header, bars = self.header(sheet), self.bars(sheet)
        room = self.context + 1 - len(header)
        lengths = [len(bar) for bar in bars]
        if sum(lengths) + 1 <= room:
            return [*header, *(token for bar in bars for token in bar), END]
        last = max((first for first in range(len(bars)) if sum(lengths[first:]) + 1 >= room), default=0)
        first = int(rng.integers(last + 1)) if rng is not None else 0
        body = [token for bar in bars[first:] for token in bar]
        return ([*header, *body, END])[: self.context + 1]

    def length(self, record: Record, /) -> int:
        """Roughly how many tokens: a note is eight bytes of MIDI and two words and a little."""
        return min(self.context, len(score_media(record.parts).data) // 4)

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (B, T + 1) and `weights` (B, T), True behind the header."""
        import torch

        documents = [self.document(record, rng=rng) for record in records]
        longest = max(len(document) for document in documents)
        tokens = np.full((len(documents), longest), PAD, dtype=np.int64)
        weights = np.zeros((len(documents), longest - 1), dtype=bool)
        for row, document in enumerate(documents):
            tokens[row, : len(document)] = document
            weights[row, num_header(document) - 1 : len(document) - 1] = True
        return {"tokens": torch.from_numpy(tokens), "weights": torch.from_numpy(weights)}


def num_header(document: Sequence[int]) -> int:
    """How many tokens stand before the first bar."""
    first = id_of("bar", 0)
    return next((place for place, token in enumerate(document) if first <= token <= first + MOST_BARS), len(document))


def bar_tokens(bar: Bar) -> list[int]:
    """The tokens of a bar behind the one that counts it."""
    chords = [id_of("chord", f"{root}:{quality}") for root, quality in bar.chords]
    start = [id_of("from", bar.offset)] if bar.offset else []
    melody = [token for event in bar.parts[0] for token in _event(event)]
    if len(bar.parts) == 1:
        return start + chords + melody
    lower = sorted((event.at, number, event) for number, part in enumerate(bar.parts[1:], 2) for event in part)
    return start + melody + chords + [token for _, number, event in lower for token in (id_of("part", number), *_event(event))]


def _event(event: Event) -> list[int]:
    what = id_of("hold") if event.held else id_of("rest") if event.pitch is None else id_of("pitch", event.pitch)
    return [what, id_of("until", event.until)]


def _score(record: Record, rng: Generator | None, fold: float) -> Score:
    score = read_midi(score_media(record.parts).data)
    if rng is not None and fold and len(score.parts) == 1 and score.key is not None and rng.random() < fold:
        modes = [mode for mode, parents in PARENTS.items() if score.key.mode in parents]
        if modes:
            return folded(score, modes[int(rng.integers(len(modes)))])
    return score


def score_media(parts: Sequence[Any]) -> Media:
    """The score among the parts.

    Raises:
        DataError: there is none.
    """
    for part in parts:
        if isinstance(part, Media) and part.modality == Modality.MUSIC:
            return part
    raise DataError("the record holds no score")


def _varied(sheet: Sheet, rng: Generator) -> Sheet:
    """Kind and tempo sometimes left open; now and then other instruments."""
    kind = "" if rng.random() < 0.25 else sheet.kind
    tempo = 0.0 if rng.random() < 0.25 else sheet.tempo
    instruments = sheet.instruments
    if rng.random() < 0.5:
        names = list(INSTRUMENTS)
        drawn = [names[int(rng.integers(len(names)))] for _ in instruments]
        instruments = tuple(drawn) if len(drawn) == 1 or rng.random() < 0.5 else (drawn[0],) * len(drawn)
    return replace(sheet, kind=kind, tempo=tempo, instruments=instruments)


def parse(tokens: Sequence[int], sheet: Sheet) -> Iterator[Bar]:
    """The bars that tokens behind a header tell; `sheet` says the metre and the number of parts. A bar that is not full is left out."""
    groups: list[list[str]] = []
    for token in tokens:
        word = words()[token]
        if word.startswith("bar "):
            groups.append([])
        elif groups and token not in (END, PAD):
            groups[-1].append(word)
    last: list[int | None] = [None] * len(sheet.instruments)
    for group in groups:
        bar = _bar(group, len(sheet.instruments), last)
        if all(_is_full(part, sheet.bar_ticks) for part in bar.parts):
            yield bar


def _is_full(part: Sequence[Event], length: int) -> bool:
    """Whether a part goes forward through its bar to the end."""
    return bool(part) and part[-1].until == length and all(event.until > event.at for event in part)


def _bar(group: Sequence[str], num_parts: int, last: list[int | None]) -> Bar:
    parts: list[list[Event]] = [[] for _ in range(num_parts)]
    chords: list[tuple[int, str]] = []
    offset, part, what = 0, 0, ""
    for word in group:
        name, _, value = word.partition(" ")
        if name == "from":
            offset = int(value)
        elif name == "part":
            part = min(num_parts, int(value)) - 1
        elif name == "chord":
            root, _, quality = value.partition(":")
            chords.append((int(root), quality))
        elif name == "until":
            held = what == "hold"
            pitch = last[part] if held else int(what.removeprefix("pitch ")) if what.startswith("pitch ") else None
            at = parts[part][-1].until if parts[part] else offset
            parts[part].append(Event(at, int(value), pitch, held and pitch is not None))
            last[part] = pitch
        else:
            what = word
    return Bar(tuple(map(tuple, parts)), tuple(chords), offset)


def options_of(sheet: Sheet) -> Mapping[str, Any]:
    """What a person would have asked to get such a piece."""
    return {
        "mode": sheet.mode,
        "metre": "{}/{}".format(*sheet.metre),
        "kind": sheet.kind,
        "bars": sum(not bar.offset for bar in sheet.bars),
        "instruments": list(sheet.instruments),
    }
