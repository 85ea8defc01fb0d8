"""Steps change, keep or drop records; this is their registry, and how a recipe's `steps:` become functions.

A step that sees one record is a callable `Record -> Record | Dropped`. A step that must see the whole corpus (duplicates) has options only;
`miaobi.data.duplicates` does its work after all the others. Every step's options are a Schema, so a wrong key is named with the nearest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.errors import UsageError, unknown
from miaobi.core.recipe import Step as Spec
from miaobi.core.schema import Schema, validate
from miaobi.core.types import NOTHING, Record
from miaobi.data.records import Dropped

Step = Callable[[Record], Record | Dropped]
Places = Mapping[str, Path]  # where the packages and folders lie that steps read, by their names in the recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of step. `build` makes the function from its options; None marks a step over the whole corpus."""

    name: str
    options: type[Schema]
    build: Callable[..., Step] | None
    shorthand: str = ""
    """The option that a bare value sets: `{dedup: minhash}` is `{dedup: {method: minhash}}`."""
    packages: Callable[[Any], Sequence[str]] | None = None
    """Which packages and folders the options name; `build` then takes their places, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A step of a recipe: its kind and its options."""

    kind: Kind
    options: Schema


_KINDS: dict[str, Kind] = {}
_MODULES = ("text", "marks", "filters", "pii", "poem", "picture", "clip", "sound", "score", "captions", "dedup")


def register(
    name: str,
    options: type[Schema],
    build: Callable[..., Step] | None,
    *,
    shorthand: str = "",
    packages: Callable[[Any], Sequence[str]] | None = None,
) -> None:
    """Add a kind of step. Third parties call this before `prepare`; their steps run with `workers=1`."""
    _KINDS[name] = Kind(name=name, options=options, build=build, shorthand=shorthand, packages=packages)


def kinds() -> dict[str, Kind]:
    """Every kind of step by name."""
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return dict(_KINDS)


def choose(specs: Iterable[Spec]) -> list[Chosen]:
    """The steps that a recipe lists.

    Raises:
        UsageError: an unknown step or option (with the nearest known), or a step over single records after one over the corpus.
    """
    known = kinds()
    chosen: list[Chosen] = []
    for number, spec in enumerate(specs):
        name, options = _parts(spec, number)
        if name not in known:
            raise unknown("data step", name, known)
        kind = known[name]
        if kind.build and chosen and not chosen[-1].kind.build:
            raise UsageError(
                "step {name} comes after {before}, which looks at the whole corpus. Put {name} before it",
                name=name,
                before=chosen[-1].kind.name,
            )
        if not isinstance(options, dict):
            if not kind.shorthand:
                raise UsageError("step {name} takes options by name: {known}", name=name, known=", ".join(kind.options.model_fields))
            options = {kind.shorthand: options}
        chosen.append(Chosen(kind=kind, options=validate(kind.options, options, f"data.steps.{number}.{name}")))
    return chosen


def _parts(spec: Spec, number: int) -> tuple[str, Any]:
    """The name and the options of a step as it is written in a recipe."""
    if isinstance(spec, str):
        return spec, {}
    if len(spec) != 1:
        raise UsageError(
            "data.steps.{number} should hold one step, as in `- {{dedup: minhash}}`; it has {count} keys", number=number, count=len(spec)
        )
    [(name, options)] = spec.items()
    return name, {} if options is None else options


def packages_of(chosen: Iterable[Chosen]) -> list[str]:
    """The packages and folders that steps read, each once."""
    return list(dict.fromkeys(path for step in chosen if step.kind.packages for path in step.kind.packages(step.options)))


def chain(chosen: Iterable[Chosen], places: Places = NOTHING) -> Callable[[Record], tuple[Record | Dropped, str]]:
    """All single-record steps as one function; it also names the step that dropped the record."""
    functions = [
        (step.kind.name, step.kind.build(step.options, places) if step.kind.packages else step.kind.build(step.options))
        for step in chosen
        if step.kind.build
    ]

    def run(record: Record) -> tuple[Record | Dropped, str]:
        for name, function in functions:
            result = function(record)
            if isinstance(result, Dropped):
                return result, name
            record = result
        return record, ""

    return run
