"""What a poem is worth as a number from 0 to 1: the rules that it keeps, and that it is nobody else's.

Metrics count faultless poems; a reward has to tell a poem with one fault from one with five, or nothing is learned from either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

from miaobi.core.types import Request
from miaobi.models.verse import forms
from miaobi.models.verse.check import Report, check, split_lines
from miaobi.models.verse.codec import clauses
from miaobi.models.verse.schema import Options
from miaobi.trust.originality import LineFilter

DEFAULT = "七绝"
SHORTEST = 5  # shorter clauses are common speech, not quotations


def rewards(known: LineFilter | None) -> Mapping[str, Callable[[Request, str], float]]:
    """The rewards by name. `known` holds the lines of the training poems; without it nothing is said of novelty."""
    found: dict[str, Callable[[Request, str], float]] = {"form": form, "rhyme": rhyme, "tone": tone, "unrepeated": unrepeated}
    return found | ({"novelty": lambda request, text: novelty(text, known)} if known is not None else {})


def form(request: Request, text: str) -> float:
    """1 for the right lines; else how near the poem comes, in the number of lines and the length of each."""
    if _judged(request, text).form_ok:
        return 1.0
    name, _ = _asked(request)
    lines = [len(line) for line in split_lines(text)]
    return 0.9 * max(_nearness(lines, shape.lines) for shape in forms.variants(name))


def rhyme(request: Request, text: str) -> float:
    """The share of the lines that should rhyme and do; 0 when the shape is wrong."""
    return _judged(request, text).rhyme_share


def tone(request: Request, text: str) -> float:
    """The share of tones that are right where the loose pattern fixes them."""
    return _judged(request, text).tone_share_loose


def unrepeated(request: Request, text: str) -> float:
    """1 when no line comes twice and no character; each character that does halves it."""
    report = _judged(request, text)
    return 0.0 if report.repeated_lines else math.pow(0.5, len(report.repeated_characters))


def novelty(text: str, known: LineFilter) -> float:
    """The share of lines that stand in no training poem."""
    lines = [line for line in clauses(text) if len(line) >= SHORTEST]
    return 1 - float(known.contains_many(lines).mean()) if lines else 0.0


def _judged(request: Request, text: str) -> Report:
    """The report on a poem, which every reward asks for in turn."""
    name, book = _asked(request)
    return _checked(text, name, book)


@lru_cache(maxsize=16)
def _checked(text: str, form: str, book: str) -> Report:
    return check(text, form, rhyme=book)


def _asked(request: Request) -> tuple[str, str]:
    """The form and the rhyme book; where no form with fixed lines was asked for, the commonest."""
    options = Options.model_validate({key: value for key, value in request.options.items() if key in ("form", "rhyme")})
    known = options.form in forms.SHI or options.form in forms.TUNES
    return options.form if known else DEFAULT, "pingshui" if options.rhyme == "none" else options.rhyme


def _nearness(lines: Sequence[int], shape: Sequence[int]) -> float:
    """1 when the lengths are equal: the share of characters that are where they should be, missing and surplus lines counted as wrong."""
    right = sum(min(one, other) for one, other in zip(lines, shape))
    return right / max(1, sum(max(one, other) for one, other in zip_longest(lines, shape, fillvalue=0)))
