"""Which model does a stage: its name, its SHA-256 and the options that it knows, without its weights being read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.apps.create.schema import NONE, Inputs
from miaobi.core.artifact import open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.recipe import Recipe
from miaobi.core.shelf import find
from miaobi.core.types import Modality

WRITERS = {"zh": "poet", "en": "rhymer"}
OF_STAGE = {  # what a person may ask of each stage: who does it, and how
    "poem": ("text_model", "form"),
    "picture": ("image_model", "style"),
    "music": ("music_model",),
    "narration": ("voice_model", "voice"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model for a stage. Only options that its family knows are handed to it."""

    name: str
    source: str
    folder: Path
    family: Family
    style: str = ""
    """What its own recipe asks it for: a model of many styles that is told none mixes them."""

    @property
    def knows(self) -> Collection[str]:
        """The options of its family."""
        return self.family.schemas()[1].model_fields.keys()

    def options(self, **wanted: Any) -> dict[str, Any]:
        """Those of the wanted options that the model has and that say something."""
        return {key: value for key, value in wanted.items() if key in self.knows and value not in ("", None, [])}

    def check(self, **asked: str) -> None:
        """Refuse what a person asked for and the model cannot; see `Family.check_options`."""
        said = {option: value for option, value in asked.items() if value}
        for option in said:
            if option not in self.knows:
                raise UsageError("the model {model} has no option {option}; leave --{option} out", model=self.name, option=option)
        self.family.check_options(self.folder, said)

    @property
    def inputs(self) -> Mapping[str, str]:
        """What of the model decides a part's key."""
        return {"model": self.name, "source": self.source}


def writer(order: Inputs, language: str) -> Chosen | None:
    """Who writes: what was asked for, else the built-in one of the language. None, here and below, where nobody is wanted or there."""
    return _choose(order.text_model or WRITERS[language], Modality.TEXT, "--text-model")


def painter(order: Inputs) -> Chosen | None:
    """Who draws."""
    return _choose(order.image_model, Modality.IMAGE, "--image-model", default="painter")


def composer(order: Inputs) -> Chosen | None:
    """Who composes."""
    return _choose(order.music_model, Modality.MUSIC, "--music-model", default="composer")


def reader(order: Inputs) -> Chosen | None:
    """Who reads."""
    return None if order.voice == NONE else _choose(order.voice_model, Modality.AUDIO, "--voice-model", default="narrator")


def check(order: Inputs, stages: Collection[str], language: str) -> None:
    """Look at everything that is asked of these stages, so that a wrong name is told before minutes of work and not after.

    Raises:
        UsageError: an unknown model, one that makes something else, an unknown form, style or voice, or nobody who writes.
        ArtifactError: a model's folder is damaged.
    """
    if "poem" in stages and "poem" not in order.replace:
        chosen = writer(order, language)
        if chosen is None:
            raise UsageError("a work needs a poem: name a text model, or give one with --replace poem=FILE")
        chosen.check(form=order.form)
    if "picture" in stages and (chosen := painter(order)):
        chosen.check(style=order.style)
    if "music" in stages and "music" not in order.replace:
        composer(order)
    if "narration" in stages and (chosen := reader(order)):
        chosen.check(voice=order.voice)


def makes_effects() -> bool:
    """Whether the model of sound effects is here."""
    return _choose("effects", Modality.AUDIO, "", default="effects") is not None


def _choose(name: str, wanted: Modality, flag: str, *, default: str = "") -> Chosen | None:
    """The model of that name; None when it was given as `none`, or when it is the default and is not here."""
    if name == NONE:
        return None
    try:
        artifact = open_artifact(find(name))
    except UsageError:
        if name == default:
            return None
        raise
    kind = family(artifact.family)
    if wanted not in kind.outputs:
        made = ", ".join(sorted(tr(each) for each in kind.outputs))
        raise UsageError("the model {model} makes {made}; for {flag} one is wanted that makes {wanted}", model=name, made=made, flag=flag,
                         wanted=tr(wanted))  # fmt: skip
    recipe = artifact.folder / "recipe.yaml"
    usual = Recipe.load(recipe).generate.options if "style" in kind.schemas()[1].model_fields and recipe.is_file() else {}
    return Chosen(name=name, source=artifact.sha256, folder=artifact.folder, family=kind, style=str(usual.get("style", "")))
