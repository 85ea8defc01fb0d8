"""What people preferred, as data to learn from: `prompt`, `chosen`, `rejected`.

A choice says so itself; of an edited text the person's version is better than the model's; of two answers to the same question, rated
apart by at least `APART`, the better rated one is. Texts stand in the row; pictures and sounds by the names of their files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import sqlalchemy as sa

from miaobi.core.errors import unknown
from miaobi.library.store import EVERYTHING, Kept, Library, Query
from miaobi.library.tables import ChoiceRow, ContentRow

APART = 1.0  # of ratings from 1 to 5; less is taste
KINDS = ("choice", "edit", "rating")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Of two answers to a prompt, one is better. `because` is how we know; `files` are the hashes of media, where answers are such."""

    prompt: str
    chosen: str
    rejected: str
    because: str
    model: str
    modality: str
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """A row of JSON Lines."""
        return asdict(self)


def preferences(library: Library, *, kinds: Sequence[str] = KINDS, query: Query = EVERYTHING) -> Iterator[Preference]:
    """All of them, the surest first: choices, then edits, then ratings. A pair is given once.

    Raises:
        UsageError: an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of preference", kind, KINDS)
    seen: set[tuple[str, str]] = set()
    sources = {"choice": _choices, "edit": _edits, "rating": _ratings}
    for kind in (kind for kind in KINDS if kind in kinds):
        for found in sources[kind](library, query):
            if (found.chosen, found.rejected) not in seen:
                seen.add((found.chosen, found.rejected))
                yield found


def _choices(library: Library, query: Query) -> Iterator[Preference]:
    """What was said last of a pair counts, when somebody changed their mind."""
    wanted = library.select(query).with_only_columns(ContentRow.number)
    better, worse = sa.orm.aliased(ContentRow), sa.orm.aliased(ContentRow)
    with library.database.reading() as session:
        rows = session.execute(
            sa.select(better.id, worse.id)
            .select_from(ChoiceRow)
            .join(better, better.number == ChoiceRow.chosen)
            .join(worse, worse.number == ChoiceRow.rejected)
            .where(ChoiceRow.chosen.in_(wanted))
            .order_by(ChoiceRow.number)
        ).all()
    last = {frozenset(pair): tuple(pair) for pair in rows}
    for chosen, rejected in last.values():
        yield _pair(library.get(chosen), library.get(rejected), "choice")


def _edits(library: Library, query: Query) -> Iterator[Preference]:
    for kept in library.each(query):
        if kept.edits:
            after = str(kept.edits[-1].value)
            if after != kept.text:
                yield _preference(kept, after, kept.text, "edit")


def _ratings(library: Library, query: Query) -> Iterator[Preference]:
    groups: dict[tuple[str, str], list[Kept]] = defaultdict(list)
    for kept in library.each(query):
        if kept.rating is not None:
            groups[kept.label.prompt, kept.modality].append(kept)
    for group in groups.values():
        for one, other in combinations(group, 2):
            assert one.rating is not None
            assert other.rating is not None
            if abs(one.rating - other.rating) >= APART:
                better, worse = (one, other) if one.rating > other.rating else (other, one)
                yield _pair(better, worse, "rating")


def _pair(better: Kept, worse: Kept, because: str) -> Preference:
    return _preference(better, answer(better), answer(worse), because)


def answer(kept: Kept) -> str:
    """The text of a content, or the hash of its first file."""
    return kept.text or kept.media[0].sha256


def _preference(kept: Kept, chosen: str, rejected: str, because: str) -> Preference:
    label = kept.label
    return Preference(
        prompt=label.prompt,
        chosen=chosen,
        rejected=rejected,
        because=because,
        model=label.model,
        modality=kept.modality,
        options=dict(label.options),
    )
