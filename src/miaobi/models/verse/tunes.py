"""The ci tunes: their patterns are derived from Song ci by `recipes/build_verse_tunes.py`, not typed in.

A position is 平 or 仄 where at least 85 % of the poems of the tune's shape agree, else 中; rhymes are the line ends that fall into
one part of the 词林正韵. `tests/verse/test_tunes.py` compares what came out with the patterns of the 词谱.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from miaobi.models.verse.forms import STOP, Form, Pattern
from miaobi.models.verse.prosody import FREE, TABLES


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((TABLES / "tunes.json").read_text(encoding="utf-8"))
    return table


@functools.cache
def names() -> tuple[str, ...]:
    """The names of the tunes, short ones first."""
    return tuple(sorted(_table(), key=lambda name: (sum(map(len, _table()[name]["shapes"][0]["tones"])), name)))


@functools.cache
def all_names() -> frozenset[str]:
    """The names of the tunes and their aliases."""
    return frozenset(name for tune, entry in _table().items() for name in (tune, *entry["aliases"]))


@functools.cache
def variants(name: str) -> tuple[Form, ...]:
    """The shapes of a tune, the usual one first; empty for an unknown tune. Aliases (江神子 for 江城子) are known."""
    for tune, entry in _table().items():
        if name == tune or name in entry["aliases"]:
            return tuple(_form(tune, shape, tuple(entry["aliases"])) for shape in entry["shapes"])
    return ()


def _form(name: str, shape: dict[str, Any], aliases: tuple[str, ...]) -> Form:
    tones: list[str] = shape["tones"]
    pattern = Pattern(
        name=name, strict=tuple((line,) for line in tones), loose=tuple((_loosen(line),) for line in tones), rhymes=tuple(shape["rhymes"])
    )
    echoes = {int(line): int(source) for line, source in shape["echoes"].items()}
    lengths = tuple(map(len, tones))
    assert shape["marks"][-1] == STOP
    assert len(shape["marks"]) == len(lengths) == len(pattern.rhymes)
    return Form(name=name, kind="ci", lines=lengths, marks=tuple(shape["marks"]), patterns=(pattern,), echoes=echoes, aliases=aliases)


def _loosen(tones: str) -> str:
    """一三五不论 for a line of ci: odd positions are free, but not the last three of a line, where the music sits."""
    return "".join(FREE if index % 2 == 0 and index < len(tones) - 3 else tone for index, tone in enumerate(tones))
