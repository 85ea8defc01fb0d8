"""What a model gives away of its training texts: asked with the beginning of one, does it go on with the rest, word for word.

After Carlini et al. (2023): prefixes of a fixed length, the likeliest continuation, and held-out texts as the control, because common
phrases are guessed by who never saw the text. A model of tokens is given the very tokens that it learned from, with all that stands before
them there (a poem's header, the marks of a conversation); another one is given the text as its prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeGuard, runtime_checkable

from miaobi.core.protocols import Model
from miaobi.core.types import Record, Request
from miaobi.engine.ask import draw
from miaobi.engine.generate import collect
from miaobi.engine.metrics.diversity import UNIT
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Token, decode
from miaobi.trust import safety

PREFIX, REST = 20, 20  # tokens or units (Han characters, words) that are given, and that are looked at; of short texts half and half
TEXTS = 100  # of each kind
TOKENS_A_UNIT = 6  # at most so many tokens make a unit
TOGETHER = 16  # texts that are gone on with side by side
GAP = 4  # from one learned id to the next; where they are further apart, somebody else has spoken

Pairs = list[tuple[str, str]]  # what was said, and what stood there


@runtime_checkable
class Recites(Model, Protocol):
    """A model of tokens that can be given the beginning of what it learned from."""

    codec: Any
    recites: bool  # whether it goes on with a text at all

    def stepper(self) -> Stepper:
        """What decoding goes on with."""
        ...

    def sequences(self, records: Sequence[Record], /) -> Sequence[tuple[Sequence[int], Sequence[bool]]]:
        """The ids of each record as they are learned, and which of them count."""
        ...


def can_recite(model: Model | None) -> TypeGuard[Recites]:
    """Whether tokens may be put to it."""
    return isinstance(model, Recites) and model.recites


def extracts(model: Model, training: Sequence[Record], held_out: Sequence[Record], *, seed: int) -> dict[str, Pairs]:
    """For records of training and of the held-out split, what the model says after the beginning, and what stood there."""
    found: dict[str, Pairs] = {}
    for name, records in (("training", training), ("held_out", held_out)):
        chosen = draw(records, TEXTS, seed=seed) if len(records) else []
        found[name] = list(_recited(model, chosen) if can_recite(model) else _continued(model, chosen))
    return found


def beginning(text: str) -> tuple[str, str] | None:
    """The first units of a text and as many that follow, with what stands between; None of a text of under four units."""
    places = [unit.span() for unit in UNIT.finditer(text)]
    given = min(PREFIX, len(places) // 2)
    if given < 2:
        return None
    cut, end = places[given - 1][1], places[min(len(places), given + REST) - 1][1]
    return text[:cut], text[cut:end]


def beginning_of_ids(ids: Sequence[int], learned: Sequence[bool]) -> tuple[list[int], list[int]] | None:
    """`beginning` of a sequence as a model learns it: what is not learned comes first and is no part of the twenty."""
    places = [place for place, counted in enumerate(learned) if counted and place]
    turn = next((number for number, (a, b) in enumerate(pairwise(places), start=1) if b - a > GAP), len(places))
    places = places[:turn]
    given = min(PREFIX, len(places) // 2)
    if given < 2:
        return None
    cut, end = places[given - 1] + 1, places[min(len(places), given + REST) - 1] + 1
    return list(ids[:cut]), list(ids[cut:end])


def _recited(model: Recites, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """What the likeliest tokens say, as many as stood there."""
    parts = [found for ids, learned in model.sequences(records) if (found := beginning_of_ids(ids, learned)) is not None]
    for start in range(0, len(parts), TOGETHER):
        some = parts[start : start + TOGETHER]
        options = Sampling(temperature=0, max_tokens=max(len(rest) for _, rest in some))
        said: list[list[int]] = [[] for _ in some]
        for event in decode(model.stepper(), [given for given, _ in some], options, end_tokens=(), seeds=[0] * len(some)):
            if isinstance(event, Token):
                said[event.row].append(event.token)
        yield from ((model.codec.text(tokens[: len(rest)]), model.codec.text(rest)) for tokens, (_, rest) in zip(said, some, strict=True))


def _continued(model: Model, records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """The likeliest continuation of a prompt; nothing where the word list holds it back."""
    words = safety.load()
    for record in records:
        parts = beginning(record.text)
        if parts is None:
            continue
        request = Request.of(parts[0], temperature=0.0, max_tokens=REST * TOKENS_A_UNIT)
        try:
            yield collect(model, request, words=words)[0].text, parts[1]
        except (safety.Refused, IndexError):
            yield "", parts[1]
