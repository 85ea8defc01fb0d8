"""The families that exist: one light `family.py` a folder under `miaobi/models`, and entry points of the group `miaobi.families`.

A `Family` says what a model is without importing it: `miaobi models`, the command line's help, the server and the studio read it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from miaobi.core.errors import MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.core.types import NOTHING, Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.protocols import Model
    from miaobi.core.schema import Schema


class Check(Protocol):
    """Tells a wrong option from a model's folder alone, before its weights are read and before other work is done for nothing."""

    def __call__(self, folder: Path, options: Mapping[str, Any], /) -> None:
        """Raise a `UsageError` about the first option that names what the model does not know."""
        ...


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a kind of model is, does and needs.

    `model` and `runtime` are `"module:Class"`, imported on first use; `runtime`, where present, generates from an exported graph without
    torch; `graphless` says that it computes `model.safetensors` itself, so that nothing has to be exported. `schemas` returns the pydantic
    types of the configuration and of the options. `tiny` is a configuration that trains in seconds; it drives the contract test. `extra` is
    the pip extra that training (or, without a runtime, any use) needs. `inputs` are the media that a request may bring beside its prompt:
    "image" (to start from, to describe), "mask" (what to paint anew) and "sound" (to say again). `converses` says that it reads a whole
    conversation, system's and assistant's turns too; others see the last turn of the user. `check` is "module:function", see `Check`.
    """

    name: str
    summary: str
    outputs: frozenset[Modality]
    verbs: frozenset[Verb]
    model: str
    schemas: Callable[[], tuple[type[Schema], type[Schema]]]
    runtime: str = ""
    graphless: bool = False
    tiny: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    metrics: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # metric name -> "module:function", see engine.metrics
    inputs: frozenset[str] = frozenset()
    converses: bool = False
    check: str = ""
    extra: str = ""
    packages: tuple[str, ...] = ()  # the importable packages of `extra`, checked before the model is imported

    def model_class(self) -> type[Model]:
        """The class that learns and generates (torch, for most families)."""
        return self._resolve(self.model, self.packages)

    def runtime_class(self) -> type[Model] | None:
        """The class that generates from an exported graph, if the family has one."""
        return self._resolve(self.runtime, ()) if self.runtime else None

    def check_options(self, folder: Path, options: Mapping[str, Any]) -> None:
        """Refuse options that the model in `folder` would refuse later, as far as that shows without its weights.

        Raises:
            UsageError: an option or a value that the family or this model does not know.
        """
        from miaobi.core.schema import validate

        validate(self.schemas()[1], options, tr("options of {model}", model=folder.name))
        if self.check:
            module, _, name = self.check.partition(":")
            check: Check = getattr(importlib.import_module(module), name)
            check(folder, options)

    def _resolve(self, target: str, packages: tuple[str, ...]) -> type[Model]:
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(tr("family '{name}'", name=self.name), self.extra, package)
        module, _, name = target.partition(":")
        found: type[Model] = getattr(importlib.import_module(module), name)
        return found


@functools.cache
def families() -> Mapping[str, Family]:
    """Every known family by name, in alphabetical order. Built-in names win over entry points of the same name."""
    from importlib.metadata import entry_points

    found: dict[str, Family] = {}
    for point in entry_points(group="miaobi.families"):
        found[point.name] = point.load()
    folder = Path(__file__).parent.parent / "models"
    for path in sorted(folder.glob("*/family.py")):
        module = importlib.import_module(f"miaobi.models.{path.parent.name}.family")
        found[module.FAMILY.name] = module.FAMILY
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=256)
def _is_builtin(name: str) -> bool:
    return name.isidentifier() and (Path(__file__).parent.parent / "models" / name / "family.py").is_file()


def family(name: str) -> Family:
    """The family of that name, or an error with the nearest known name."""
    if _is_builtin(name):
        found: Family = importlib.import_module(f"miaobi.models.{name}.family").FAMILY
        return found  # without the search for entry points, which takes longer than to start Python
    known = families()
    if name not in known:
        raise unknown("family", name, known)
    return known[name]
