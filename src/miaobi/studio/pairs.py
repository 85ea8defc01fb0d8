"""Two contents that answer one question and that nobody has compared yet, the newest questions first."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import combinations

import sqlalchemy as sa

from miaobi.library.store import EVERYTHING, Kept, Library
from miaobi.library.tables import ChoiceRow, ContentRow

LOOKED_AT = 400  # of the newest contents


def pick(library: Library) -> tuple[Kept, Kept] | None:
    """A pair at random, left and right at random too, so that no place is preferred. None where there is none."""
    groups: dict[tuple[str, str], list[Kept]] = defaultdict(list)
    for kept in library.find(EVERYTHING, limit=LOOKED_AT):
        groups[kept.label.prompt, kept.modality].append(kept)
    done = _compared(library)
    for group in groups.values():
        open_ = [pair for pair in combinations(group, 2) if frozenset(kept.id for kept in pair) not in done and _differ(*pair)]
        if open_:
            one, other = random.sample(random.choice(open_), 2)
            return one, other
    return None


def _differ(one: Kept, other: Kept) -> bool:
    return one.label.content_sha256 != other.label.content_sha256


def _compared(library: Library) -> set[frozenset[str]]:
    """The pairs of which somebody has chosen one."""
    better, worse = sa.orm.aliased(ContentRow), sa.orm.aliased(ContentRow)
    with library.database.reading() as session:
        rows = session.execute(
            sa.select(better.id, worse.id)
            .select_from(ChoiceRow)
            .join(better, better.number == ChoiceRow.chosen)
            .join(worse, worse.number == ChoiceRow.rejected)
        ).all()
    return {frozenset((row[0], row[1])) for row in rows}
