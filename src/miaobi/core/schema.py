"""The base of everything that a person may write: frozen, unknown keys are errors, and errors name the key, the path and what is known."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
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

_TAG = re.compile(
    r"str|int|float|bool|none|constrained-str|(?:list|dict|tuple)\[.*\]|[A-Z]\w*"
)  # pydantic's names of a union's branches; keys are lower case
_REPR = reprlib.Repr()  # bounded: an alias in YAML can stand for a billion items
_REPR.maxlevel, _REPR.maxstring = 2, 60
_WHOLE, _NUMBER, _LIST, _MAPPING = "a whole number is wanted", "a number is wanted", "a list is wanted", "keys with values are wanted"
_MESSAGES = {  # pydantic's kinds of problems in our words, which have a Chinese translation
    "greater_than_equal": "it should be at least {ge}",
    "greater_than": "it should be more than {gt}",
    "less_than_equal": "it should be at most {le}",
    "less_than": "it should be less than {lt}",
    "finite_number": "it should be a finite number",
    "literal_error": "it should be {expected}",
    "string_pattern_mismatch": "it should match {pattern}",
    "string_type": "text is wanted",
    "string_too_short": "the number of its characters should be at least {min_length}",
    "string_too_long": "the number of its characters should be at most {max_length}",
    "too_short": "the number of its entries should be at least {min_length}",
    "too_long": "the number of its entries should be at most {max_length}",
    "none_required": "this is not taken; leave it out",
    "bool_type": "true or false is wanted",
    "bool_parsing": "true or false is wanted",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
}


def validate(schema: type[S], values: Mapping[str, Any], where: str, *, place: Callable[[Sequence[int | str]], str] | None = None) -> S:
    """`values` as a `schema`, or a `UsageError` that says what is wrong at which path and what is known.

    `where` names the place for the person: a file, a recipe section, "options of poet". `place` gives what stands before the problem of
    a key, by its path: the line of the file.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        problems = _meant(error.errors(include_url=False))
        lines = [(place(problem["loc"]) if place else "") + _explain(schema, problem) for problem in problems]
        raise UsageError("{where}: {problems}", where=where, problems="; ".join(dict.fromkeys(lines))) from None


def _meant(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the branches of a union that a value failed, those it was meant for: a mapping is not blamed for being no text."""
    branches = [problem["loc"][:-1] if problem["loc"] and _TAG.fullmatch(str(problem["loc"][-1])) else None for problem in problems]
    meant = [problem["loc"] for problem, branch in zip(problems, branches) if branch is None]
    return [
        problem
        for problem, branch in zip(problems, branches)
        if branch is None or not any(location[: len(branch)] == branch for location in meant)
    ]


def _explain(schema: type[BaseModel], problem: Mapping[str, Any]) -> str:
    """One pydantic problem as a sentence."""
    known = _known_keys(schema, problem["loc"][:-1]) if problem["type"] == "extra_forbidden" else ()
    return explained(problem, known=known)


def explained(problem: Mapping[str, Any], *, known: Sequence[str] = ()) -> str:
    """One pydantic problem as a sentence in our words; `known` are the keys that are allowed where an unknown one stands."""
    location: Sequence[int | str] = problem["loc"]
    path = ".".join(str(step) for step in location if not _TAG.fullmatch(str(step)))
    if problem["type"] == "extra_forbidden":
        if not known:
            return tr("unknown key '{path}'", path=path)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = tr(" Did you mean '{near}'?", near=near[0]) if near else ""
        return tr("unknown key '{path}'.{hint} Known: {known}", path=path, hint=hint, known=", ".join(known))
    if problem["type"] == "missing":
        return tr("'{path}' is missing", path=path)
    message = problem["msg"].removeprefix("Value error, ")  # pydantic's words before those of a validator of ours
    if not path:
        return str(message)  # a contradiction between keys names them itself
    given = _REPR.repr(problem.get("input"))
    given = given if len(given) <= 60 else given[:57] + "..."
    if problem["type"] in _MESSAGES:
        message = tr(_MESSAGES[problem["type"]], **problem.get("ctx", {}))
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
