"""Which model does a stage: its name, its SHA-256 and the options that it knows, without its weights being read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miaobi.apps.create.schema import NONE, Inputs
from miaobi.core.artifact import open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.families import family
from miaobi.core.recipe import Recipe
from miaobi.core.shelf import find

DEFAULTS = {"poem": {"zh": "poet", "en": "rhymer"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model for a stage. Only options that its family knows are handed to it."""

    name: str
    source: str
    knows: frozenset[str]
    style: str = ""
    """What its own recipe asks it for: a model of many styles that is told none mixes them."""

    def options(self, **wanted: Any) -> dict[str, Any]:
        """Those of the wanted options that the model has and that say something."""
        return {key: value for key, value in wanted.items() if key in self.knows and value not in ("", None, [])}

    @property
    def inputs(self) -> Mapping[str, str]:
        """What of the model decides a part's key."""
        return {"model": self.name, "source": self.source}


def choose(name: str, *, default: str = "") -> Chosen | None:
    """The model of that name; None when it was given as `none`, or when it is the default and is not here.

    Raises:
        UsageError: a model that a person named is not here.
        ArtifactError: its folder is damaged.
    """
    if name == NONE:
        return None
    try:
        artifact = open_artifact(find(name))
    except UsageError:
        if name == default:
            return None
        raise
    knows = frozenset(family(artifact.family).schemas()[1].model_fields)
    recipe = artifact.folder / "recipe.yaml"
    usual = Recipe.load(recipe).generate.options if "style" in knows and recipe.is_file() else {}
    return Chosen(name=name, source=artifact.sha256, knows=knows, style=str(usual.get("style", "")))


def text_model(order: Inputs, language: str) -> str:
    """Who writes: what was asked for, else the built-in one of the language."""
    return order.text_model or DEFAULTS["poem"][language]
