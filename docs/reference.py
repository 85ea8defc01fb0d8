"""Writes docs/recipes.md and docs/recipes.zh.md from the schemas: `python docs/reference.py`.

The Chinese of what schemas say is in the catalogues of `miaobi.core.language`; the words of the page itself are here.
tests/house/test_reference.py fails when a page is out of date.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from miaobi.core.families import families
from miaobi.core.language import described, language, speaking
from miaobi.core.recipe import Recipe
from miaobi.data.steps import kinds

PAGES = {"en": Path(__file__).parent / "recipes.md", "zh": Path(__file__).parent / "recipes.zh.md"}
EXAMPLE = """```yaml
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
"""
INTRO = """# Recipes

A recipe is one YAML file that holds a model's whole life: its data, its shape, its training, how it is measured and what it is asked.
`miaobi train recipe.yaml` needs nothing else. This page is generated from the
schemas (`python docs/reference.py`), so it names every key there is.

{example}
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

INTRO_ZH = """# 配方

配方是一个 YAML 文件，写尽一个模型的一生：它的数据、形状、训练，怎样测量，问它什么。
`miaobi train recipe.yaml` 不再需要别的。本页由各模式生成（`python docs/reference.py`），所以每个键都在这里。

{example}
- **数据可以共用**：`data: painter.yaml` 就是旁边那个配方的 data 一节；`prepare` 为一个配方做好的，大家都能用。
- **预设**（presets）是给配方的一组有名字的改动：`--preset small`。
- **`--set 键.路径=值`** 最后套用，以它为准：`--set train.steps=10 --set model.config.order=3`。值按 YAML 书写。
- **不认识的键就是错误**：提示会写出这个键、最接近的已知键和全部可用的键；什么都不会被悄悄忽略。
- 填好默认值的配方保存在训练的文件夹（`resolved.yaml`）和模型的文件夹（`recipe.yaml`）里。

`adapt`、`prefer`、`reinforce` 和 `distill` 几节由 `miaobi train` 以及各自的动词执行，见[微调](adapting.zh.md)。
`scale.workers` 让这台机器的多个进程一起训练：每一批分成这么多份（或 `train.micro` 的份数），梯度再加起来。
两个进程与一个进程在小批相同时得到逐位相同的权重。

表中默认一栏的 `–` 表示这个键必须给出。
"""

STEPS = """## Steps of `data.steps`

A step is written as its name, or as `{name: {option: value}}`. Steps over the whole corpus come last.
"""

STEPS_ZH = """## `data.steps` 的步骤

一个步骤写作它的名字，或 `{name: {option: value}}`。要看整个语料的步骤排在最后。
"""

CHINESE = {
    INTRO: INTRO_ZH,
    STEPS: STEPS_ZH,
    "## Every key": "## 所有的键",
    "### The top": "### 顶层",
    "## Families: `model.config` and options": "## 家族：`model.config` 与选项",
    "### Family": "### 家族",
    "**Options** of `generate`": "`generate` 的**选项**",
    " `{{{name}: value}}` sets `{key}`.": "`{{{name}: value}}` 设定的是 `{key}`。",
    "No keys.": "没有键。",
    "| key | value | default | what it does |": "| 键 | 值 | 默认 | 作用 |",
    "≥ {}": "≥ {}",
    "> {}": "> {}",
    "≤ {}": "≤ {}",
    "< {}": "< {}",
    "at most {} long": "长度至多 {}",
    "at least {} long": "长度至少 {}",
    "text": "文字",
    "whole number": "整数",
    "number": "数",
    "true or false": "true 或 false",
    "nothing": "无",
    "anything": "任意",
    "empty": "空",
    "list of: {}": "列表：{}",
    "keys with values": "键值表",
    "section ({})": "一节（{}）",
    "see below": "见下",
    " or ": " 或 ",
    ", ": "，",
}
BOUNDS = {"Ge": "≥ {}", "Gt": "> {}", "Le": "≤ {}", "Lt": "< {}", "MaxLen": "at most {} long", "MinLen": "at least {} long"}
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "nothing", Any: "anything"}


def say(words: str) -> str:
    """Words of the page in its language; each has its Chinese above."""
    return CHINESE[words] if language() == "zh" else words


def page(language: str) -> str:
    """The whole page, in English (`en`) or Chinese (`zh`)."""
    with speaking(language):
        parts = [say(INTRO).replace("{example}", EXAMPLE), say("## Every key"), *sections(Recipe, ""), say(STEPS), *steps()]
        parts.append(say("## Families: `model.config` and options"))
        for name, family in families().items():
            config, options = family.schemas()
            parts.append(f"{say('### Family')} `{name}`\n\n{described(family.summary)}\n\n**`model.config`**\n\n{tables(config, name)}")
            parts.append(f"{say('**Options** of `generate`')}\n\n{tables(options, name)}")
        return "\n".join(part.rstrip() + "\n" for part in parts)


def sections(schema: type[BaseModel], path: str) -> Iterator[str]:
    """The table of a section, then those of the sections inside it."""
    title = f"### `{path}`" if path else say("### The top")
    yield f"{title}\n\n{described(schema.__doc__)}\n\n{table(schema, path)}"
    for name, field in schema.model_fields.items():
        for inner in schemas_in(field.annotation):
            yield from sections(inner, f"{path}.{name}".lstrip("."))


def steps() -> Iterator[str]:
    """What each step does, and its options."""
    for name, step in sorted(kinds().items()):
        short = say(" `{{{name}: value}}` sets `{key}`.").format(name=name, key=step.shorthand) if step.shorthand else ""
        yield f"### `{name}`\n\n{described(step.options.__doc__)}{short}\n\n{tables(step.options, name)}"


def tables(schema: type[BaseModel], path: str) -> str:
    """The table of a step's or a family's keys, then those of the sections that some of them are."""
    parts = [table(schema, path)]
    for name, field in schema.model_fields.items():
        for inner in schemas_in(field.annotation):
            parts.append(
                f"**`{name}`**{'：' if language() == 'zh' else ': '}{described(inner.__doc__)}\n\n{table(inner, f'{path}.{name}')}"
            )
    return "\n".join(parts)


def table(schema: type[BaseModel], path: str) -> str:
    """One row a key: what it may be, what it is when absent, what it does."""
    if not schema.model_fields:
        return say("No keys.") + "\n"
    rows = [
        f"| `{name}` | {kind(field)} | {default(field)} | {explanation(field, f'{path}.{name}')} |"
        for name, field in schema.model_fields.items()
    ]
    return say("| key | value | default | what it does |") + "\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def explanation(field: FieldInfo, path: str) -> str:
    """The field's docstring; every key has one."""
    assert field.description, f"the key {path} is not explained in its schema"
    return described(field.description).replace("|", "\\|")


def kind(field: FieldInfo) -> str:
    """The type in words, with its bounds."""
    bounds = [say(BOUNDS[type(one).__name__]).format(next(iter(vars_of(one)))) for one in field.metadata if type(one).__name__ in BOUNDS]
    return say(", ").join([named(field.annotation), *bounds])


def vars_of(bound: Any) -> Iterator[str]:
    """The number of a bound such as `Ge(ge=1)`."""
    for name in ("ge", "gt", "le", "lt", "max_length", "min_length"):
        if hasattr(bound, name):
            yield f"{getattr(bound, name):,}".replace(",", " ")


def named(annotation: Any) -> str:
    """A type in words."""
    if annotation in PLAIN:
        return say(PLAIN[annotation])
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return named(inner[0])
    if origin is Literal:
        return say(" or ").join(f"`{value}`" if value != "" else say("empty") for value in inner)
    if origin in (Union, types.UnionType):
        return say(" or ").join(named(one) for one in inner)
    if origin is list:
        return say("list of: {}").format(named(inner[0]))
    if origin is tuple:
        return f"{len(inner)} × {named(inner[0])}"
    if origin is dict:
        return say("keys with values")
    assert issubclass(annotation, BaseModel), annotation
    return say("section ({})").format(annotation.__name__)


def default(field: FieldInfo) -> str:
    """The default as YAML would have it."""
    if field.is_required():
        return "–"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return say("see below")
    if value is None or value == "":
        return say("empty") if value == "" else say("nothing")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def schemas_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that an annotation names, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        yield from {inner: None for one in get_args(annotation) for inner in schemas_in(one)}


if __name__ == "__main__":
    for each, path in PAGES.items():
        path.write_text(page(each), encoding="utf-8")
