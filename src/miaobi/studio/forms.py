"""Forms from JSON schemas: whatever a family or an app declares becomes a field with a name, a help text and its bounds.

Nothing here knows a family. Fields that a schema declares itself come first and are shown; those that it inherits (the sampling options
that all text families share) and the many further ones of a large schema are folded away. What is left as it was is not sent, so that a
model's own recommendation stands.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
import yaml

from miaobi.core.errors import UsageError
from miaobi.core.language import described, tr
from miaobi.core.schema import Schema
from miaobi.studio.names import CHOICES, NAMES

Kind = Literal["text", "choice", "choices", "whole", "number", "slider", "switch", "lines", "values"]
SHOWN = 6  # fields that stand open; the rest is folded away
LARGEST_SLIDER = {"integer": 20, "number": 100}  # steps, or the range
LONG_TEXT = 200  # characters from which a text gets several lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value that a person may set. `default` is None where the model itself decides."""

    name: str
    kind: Kind
    help: str = ""
    default: Any = None
    lowest: float | None = None
    highest: float | None = None
    choices: tuple[Any, ...] = ()
    longest: int = 0
    optional: bool = False
    shown: bool = True

    @property
    def label(self) -> str:
        """What it is called in the reader's language."""
        return label_of(self.name)


def label_of(name: str) -> str:
    """An option's name for people: known words are translated, any other is made readable."""
    return tr(NAMES[name]) if name in NAMES else name.replace("_", " ").strip().capitalize()


def choice_label(value: Any) -> str:
    """A choice's name for people; names of models, styles and forms stay what they are."""
    if value == "":
        return "–"
    return tr(CHOICES[value]) if value in CHOICES else str(value)


def fields_of(schema: type[Schema], *, leave_out: Collection[str] = (), choices: Mapping[str, Sequence[Any]] | None = None) -> list[Field]:
    """The fields of a schema, those to show first.

    Args:
        leave_out: names that the page asks for in a place of their own.
        choices: values to offer for fields whose schema says only that they are text (the styles that a model has learned).
    """
    whole = schema.model_json_schema()
    definitions = whole.get("$defs", {})
    inherited = {name for base in schema.__mro__[1:] for name in vars(base).get("__annotations__", {})}
    found = [
        _field(name, _resolved(spec, definitions), (choices or {}).get(name, ()))
        for name, spec in whole.get("properties", {}).items()
        if name not in leave_out
    ]
    own = [field for field in found if field.name not in inherited or field.name == "n"]
    open_ = {field.name for field in sorted(own, key=lambda field: field.kind in ("lines", "values"))[:SHOWN]}
    marked = [dataclasses.replace(field, shown=field.name in open_) for field in found]
    return sorted(marked, key=lambda field: (not field.shown, field.name in inherited and field.name != "n"))


def _resolved(spec: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A property with references followed, and `X | None` as X that is optional."""
    spec = dict(spec)
    if "$ref" in spec:
        spec = {**definitions[str(spec.pop("$ref")).rpartition("/")[2]], **spec}
    if "anyOf" in spec:
        branches = [branch for branch in spec.pop("anyOf") if branch.get("type") != "null"]
        inner = _resolved(branches[0], definitions) if len(branches) == 1 else {}
        spec = {**inner, **spec, "optional": True}
    return spec


def _field(name: str, spec: Mapping[str, Any], choices: Sequence[Any]) -> Field:
    """One property as a field."""
    lowest = spec.get("minimum", spec.get("exclusiveMinimum"))
    highest = spec.get("maximum", spec.get("exclusiveMaximum"))
    items = spec.get("items", {})
    known = tuple(spec.get("enum", ())) or tuple(items.get("enum", ())) or _named(spec.get("choices", "")) or tuple(choices)
    default = spec.get("default")
    optional = bool(spec.get("optional"))
    return Field(
        name=name,
        kind=_kind(spec, known, lowest, highest, default, optional),
        help=described(spec.get("description")),
        default=default,
        lowest=lowest,
        highest=highest,
        choices=known,
        longest=int(spec.get("maxLength", 0)),
        optional=optional,
    )


def _named(function: str) -> tuple[Any, ...]:
    """What `module:function` lists; a schema names it where its choices are long (the forms of poems)."""
    if not function:
        return ()
    module, _, name = function.partition(":")
    return tuple(getattr(importlib.import_module(module), name)())


def _kind(spec: Mapping[str, Any], choices: tuple[Any, ...], lowest: Any, highest: Any, default: Any, optional: bool) -> Kind:
    """How a value is asked for."""
    if choices:
        return "choices" if spec.get("type") == "array" else "choice"
    match spec.get("type"):
        case "boolean":
            return "switch"
        case "integer" | "number":
            widest = LARGEST_SLIDER[str(spec["type"])]
            bounded = lowest is not None and highest is not None and highest - lowest <= widest
            if bounded and not optional and default is not None:
                return "slider"
            return "whole" if spec["type"] == "integer" else "number"
        case "array" if spec.get("items", {}).get("type") == "string":
            return "lines"
        case "string":
            return "text"
        case _:
            return "values"


def component(field: Field, value: Any = None, *, key: str = "") -> gr.components.Component:
    """The field on the page. `value` (of an earlier content, say) comes before its default."""
    start = field.default if value is None else value
    common: dict[str, Any] = {
        "label": field.label,
        "info": field.help or None,
        "interactive": True,
        "key": key or None,
        "elem_id": f"field-{field.name}",
    }
    match field.kind:
        case "switch":
            return gr.Checkbox(value=bool(start), **common)
        case "choice":
            pairs = [(choice_label(choice), choice) for choice in _offered(field, start)]
            return gr.Dropdown(pairs, value="" if start is None else start, allow_custom_value=_is_open(field), filterable=True, **common)
        case "choices":
            pairs = [(choice_label(choice), choice) for choice in field.choices if choice != ""]
            return gr.Dropdown(pairs, value=list(start or ()), multiselect=True, **common)
        case "slider":
            return gr.Slider(field.lowest or 0, field.highest or 0, value=start, step=_step(field), **common)
        case "whole" | "number" if field.optional:  # Gradio shows a number that is not there as 0
            return gr.Textbox(value="" if start is None else str(start), placeholder=tr("by itself"), max_lines=1, **common)
        case "whole" | "number":
            return gr.Number(value=start, precision=0 if field.kind == "whole" else None, **common)
        case "lines":
            return gr.Textbox(value="\n".join(start or ()), lines=2, placeholder=tr("one on each line"), **common)
        case "values":
            return gr.Textbox(value=_as_yaml(start), lines=2, placeholder="key: value", **common)
        case "text":
            return gr.Textbox(value=start or "", lines=3 if field.longest > LONG_TEXT else 1, max_length=field.longest or None, **common)


def _offered(field: Field, start: Any) -> list[Any]:
    """The choices, with nothing first where the model may decide, and what is set even if nobody knows it."""
    offered = list(field.choices)
    if start is None or start == "":
        offered = ["", *(choice for choice in offered if choice != "")]
    return offered if start in (None, *offered) else [*offered, start]


def _is_open(field: Field) -> bool:
    """Whether other values may be typed: the choices were a model's, not the schema's."""
    return field.longest > 0 or (isinstance(field.default, str) and field.default not in field.choices)


def _step(field: Field) -> float:
    assert field.lowest is not None
    assert field.highest is not None
    if isinstance(field.default, int) and isinstance(field.lowest, int) and isinstance(field.highest, int):
        return 1
    return 0.01 if field.highest - field.lowest <= 10 else 0.5


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).strip() if value else ""


def given(fields: Sequence[Field], values: Sequence[Any]) -> dict[str, Any]:
    """What the person set: values that are not the default, as the schema wants them.

    Raises:
        UsageError: a number with a fraction where a whole one is wanted, or values that are no YAML.
    """
    found: dict[str, Any] = {}
    for field, raw in zip(fields, values):
        value = _read(field, raw)
        if value is not None and value != (field.default if field.default is not None else _nothing(field)):
            found[field.name] = value
    return found


def _nothing(field: Field) -> Any:
    return {"lines": [], "choices": [], "values": {}, "switch": False}.get(field.kind, "")


def _read(field: Field, raw: Any) -> Any:
    """A component's value as the schema's; None where nothing was said."""
    if raw is None or (isinstance(raw, str) and not raw.strip() and field.kind != "text"):
        return None
    match field.kind:
        case "lines":
            return [line.strip() for line in str(raw).splitlines() if line.strip()]
        case "values":
            return _parsed(field, str(raw))
        case "whole" | "number":
            return _number(field, raw)
        case "slider":
            return int(raw) if _step(field) == 1 else float(raw)
        case _:
            return raw


def _number(field: Field, raw: Any) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise UsageError("{field}: a number is wanted, not {value}", field=field.label, value=raw) from None
    if not math.isfinite(value):
        raise UsageError("{field}: a number is wanted, not {value}", field=field.label, value=raw)
    if field.kind == "number":
        return value
    if value != int(value):
        raise UsageError("{field}: a whole number is wanted, not {value}", field=field.label, value=raw)
    return int(raw) if str(raw).strip().isdecimal() else int(value)  # a long seed does not fit into a float


def _parsed(field: Field, text: str) -> Any:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("{field}: this is not `key: value` ({problem})", field=field.label, problem=str(error).splitlines()[0]) from None
    if isinstance(found, str):
        try:
            found = json.loads(text)
        except ValueError:
            raise UsageError("{field}: write `key: value`, one on each line", field=field.label) from None
    return found
