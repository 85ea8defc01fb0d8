"""A family's options on the command line: one argument for each field of its schema, with its choices and its documentation.

The schema is the only place where an option is described; `generate --help`, the parser and the completion all read it here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.types import NOTHING

if TYPE_CHECKING:
    from miaobi.core.schema import Schema

PREFIX = "option_"  # keeps a family's options apart from the verb's own arguments in the namespace


@dataclass(frozen=True, slots=True)
class Option:
    """One field of an options schema."""

    name: str
    kind: type
    choices: tuple[str, ...]
    closed: bool  # nothing but the choices will do; else the model knows more, such as other names of a form
    default: Any
    text: str

    @property
    def flag(self) -> str:
        """`top_k` is typed as `--top-k`."""
        return "--" + self.name.replace("_", "-")


def options_of(schema: type[Schema]) -> Iterator[Option]:
    """Every option of `schema`, in the order in which it was written down."""
    for name, field in schema.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        yield Option(
            name=name,
            kind=_kind(field.annotation),
            choices=_named(str(extra["choices"])) if "choices" in extra else _choices(field.annotation),
            closed=not extra.get("open"),
            default=None if field.is_required() else field.get_default(call_default_factory=True),
            text=" ".join((field.description or "").split()),
        )


def add_options(
    parser: Parser, schema: type[Schema], title: str, *, skip: Collection[str] = (), offered: Mapping[str, Sequence[str]] = NOTHING
) -> None:
    """Give `parser` an argument for every option of `schema` but those of `skip`, which the verb itself asks for.

    `offered` are values that one model knows for an option which the schema leaves open, such as its styles.
    """
    group = parser.add_argument_group(title)
    for option in options_of(schema):
        if option.name in skip:
            continue
        if not option.choices and option.name in offered:
            option = replace(option, choices=tuple(offered[option.name]), closed=False)
        target: dict[str, Any] = {"dest": PREFIX + option.name, "default": argparse.SUPPRESS, "help": _help(option)}
        if option.kind is bool:
            group.add_argument(option.flag, action=argparse.BooleanOptionalAction, **target)
        elif option.kind in (list, dict):
            metavar = ("JSON" if option.default is None else "KEY=VALUE") if option.kind is dict else "TEXT"
            group.add_argument(option.flag, action="append", metavar=metavar, **target)
        else:
            metavar = {int: "N", float: "X"}.get(option.kind, "TEXT")
            kind = _Choice(option) if option.choices and option.closed else str
            action = group.add_argument(option.flag, metavar=metavar, type=kind, **target)
            action.completions = tuple(filter(None, option.choices))  # type: ignore[attr-defined]  # read by the completion


def given_options(arguments: argparse.Namespace, schema: type[Schema], where: str, *, known: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """What was typed, as the values that the schema makes of it; what was not typed is left out. `known` are values from elsewhere.

    Raises:
        UsageError: a value that the schema refuses.
    """
    from miaobi.core.schema import validate

    typed = {key.removeprefix(PREFIX): value for key, value in vars(arguments).items() if key.startswith(PREFIX)}
    for option in options_of(schema):
        if option.kind is dict and option.name in typed:
            typed[option.name] = _mapping(option, typed[option.name])
        elif option.kind in (int, float) and option.name in typed:
            typed[option.name] = _number(typed[option.name], option.kind)
    return validate(schema, {**typed, **known}, where).model_dump(mode="json", include=set(typed))


class _Choice:
    """An argument type: one of the option's choices, or an error with the nearest one."""

    def __init__(self, option: Option) -> None:
        self.option = option

    def __call__(self, text: str) -> str:
        if text not in self.option.choices:
            raise unknown(self.option.name, text, self.option.choices)
        return text


def _number(text: str, kind: type) -> Any:
    """The number that was typed, since a schema may refuse text that only looks like one; the schema explains any other text."""
    try:
        return kind(text)
    except ValueError:
        return text


def _mapping(option: Option, texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as often as wanted, or the whole as one JSON object."""
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        try:
            return dict(json.loads(texts[0]))
        except (ValueError, RecursionError) as error:
            raise UsageError("{flag} is not JSON ({problem})", flag=option.flag, problem=error) from None
    return dict(_pair(option, text) for text in texts)


def _pair(option: Option, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError("{flag} takes KEY=VALUE, not '{text}'", flag=option.flag, text=text)
    return key, value


def _help(option: Option) -> str:
    parts = [tr(option.text)] if option.text else []
    if option.choices:
        parts.append(tr("One of: {choices}.", choices=", ".join(filter(None, option.choices))))
    if option.default is True:
        parts.append(tr("Default: on."))
    elif option.default not in (None, False, "", [], {}, ()):
        parts.append(tr("Default: {default}.", default=option.default))
    return " ".join(parts).replace("%", "%%")


def _named(target: str) -> tuple[str, ...]:
    """The choices that a schema names as `module:function`, since listing them may need tables to be read."""
    module, _, name = target.partition(":")
    return tuple(getattr(importlib.import_module(module), name)())


def _plain_types(annotation: Any) -> Iterator[Any]:
    """The annotation without `| None` and `Annotated`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _plain_types(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            if inner is not type(None):
                yield from _plain_types(inner)
    else:
        yield annotation


def _kind(annotation: Any) -> type:
    kinds: set[Any] = set()
    for plain in _plain_types(annotation):
        origin = typing.get_origin(plain)
        kinds |= {type(value) for value in typing.get_args(plain)} if origin is typing.Literal else {origin or plain}
    if kinds & {list, tuple, set, frozenset}:
        return list
    for kind in (dict, float, int):
        if kind in kinds:
            return kind
    return bool if kinds == {bool} else str


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of literals and enumerations; beside those a bool counts as the words true and false."""
    found: list[str] = []
    for plain in _plain_types(annotation):
        if typing.get_origin(plain) is typing.Literal:
            found += [str(value) for value in typing.get_args(plain)]
        elif isinstance(plain, type) and issubclass(plain, Enum):
            found += [str(member.value) for member in plain]
    return (*(("true", "false") if found and bool in _plain_types(annotation) else ()), *found)
