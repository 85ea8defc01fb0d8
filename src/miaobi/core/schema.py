"""The base of everything that a person may write: frozen, unknown keys are errors, and errors name the key, the path and what is known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from miaobi.core.errors import UsageError
from miaobi.core.language import tr


class Schema(BaseModel):
    """A frozen value that refuses unknown keys and never coerces a bool into a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else None
        if isinstance(value, bool) and {int, float} & {annotation, *get_args(annotation)} and bool not in get_args(annotation):
            raise ValueError(tr("a number is wanted here"))
        return value


S = TypeVar("S", bound=Schema)


def validate(schema: type[S], values: Mapping[str, Any], where: str) -> S:
    """`values` as a `schema`, or a `UsageError` that says what is wrong at which path and what is known.

    `where` names the place for the person: a file, a recipe section, "options of poet".
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(schema, problem) for problem in error.errors(include_url=False)]
        raise UsageError("{where}: {problems}", where=where, problems="; ".join(dict.fromkeys(lines))) from None


def _explain(schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One pydantic problem as a sentence."""
    location: Sequence[int | str] = problem["loc"]
    path = ".".join(str(step) for step in location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(schema, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = tr(" Did you mean '{near}'?", near=near[0]) if near else ""
        return tr("unknown key '{path}'.{hint} Known: {known}", path=path, hint=hint, known=", ".join(known))
    if problem["type"] == "missing":
        return tr("'{path}' is missing", path=path)
    message = problem["msg"].removeprefix("Value error, ")  # pydantic's words before those of a validator of ours
    if not path:
        return str(message)  # a contradiction between keys names them itself
    given = repr(problem.get("input"))
    given = given if len(given) <= 60 else given[:57] + "..."
    return tr("'{path}' is {given}: {message}", path=path, given=given, message=message)


def _known_keys(schema: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that are allowed at `location` inside `schema`."""
    current: Any = schema
    for step in location:
        if isinstance(step, int):
            continue
        fields = getattr(current, "model_fields", {})
        if step not in fields:
            continue  # a union tag or a mapping key
        current = _schema_in(fields[step].annotation)
    fields = getattr(current, "model_fields", {})
    return sorted(info.alias or name for name, info in fields.items())


def _schema_in(annotation: Any) -> Any:
    """The first Schema inside an annotation such as `X | None` or `list[X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _schema_in(inner)
        if found is not None:
            return found
    return None
