"""Writes docs/recipes.md from the schemas: `python docs/reference.py`. tests/house/test_reference.py fails when the page is out of date."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from miaobi.core.families import families
from miaobi.core.recipe import Recipe
from miaobi.data.steps import kinds

PAGE = Path(__file__).parent / "recipes.md"
INTRO = """# Recipes

A recipe is one YAML file that holds a model's whole life: its data, its shape, its training, how it is measured and what it is asked.
`miaobi train recipe.yaml` needs nothing else. This page is generated from the
schemas (`python docs/reference.py`), so it names every key there is.

```yaml
version: 1
name: couplets
data:
  source: {path: poems.jsonl, fields: {text: body, title: title}}
  steps: [normalise, {length: {least: 10}}, {dedup: minhash}]
  split: {val: 0.02}
model:
  family: ngram
  config: {order: 4}
evaluate:
  metrics: [bits_per_character, distinct]
  baselines: ["ngram:2"]
generate:
  prompts: [明月]
presets:
  small: {model: {config: {order: 2}}}
```

- **Data can be shared**: `data: painter.yaml` is the data section of the recipe beside this one; what `prepare` made for one serves all.
- **Presets** are named changes to the recipe: `--preset small`.
- **`--set key.path=value`** comes last and wins: `--set train.steps=10 --set model.config.order=3`. The value is YAML.
- **Unknown keys are errors.** The message names the key, the nearest known one and all that are possible; nothing is ignored.
- The resolved recipe, defaults filled in, is kept in the run (`resolved.yaml`) and in the model's folder (`recipe.yaml`).

The sections `adapt`, `prefer`, `reinforce` and `distill` are obeyed by `miaobi train` and by verbs of their own,
see [adapting](adapting.md).
`scale.workers` processes of this machine train together: every batch is cut into as many parts (or into those of `train.micro`), and their
gradients are added up. A run with two workers and the same micro-batches gives the weights of a run with one, bit for bit.

In the tables, `–` as a default means that the key has to be given.
"""

STEPS = """## Steps of `data.steps`

A step is written as its name, or as `{name: {option: value}}`. Steps over the whole corpus come last.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO, "## Every key\n", *sections(Recipe, ""), STEPS]
    for name, step in sorted(kinds().items()):
        short = f" `{{{name}: value}}` sets `{step.shorthand}`." if step.shorthand else ""
        parts.append(f"### `{name}`\n\n{first_line(step.options)}{short}\n\n{table(step.options, name)}")
    parts.append("## Families: `model.config` and options\n")
    for name, family in families().items():
        config, options = family.schemas()
        parts.append(f"### Family `{name}`\n\n{family.summary}\n\n**`model.config`**\n\n{table(config, name)}")
        parts.append(f"**Options** of `generate`\n\n{table(options, name)}")
    return "\n".join(part.rstrip() + "\n" for part in parts)


def sections(schema: type[BaseModel], path: str) -> Iterator[str]:
    """The table of a section, then those of the sections inside it."""
    title = f"### `{path}`" if path else "### The top"
    yield f"{title}\n\n{(schema.__doc__ or '').strip()}\n\n{table(schema, path)}"
    for name, field in schema.model_fields.items():
        for inner in schemas_in(field.annotation):
            yield from sections(inner, f"{path}.{name}".lstrip("."))


def table(schema: type[BaseModel], path: str) -> str:
    """One row a key: what it may be, what it is when absent, what it does."""
    if not schema.model_fields:
        return "No keys.\n"
    rows = [
        f"| `{name}` | {kind(field)} | {default(field)} | {explanation(field, f'{path}.{name}')} |"
        for name, field in schema.model_fields.items()
    ]
    return "| key | value | default | what it does |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def explanation(field: FieldInfo, path: str) -> str:
    """The field's docstring; every key has one."""
    assert field.description, f"the key {path} is not explained in its schema"
    return " ".join(field.description.split()).replace("|", "\\|")


def kind(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    words = {"Ge": "≥ {}", "Gt": "> {}", "Le": "≤ {}", "Lt": "< {}", "MaxLen": "at most {} long", "MinLen": "at least {} long"}
    bounds = [words[type(one).__name__].format(next(iter(vars_of(one)))) for one in field.metadata if type(one).__name__ in words]
    return ", ".join([named(field.annotation), *bounds])


def vars_of(bound: Any) -> Iterator[str]:
    """The number of a bound such as `Ge(ge=1)`."""
    for name in ("ge", "gt", "le", "lt", "max_length", "min_length"):
        if hasattr(bound, name):
            yield f"{getattr(bound, name):,}".replace(",", " ")


def named(annotation: Any) -> str:
    """A type in words."""
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "nothing", Any: "anything"}
    if annotation in plain:
        return plain[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return named(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" if value != "" else "empty" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(named(one) for one in inner)
    if origin is list:
        return f"list of: {named(inner[0])}"
    if origin is tuple:
        return f"{len(inner)} × {named(inner[0])}"
    if origin is dict:
        return "keys with values"
    assert issubclass(annotation, BaseModel), annotation
    return f"section ({annotation.__name__})"


def default(field: FieldInfo) -> str:
    """The default as YAML would have it."""
    if field.is_required():
        return "–"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value == "":
        return "empty" if value == "" else "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def schemas_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that an annotation names, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        yield from {inner: None for one in get_args(annotation) for inner in schemas_in(one)}


def first_line(schema: type[BaseModel]) -> str:
    """The docstring of a step's options."""
    return " ".join((schema.__doc__ or "").split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
