"""Filling gaps: the surest first, at random, or from left to right through the decoding that all other models have.

A text is written by filling a row of gaps (Ghazvininejad et al., 2019; Chang et al., 2022, MaskGIT). In each round every gap gets a
token by the same processors and draws as elsewhere, and those of which the model is surest stay; while the text is young, noise as
strong as the temperature shares in what is sure, or the same common tokens would come first every time. Shapes: R rows, T tokens, M gaps,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, Progress, Request, Usage
from miaobi.engine.sampling import choice, processors
from miaobi.engine.sampling.text import stream
from miaobi.models.bert.codec import GAP, MaskCodec
from miaobi.models.bert.schema import Options

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]
Predict = Callable[[Ids, Flags, Flags], Floats]  # tokens (R, T), which are real, where logits are wanted: (M, V), row by row


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A row between its marks with gaps, and from which of its places on a reader is shown it."""

    ids: tuple[int, ...]
    shown: int

    def gaps(self, mask: int) -> list[int]:
        """The places of the gaps."""
        return [place for place, token in enumerate(self.ids) if token == mask]


def fill(predict: Predict, codec: MaskCodec, request: Request, *, lengths: Sequence[int]) -> Iterator[Chunk]:
    """The prompt with its gaps filled; a prompt without gaps is continued. `lengths[n]` counts training texts of n tokens.

    Raises:
        UsageError: the prompt is longer than the context.
    """
    options = Options.model_validate(dict(request.options))
    template = template_of(codec, request, options, lengths)
    if options.order == "left":
        yield from _from_the_left(predict, codec, template, options, request.seed)
        return
    gaps = template.gaps(codec.mask)
    rows = [_Row(template.ids, codec.mask, np.random.default_rng(request.seed + copy), copy) for copy in range(options.n)]
    rounds = min(options.steps or len(gaps), len(gaps))
    for step in range(rounds):
        _round(predict, codec, rows, options, left=rounds - step)
        yield Progress(step=step + 1, total=rounds + options.revise)
    for step in range(options.revise):
        for row in rows:
            row.forget(len(gaps) * (options.revise - step) // (options.revise + 1))
        _round(predict, codec, rows, options, left=1)
        yield Progress(step=rounds + step + 1, total=rounds + options.revise)
    for index, row in enumerate(rows):
        text = codec.tokens.text(row.ids[template.shown :].tolist())
        if text:
            yield Piece(part=text, index=index)
        yield Done(usage=Usage(prompt=len(template.ids) - len(gaps), generated=len(gaps)), index=index)


def template_of(codec: MaskCodec, request: Request, options: Options, lengths: Sequence[int]) -> Template:
    """The prompt as it stands, or followed by as many gaps as are asked for, or as a training text of that beginning may have had.

    Raises:
        UsageError: it does not fit into the context, or has more gaps than `max_tokens`.
    """
    ids = codec.ids(request.prompt)
    gaps = ids.count(codec.mask) if GAP.search(request.prompt) else 0
    room = codec.room - len(ids)
    if room < (0 if gaps else 1):
        raise UsageError(
            "the prompt has {tokens} tokens; this model reads {context}, two marks among them. Shorten the prompt",
            tokens=len(ids),
            context=codec.config.context,
        )
    if gaps > options.max_tokens:
        raise UsageError("the prompt has {gaps} gaps, and max_tokens allows {most}", gaps=gaps, most=options.max_tokens)
    if gaps:
        return Template(ids=tuple(codec.row(ids)), shown=0)
    if _follows(options):
        return Template(ids=tuple(codec.row([*ids, *[codec.mask] * min(options.length or options.max_tokens, room)])), shown=len(ids) + 1)
    drawn = options.length or _drawn_length(lengths, len(ids), np.random.default_rng(request.seed)) - len(ids)
    new = max(1, min(drawn, room, options.max_tokens))
    return Template(ids=tuple(codec.row([*ids, *[codec.mask] * new])), shown=len(ids) + 1)


def _follows(options: Options) -> bool:
    """Whether a grammar says how long the text becomes."""
    return options.json_schema is not None or bool(options.regex)


def _drawn_length(lengths: Sequence[int], least: int, rng: np.random.Generator) -> int:
    """A length above `least` that training texts had, as often as they had it; twice the least where none was so long."""
    counts = np.array(lengths, dtype=np.float64)
    counts[: least + 1] = 0
    if not counts.sum():
        return 2 * least + 1
    return int(rng.choice(len(counts), p=counts / counts.sum()))


class _Row:
    """One text on its way: its tokens, its gaps, and how sure each filled one is."""

    def __init__(self, ids: Sequence[int], mask: int, rng: np.random.Generator, copy: int) -> None:
        self.ids = np.array(ids, dtype=np.int64)
        self.mask, self.rng, self.copy = mask, rng, copy
        self.asked = self.ids == mask
        self.sure = np.full(len(ids), -np.inf)

    @property
    def gaps(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.ids == self.mask)

    def forget(self, count: int) -> None:
        """Make gaps again of the `count` least sure of those that were asked for."""
        places = np.flatnonzero(self.asked)
        self.ids[places[np.argsort(self.sure[places], kind="stable")[:count]]] = self.mask


def _round(predict: Predict, codec: MaskCodec, rows: Sequence[_Row], options: Options, *, left: int) -> None:
    """Fill of every row's gaps the share that leaves as many for each of the `left` rounds."""
    open_rows = [row for row in rows if len(row.gaps)]
    if not open_rows:
        return
    tokens = np.stack([row.ids for row in open_rows])
    wanted = np.zeros(tokens.shape, dtype=bool)
    for number, row in enumerate(open_rows):
        wanted[number, row.gaps if options.order == "confident" else row.rng.permutation(row.gaps)[: -(-len(row.gaps) // left)]] = True
    logits = predict(tokens, np.ones_like(wanted), wanted)  # (M, V)
    logits[:, codec.silent] = -np.inf
    start = 0
    for number, row in enumerate(open_rows):
        places = np.flatnonzero(wanted[number])
        _settle(row, places, logits[start : start + len(places)], options, count=-(-len(row.gaps) // left), noise=(left - 1) / max(left, 1))
        start += len(places)


def _settle(row: _Row, places: NDArray[np.intp], raw: Floats, options: Options, *, count: int, noise: float) -> None:
    """Choose a token for each place (M,) from logits (M, V), and keep the surest `count`."""
    known = [int(token) for token in row.ids if token != row.mask]
    written = [int(token) for token in row.ids[row.asked] if token != row.mask]
    logits = processors.process(raw, [known] * len(places), [written] * len(places), options, end_tokens=frozenset())
    choice.check(raw, logits)
    if options.temperature > 0:
        chosen = choice.draw(logits, options, row.rng.random(len(places)).tolist())
    else:  # the copies of a prompt differ in their first token, as elsewhere
        chosen = choice.ranked(logits, [0 if written else row.copy] * len(places))
    sure = np.array(choice.log_probabilities(raw, chosen))
    shaken = sure + options.temperature * noise * row.rng.gumbel(size=len(places))
    kept = np.argsort(-shaken, kind="stable")[:count]
    row.ids[places[kept]] = np.array(chosen)[kept]
    row.sure[places[kept]] = sure[kept]


def _from_the_left(predict: Predict, codec: MaskCodec, template: Template, options: Options, seed: int) -> Iterator[Chunk]:
    """The decoding of all other models, with its beams and constraints: a step is a whole look at the row, gaps ahead included."""
    first = max(template.shown, 1)
    stepper = TemplateStepper(predict, codec, template, may_end=_follows(options) and template.shown > 0)
    most = len(template.ids) - 1 - first
    limits = {"max_tokens": most + 1, "min_tokens": min(options.min_tokens, most)}  # the template is no longer than was asked for
    yield from stream(
        stepper,
        [list(template.ids[:first])],
        options.model_copy(update=limits),
        end_tokens=[codec.tokens.end],
        seed=seed,
        detokenize=codec.tokens.text,
        spelling=codec.tokens.spelling,
    )


class TemplateStepper:
    """A row of a template as a `Stepper`: tokens come from the left, what is not a gap comes as it stands, and the end comes at the end."""

    def __init__(self, predict: Predict, codec: MaskCodec, template: Template, *, may_end: bool = False) -> None:
        self.vocab_size = codec.tokens.vocab_size
        self._predict, self._codec, self._template = predict, codec, template
        self._may_end = may_end  # a grammar says when a text is complete: the end is then as likely as the likeliest token
        self._rows: list[list[int]] = []

    def start(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Forget everything; each prompt is how the template begins."""
        self._rows = [list(prompt) for prompt in prompts]
        return self._logits()

    def step(self, tokens: Sequence[int]) -> Any:
        """One more token a row."""
        for row, token in zip(self._rows, tokens):
            row.append(token)
        return self._logits()

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row `rows[i]` was."""
        self._rows = [list(self._rows[row]) for row in rows]

    def _logits(self) -> Floats:
        place = len(self._rows[0])  # all rows are of one length: they are copies of one template
        ids, mask = self._template.ids, self._codec.mask
        if ids[place] != mask:
            fixed = np.full((len(self._rows), self.vocab_size), -np.inf, dtype=np.float32)
            fixed[:, ids[place]] = 0.0
            return fixed
        tokens = np.array([[*row, *ids[place:]] for row in self._rows], dtype=np.int64)
        wanted = np.zeros(tokens.shape, dtype=bool)
        wanted[:, place] = True
        logits = self._predict(tokens, np.ones_like(wanted), wanted)
        logits[:, self._codec.silent] = -np.inf
        if self._may_end:
            logits[:, self._codec.tokens.end] = logits.max(axis=1)
        return logits
