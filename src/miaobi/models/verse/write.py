"""From a request to poems, over any stepper: several candidates a poem, form kept by the constraint, repeated training lines refused.

For each poem `candidates` rows are decoded at once; those that share a whole clause with a training poem are thrown away, and the one that
the model finds likeliest per character is kept. When all of a poem's candidates are thrown away, another round is written, a few times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, Progress, Record, Request, TokenLogprob, Usage
from miaobi.engine.sampling.constraint import All, Constraint
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.text import Told, follow, stop_at, stream
from miaobi.engine.sampling.tokens import Finished, decode
from miaobi.models.verse import forms
from miaobi.models.verse.codec import LONGEST_TITLE, Header, VerseCodec, clauses, header_of
from miaobi.models.verse.constraint import VerseConstraint
from miaobi.models.verse.schema import Options
from miaobi.trust.originality import LineFilter

ROUNDS = 5  # a poem is written anew so often before the last attempt is given as it is
LINES = "lines.bloom"  # the filter of training clauses beside the weights
SHORTEST = 5  # shorter clauses are common speech, not quotations
FREE = ("古体", "曲")  # forms without a fixed pattern


@dataclass(frozen=True, slots=True)
class _Poem:
    """A finished candidate."""

    text: str
    score: float  # mean log-probability a token
    tokens: int
    repeats: int  # clauses that stand in a training poem
    logprobs: tuple[TokenLogprob, ...] = ()


def write_poems(stepper: Stepper, codec: VerseCodec, request: Request, *, known: LineFilter | None = None) -> Iterator[Chunk]:
    """Chunks of `options.n` poems. `known` holds the training poems' clauses; without it (`original=False`) one candidate streams."""
    options = Options.model_validate(dict(request.options))
    title = options.title or request.prompt.strip()
    header = header_for(options, title, codec)
    constraint: Constraint[Any] | None = constraint_for(options, codec)
    known = known if options.original else None
    prompt = codec.header(header)
    limit = min(options.max_tokens, codec.context - len(prompt))
    options = options.model_copy(update={"max_tokens": max(1, limit)})
    if options.candidates == 1 and known is None:
        constraints = [constraint] * options.n
        yield from stream(
            stepper,
            [prompt],
            options,
            end_tokens=[codec.end],
            seed=request.seed,
            detokenize=codec.text,
            spelling=codec.spelling,
            constraints=constraints,
        )
        return
    grammar = follow(options, codec.spelling, size=stepper.vocab_size, end_tokens=[codec.end])
    constraint = grammar if constraint is None else All([constraint, grammar]) if grammar else constraint
    if options.beams > 1:
        yield from _likeliest(stepper, codec, options, prompt, constraint, known)
        return
    rows = options.model_copy(update={"n": 1})
    waiting = list(range(options.n))
    thrown = dict.fromkeys(waiting, 0)
    for attempt in range(ROUNDS):
        seeds = [_seed(request.seed, index, candidate, attempt) for index in waiting for candidate in range(options.candidates)]
        poems: list[_Poem] = []
        yield from _candidates(stepper, codec, rows, prompt, constraint, seeds, known, poems)
        still: list[int] = []
        for position, index in enumerate(waiting):
            group = poems[position * options.candidates : (position + 1) * options.candidates]
            fresh = [poem for poem in group if not poem.repeats]
            thrown[index] += len(group) - len(fresh)
            if not fresh and attempt < ROUNDS - 1:
                still.append(index)
                continue
            best = max(fresh or group, key=lambda poem: (-poem.repeats, poem.score))
            yield from _told(best, index, prompt=prompt, refused=thrown[index])
        waiting = still
        if not waiting:
            return


def _likeliest(
    stepper: Stepper,
    codec: VerseCodec,
    options: Options,
    prompt: Sequence[int],
    constraint: Constraint[Any] | None,
    known: LineFilter | None,
) -> Iterator[Chunk]:
    """Beam search: its hypotheses are the candidates of all poems, the likeliest first and those with a training line last."""
    poems: list[_Poem] = []
    all_beams = options.model_copy(update={"n": options.beams})
    yield from _candidates(stepper, codec, all_beams, prompt, constraint, range(options.beams), known, poems)
    refused = sum(1 for poem in poems if poem.repeats)
    for index, best in enumerate(sorted(poems, key=lambda poem: poem.repeats)[: options.n]):
        yield from _told(best, index, prompt=prompt, refused=refused)


def _told(poem: _Poem, index: int, *, prompt: Sequence[int], refused: int) -> Iterator[Chunk]:
    """A finished poem, and its end."""
    yield Piece(part=poem.text, index=index, logprobs=poem.logprobs)
    notes = {"candidates_refused": refused, "training_clauses": poem.repeats}
    yield Done(index=index, usage=Usage(prompt=len(prompt), generated=poem.tokens), notes=notes)


def request_for(record: Record) -> Request | None:
    """What a person would have asked to get such a poem: its title, form and dynasty. None for forms without a fixed pattern."""
    header = header_of(record)
    form = header.tune if header.form == "词" else header.form
    if form in FREE or (header.form == "词" and form not in forms.TUNES):
        return None
    return Request.of(header.title, form=form, era=header.era)


def header_for(options: Options, title: str, codec: VerseCodec) -> Header:
    """The header of a request; characters that the model does not know are converted to simplified ones, or dropped from the title."""
    words = tuple(word for word in options.topic.replace(",", " ").replace("，", " ").replace("、", " ").split() if word)
    title, words = _known(title, codec)[:LONGEST_TITLE], tuple(filter(None, (_known(word, codec)[:4] for word in words[:4])))
    author = _known(options.author, codec)
    if options.form in forms.TUNES:
        return Header(form="词", tune=options.form, era=options.era, author=author, title=title, topics=words)
    return Header(form=options.form, era=options.era, author=author, title=title, topics=words)


def constraint_for(options: Options, codec: VerseCodec) -> Constraint[Any] | None:
    """The automaton of the form, or None for free ones.

    Raises:
        UsageError: an unknown form, or a first line or acrostic that does not fit it.
    """
    if options.free:
        if options.acrostic or options.first_line:
            raise UsageError("a first line and an acrostic are rules, so they contradict the option free")
        return None
    if options.form in FREE:
        if options.acrostic or options.first_line:
            raise UsageError(
                "{form} has no fixed lines, so it takes no first line and no acrostic; choose a form such as 七绝", form=options.form
            )
        return None
    return VerseConstraint(
        forms.form(options.form),
        codec.vocabulary,
        rhyme=options.rhyme,
        tone=options.tone,
        acrostic=_simplified(options.acrostic, codec),
        first_line=_simplified(options.first_line, codec),
        end_token=codec.end,
        repeat=options.repeat,
    )


def _candidates(
    stepper: Stepper,
    codec: VerseCodec,
    options: Options,
    prompt: Sequence[int],
    constraint: Constraint[Any] | None,
    seeds: Sequence[int],
    known: LineFilter | None,
    into: list[_Poem],
) -> Iterator[Progress]:
    """Decode one row a seed (of a beam search, `n` rows of one prompt), and put the poems into `into` in row order."""
    found: dict[int, _Poem] = {}
    events = decode(
        stepper,
        [list(prompt)] * (len(seeds) // options.n),
        options,
        end_tokens=[codec.end],
        seeds=seeds,
        constraints=[constraint] * len(seeds) if constraint else None,
        alternatives=options.logprobs or 0,
        stop=stop_at(options.stop, codec.text),
        quiet=options.logprobs is None,
    )
    told = None if options.logprobs is None else [Told(codec.spelling, codec.text) for _ in seeds]
    for event in events:
        if told is not None and not isinstance(event, Finished):
            told[event.row].push(event)
        if isinstance(event, Finished):
            text = _until(codec.text(event.tokens), options.stop).strip()
            repeats = _repeats(clauses(text), known)
            logprobs = told[event.row].take()[: len(text)] if told is not None else ()  # a token is a character
            found[event.row] = _Poem(text, event.logprob / max(1, len(event.tokens)), len(event.tokens), repeats, logprobs)
            yield Progress(step=len(found), total=len(seeds))
    into.extend(found[row] for row in range(len(seeds)))


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    return text[: min((place for place in map(text.find, stops) if place >= 0), default=len(text))]


def _repeats(lines: Iterable[str], known: LineFilter | None) -> int:
    """How many clauses stand in a training poem."""
    return 0 if known is None else sum(1 for line in lines if len(line) >= SHORTEST and known.contains(line))


def training_clauses(records: Iterable[Record], *, rate: float) -> LineFilter:
    """The filter of all clauses of the training poems; it wrongly accuses `rate` of the others."""
    return LineFilter.build((line for record in records for line in clauses(record.text) if len(line) >= SHORTEST), rate=rate)


def open_clauses(folder: Path) -> LineFilter | None:
    """The filter that stands beside a model's weights, if it has one."""
    return LineFilter.open(folder / LINES) if (folder / LINES).is_file() else None


def _known(text: str, codec: VerseCodec) -> str:
    """The text in characters that the model knows: traditional ones become simplified, others are dropped."""
    text = _simplified(text, codec)
    for char in codec.missing(text):
        text = text.replace(char, "")
    return text


def _simplified(text: str, codec: VerseCodec) -> str:
    """The text in simplified characters, where the model does not know all of it as it is."""
    if not codec.missing(text):
        return text
    import opencc

    return str(opencc.OpenCC("t2s").convert(text))


def _seed(*parts: int) -> int:
    """One 64-bit seed from several numbers."""
    return int(np.random.SeedSequence([abs(part) for part in parts]).generate_state(1, np.uint64)[0])
