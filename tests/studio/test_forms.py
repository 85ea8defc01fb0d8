"""Forms drawn from schemas: of every family and app that is here, and of the recipe's sections."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field

from miaobi.core.apps import apps
from miaobi.core.errors import UsageError
from miaobi.core.families import families
from miaobi.core.language import speaking
from miaobi.core.recipe import Data, Train
from miaobi.core.schema import Schema, validate
from miaobi.studio import forms
from miaobi.studio.names import NAMES

SCHEMAS: dict[str, type[Schema]] = {
    **{f"options of {name}": family.schemas()[1] for name, family in families().items()},
    **{f"config of {name}": family.schemas()[0] for name, family in families().items()},
    **{f"inputs of {name}": app.schema() for name, app in apps().items()},
    "data": Data,
    "train": Train,
}


class Base(Schema):
    """What is inherited."""

    warmth: float = Field(0.5, ge=0, le=1)
    """How warm."""


class Everything(Base):
    """One field of each kind."""

    words: str = Field("", max_length=500)
    """Long."""
    kind: Literal["", "a", "b"] = ""
    """One of several."""
    count: int = Field(3, ge=1, le=9)
    """A whole number."""
    large: int | None = Field(None, ge=0)
    """By itself."""
    loud: bool = True
    """Yes or no."""
    names: list[str] = Field(default_factory=list)
    """Several."""
    stages: list[Literal["x", "y"]] = Field(default_factory=list)
    """Some of these."""
    pairs: dict[str, int] = Field(default_factory=dict)
    """Keys and values."""
    style: str = Field("", max_length=64)
    """A model knows which."""


def drawn(schema: type[Schema], values: dict[str, Any] | None = None) -> tuple[list[forms.Field], list[Any]]:
    """The fields, and what their components hold before anybody touches them."""
    fields = forms.fields_of(schema)
    return fields, [forms.component(field, (values or {}).get(field.name)).value for field in fields]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_form_that_nobody_touched_says_nothing(name: str) -> None:
    fields, held = drawn(SCHEMAS[name])
    assert {field.name for field in fields} == set(SCHEMAS[name].model_fields)
    assert forms.given(fields, held) == {}


@pytest.mark.parametrize("name", [name for name, app in families().items() if app.schemas()[1].model_fields])
def test_every_option_is_named_and_explained(name: str) -> None:
    for language in ("en", "zh"):
        with speaking(language):
            for field in forms.fields_of(families()[name].schemas()[1]):
                assert field.label
                assert field.help, f"{name}.{field.name}"


@pytest.mark.parametrize("name", [name for name in SCHEMAS if not name.startswith("config of")])
def test_what_comes_with_the_house_has_a_name_for_people(name: str) -> None:
    assert not set(SCHEMAS[name].model_fields) - set(NAMES)


def test_fields_are_of_their_kinds() -> None:
    kinds = {field.name: field.kind for field in forms.fields_of(Everything, choices={"style": ["flat", "3d"]})}
    assert kinds == {
        "words": "text",
        "kind": "choice",
        "count": "slider",
        "large": "whole",
        "loud": "switch",
        "names": "lines",
        "stages": "choices",
        "pairs": "values",
        "style": "choice",
        "warmth": "slider",
    }


def test_what_is_inherited_is_folded_away() -> None:
    shown = [field.name for field in forms.fields_of(Everything) if field.shown]
    assert len(shown) == forms.SHOWN
    assert "warmth" not in shown
    assert shown[0] == "words"


def test_what_was_set_reaches_the_schema() -> None:
    fields = forms.fields_of(Everything)
    said = {
        "words": "风", "kind": "b", "count": 5.0, "large": "7", "loud": False, "names": " a \n\nb", "stages": ["y"], "pairs": "p: 1\nq: 2",
        "warmth": 0.25,
    }  # fmt: skip
    given = forms.given(fields, [said.get(field.name, "") for field in fields])
    made = validate(Everything, given, "test")
    assert made == Everything(
        words="风", kind="b", count=5, large=7, loud=False, names=["a", "b"], stages=["y"], pairs={"p": 1, "q": 2}, warmth=0.25
    )


def test_settings_of_before_are_shown_again() -> None:
    values = {"words": "雨", "kind": "a", "count": 4, "large": 9, "loud": False, "names": ["c"], "stages": ["x"], "pairs": {"p": 3}}
    fields, held = drawn(Everything, values)
    assert forms.given(fields, held) == values


@pytest.mark.parametrize(
    ("name", "value"), [("large", "1.5"), ("large", "many"), ("large", "nan"), ("large", "inf"), ("pairs", "just words"), ("pairs", "a: [")]
)
def test_what_cannot_be_is_told(name: str, value: Any) -> None:
    fields = [field for field in forms.fields_of(Everything) if field.name == name]
    with pytest.raises(UsageError):
        forms.given(fields, [value])
