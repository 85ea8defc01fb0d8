"""From a request to scores, over any stepper: several candidates a piece, in key, metre and range by the grammar; copies are refused.

A piece longer than the model's context is written in stretches: each begins anew from the header and the last bars that fill half of it,
which the count of bars in every bar makes possible.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Record, Request, Usage
from miaobi.data.instruments import INSTRUMENTS
from miaobi.data.scores import MIME, Note, Score, read_midi, write_midi
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Finished, Token, decode
from miaobi.models.music.accompany import accompanied, harmony, shaped
from miaobi.models.music.codec import END, MusicCodec, parse, score_media
from miaobi.models.music.grammar import ScoreGrammar
from miaobi.models.music.layout import score_of, sheet_of
from miaobi.models.music.plan import Plan, described, planned
from miaobi.models.music.schema import Options
from miaobi.models.music.vocabulary import MOST_BARS, words
from miaobi.trust.originality import LineFilter

SPANS = "spans.bloom"  # the filter of the training melodies beside the weights
SPAN = 16  # so many steps in a row, with their lengths, are a quotation
REPORT_EVERY = 64  # events


@dataclass(slots=True)
class _Row:
    """A candidate on its way: everything told behind the header."""

    seed: int
    tokens: list[int]
    logprob: float = 0.0
    generated: int = 0
    full: int = 0  # bars that are filled to their end
    done: bool = False
    reason: str = "stop"
    score: Score | None = field(default=None, repr=False)


def write_music(stepper: Stepper, codec: MusicCodec, request: Request, *, known: LineFilter | None = None) -> Iterator[Chunk]:
    """Chunks of `options.n` pieces, each a MIDI file. `known` holds spans of the training melodies."""
    options = Options.model_validate(dict(request.options))
    plan = planned(request)
    header = codec.header(plan.sheet)
    told = [token for bar in codec.bars(plan.sheet, total=plan.rules.bars) for token in bar]
    count = options.candidates if options.temperature > 0 else 1
    for index in range(options.n):
        rows = [_Row(seed=_seed(request.seed, index, number), tokens=list(told)) for number in range(count)]
        yield from _written(stepper, codec, options, plan, header, rows, index)
        for row in rows:
            row.score = _finished(row, plan)
        copied = [_copied(row.score, known, told_notes=_told_notes(plan)) for row in rows]
        best = max(range(count), key=lambda number: (-copied[number], _quality(rows[number])))
        score = rows[best].score
        assert score is not None
        yield Piece(part=Media(modality=Modality.MUSIC, mime=MIME, data=write_midi(score), name="music.mid"), index=index)
        told_bars = {"bars_told": _bars_in(rows[best].tokens), "bars_full": rows[best].full}
        notes = {
            **described(plan),
            **told_bars,
            "notes": score.num_notes,
            "copied_spans": copied[best],
            "candidates_refused": sum(map(bool, copied)),
        }
        usage = Usage(prompt=len(header) + len(told), generated=rows[best].generated)
        yield Done(reason=rows[best].reason, index=index, usage=usage, notes=notes)


def _written(
    stepper: Stepper, codec: MusicCodec, options: Options, plan: Plan, header: Sequence[int], rows: Sequence[_Row], index: int
) -> Iterator[Chunk]:
    """Decode all rows to their ends, stretch by stretch."""
    rounds = 0
    while waiting := [row for row in rows if not row.done]:
        prompts = [[*header, *_recent(row.tokens, codec.context // 2 - len(header))] for row in waiting]
        room = codec.context - max(map(len, prompts))
        left = [options.max_tokens - row.generated for row in waiting]
        sampling = options.model_copy(update={"n": 1, "max_tokens": max(1, min(room, *left)), "min_tokens": 0})
        grammars = [None if options.free else ScoreGrammar(plan.rules, told=row.tokens) for row in waiting]
        seeds = [row.seed + rounds for row in waiting]
        made: list[list[int]] = [[] for _ in waiting]
        for event in decode(stepper, prompts, sampling, end_tokens=[END], seeds=seeds, constraints=grammars):
            if isinstance(event, Token):
                made[event.row].append(event.token)
                if event.row == 0 and len(made[0]) % REPORT_EVERY == 0:
                    yield Progress(step=_bars_in(waiting[0].tokens) + _bars_in(made[0]), total=plan.rules.bars, index=index)
            elif isinstance(event, Finished):
                _take(waiting[event.row], event, options, plan)
        rounds += 1


def _take(row: _Row, event: Finished, options: Options, plan: Plan) -> None:
    """What a stretch added; one that ran full keeps its whole bars only, unless that would be none."""
    row.logprob += event.logprob
    row.generated += len(event.tokens)
    row.done = event.reason == "stop"
    row.tokens = [*row.tokens, *event.tokens]
    if row.generated >= options.max_tokens and not row.done:
        row.done, row.reason = True, "length"
    elif not row.done and _bars_in(row.tokens) > 2 * MOST_BARS + plan.rules.bars:
        row.done, row.reason = True, "length"  # without the grammar a piece may have no end
    elif not row.done:
        starts = [place for place, token in enumerate(row.tokens) if words()[token].startswith("bar ")]
        row.tokens = row.tokens[: starts[-1]] if starts else []


def _recent(tokens: Sequence[int], most: int) -> list[int]:
    """The last whole bars that together have at most so many tokens, and at least the last one."""
    if len(tokens) <= most:
        return list(tokens)
    starts = [place for place, token in enumerate(tokens) if words()[token].startswith("bar ")]
    return list(tokens[next((start for start in starts if len(tokens) - start <= most), starts[-1]) :])


def _bars_in(tokens: Sequence[int]) -> int:
    return sum(words()[token].startswith("bar ") for token in tokens)


def _finished(row: _Row, plan: Plan) -> Score:
    """The tokens as a score that can be played."""
    sheet = replace(plan.sheet, bars=tuple(parse(row.tokens, plan.sheet)))
    row.full = len(sheet.bars)
    programs = [INSTRUMENTS[name].program for name in plan.names]
    score = shaped(score_of(sheet, key=plan.key, tempo=plan.tempo, programs=programs, names=plan.names, title=plan.title))
    if plan.companion and score.num_notes:
        score = accompanied(replace(score, chords=harmony(score)), plan.accompaniment, plan.companion)
    return score


def _quality(row: _Row) -> float:
    """Half the likelihood an event (all of it would choose the dullest), less for standing still and for one tone or rhythm all along."""
    assert row.score is not None
    notes = row.score.parts[0].notes
    if len(notes) < 4:
        return -10.0
    steps = [after.pitch - note.pitch for note, after in itertools.pairwise(notes)]
    still = sum(not step for step in steps) / len(steps)
    commonest = Counter(note.pitch for note in notes).most_common(1)[0][1] / len(notes)
    rhythms: dict[int, list[int]] = {}
    for note in notes:
        at = note.start - row.score.pickup
        rhythms.setdefault(at // row.score.bar, []).append(at % row.score.bar)
    stiff = Counter(map(tuple, rhythms.values())).most_common(1)[0][1] / len(rhythms)
    narrow = max(0, 7 - (max(note.pitch for note in notes) - min(note.pitch for note in notes)))
    faults = 2 * max(0.0, still - 0.15) + 1.5 * max(0.0, commonest - 0.28) + 0.5 * max(0.0, stiff - 0.5) + 0.1 * narrow
    return 0.5 * row.logprob / max(1, row.generated) - faults


def spans(notes: Sequence[Note]) -> list[str]:
    """Every `SPAN` steps of a melody with their lengths, as letters and digits, whatever its key."""
    steps = [
        f"{'m' if after.pitch < note.pitch else 'p'}{abs(after.pitch - note.pitch)}t{after.start - note.start}"
        for note, after in itertools.pairwise(notes)
    ]
    return ["".join(steps[place : place + SPAN]) for place in range(len(steps) - SPAN + 1)]


def _told_notes(plan: Plan) -> int:
    return sum(event.pitch is not None for bar in plan.sheet.bars for event in bar.parts[0])


def _copied(score: Score | None, known: LineFilter | None, *, told_notes: int) -> int:
    """How many spans of the new melody stand in the training data; a filter errs now and then, so two in a row count as one."""
    if score is None or known is None:
        return 0
    found = spans(score.parts[0].notes[max(0, told_notes - 1) :])
    if not found:
        return 0
    hits = known.contains_many(found)
    return int(np.sum(hits[1:] & hits[:-1]))


def training_spans(records: Iterable[Record], *, rate: float) -> LineFilter:
    """The filter of all spans of the training melodies."""
    return LineFilter.build(
        (span for record in records for span in spans(read_midi(score_media(record.parts).data).on_grid().parts[0].notes)), rate=rate
    )


def open_spans(folder: Path) -> LineFilter | None:
    """The filter that stands beside a model's weights, if it has one."""
    return LineFilter.open(folder / SPANS) if (folder / SPANS).is_file() else None


def request_for(record: Record) -> Request | None:
    """What a person would have asked to get such a piece: its mode, metre, kind, length and number of parts."""
    score = read_midi(score_media(record.parts).data)
    sheet = sheet_of(score)
    if len(sheet.instruments) not in (1, 4):
        return None
    bars = sum(not bar.offset for bar in sheet.bars)
    return Request.of(
        "",
        mode=sheet.mode,
        metre="{}/{}".format(*sheet.metre),
        kind=sheet.kind,
        bars=min(256, bars),
        parts=len(sheet.instruments),
        instruments=list(sheet.instruments),
        tempo=min(400.0, sheet.tempo),
        accompaniment="none",
    )


def _seed(*parts: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence([abs(part) for part in parts]).generate_state(1, np.uint64)[0] >> np.uint64(1))
