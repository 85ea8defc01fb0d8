"""Held-out data, and the one way in which everything that is brought to it is measured: a model, a folder of pictures, a rival."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import is_model, write_text
from miaobi.core.errors import UsageError
from miaobi.core.protocols import Model
from miaobi.core.recipe import Evaluate, Generate, Recipe
from miaobi.core.types import NOTHING, Record
from miaobi.data.dataset import Dataset
from miaobi.engine.against import against
from miaobi.engine.ask import draw
from miaobi.engine.evaluate import Evaluation, OnProgress, measure, measure_pictures
from miaobi.engine.folder import pictures_in
from miaobi.engine.metrics.retrieval import SEEN, ImageText, as_judge
from miaobi.engine.report import evaluation_page

if TYPE_CHECKING:
    from miaobi.engine.exhibits import Exhibit


Load = Callable[[str | Path], tuple[Model, Model]]  # by name or folder: the model that generates, and the one that scores


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured on and how; equal for all that are compared."""

    data: Dataset | Sequence[Record]
    section: Evaluate
    load: Load
    generate: Generate
    training: Sequence[Record] | None = None
    seed: int = 0
    on_progress: OnProgress | None = None

    @cached_property
    def judge(self) -> ImageText | None:
        """The judge of pictures and captions that the section names, loaded when something is measured that it can look at.

        Raises:
            UsageError: a model that embeds no pictures.
        """
        return as_judge(self.load(self.section.scorer)[0]) if self.section.scorer else None

    def measure(self, thing: str | Path, *, strict: bool = True) -> Evaluation:
        """A model by name or folder, or a folder of pictures; see `engine.evaluate`."""
        if is_folder_of_pictures(thing):
            return self._pictures(Path(thing))
        model, scorer = self.load(thing)
        return measure(
            model,
            self.data,
            self.section,
            training=self.training,
            generate=self.generate,
            scorer=scorer,
            judge=self.judge if model.card.outputs & SEEN else None,
            strict=strict,
            seed=self.seed,
            on_progress=self.on_progress,
        )

    def _pictures(self, folder: Path) -> Evaluation:
        return measure_pictures(
            pictures_in(folder),
            self.data,
            self.section,
            name=folder.name or str(folder),
            training=self.training,
            judge=self.judge,
            seed=self.seed,
            on_progress=self.on_progress,
        )

    def beside(self, ours: Evaluation, theirs: Evaluation) -> Evaluation:
        """The first with what distinguishes it from the second."""
        return replace(ours, baselines={**ours.baselines, theirs.card.name: against(ours, theirs, seed=self.seed)})


def is_folder_of_pictures(thing: object) -> bool:
    """Whether a thing to measure is a folder that is no model and no run."""
    if not isinstance(thing, str | Path):
        return False
    folder = Path(thing)
    return folder.is_dir() and not is_model(folder) and not (folder / "resolved.yaml").is_file()


def set_up(
    recipe: Recipe | None,
    reference: Recipe | str | Path | None,
    *,
    prepare: Callable[[Recipe], Dataset],
    load: Load,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Bench:
    """The bench of a recipe, or of a reference: the held-out side of another recipe, or a folder of pictures.

    Raises:
        UsageError: neither a recipe nor a reference.
        MiaobiError: nothing is held out.
        DataError: a folder with too few pictures.
    """
    real = pictures_in(Path(reference)) if isinstance(reference, str | Path) else None
    whole = recipe or (reference if isinstance(reference, Recipe) else None)
    if whole is None and real is None:
        raise UsageError("to measure a folder of pictures, say what to compare them with: --reference FOLDER or RECIPE")
    dataset = prepare(whole) if whole else None
    held_out = prepare(reference) if isinstance(reference, Recipe) and recipe else dataset
    section = whole.evaluate if whole else Evaluate()
    data = real if real is not None else held_out
    assert data is not None
    draw(data.split(section.split) if isinstance(data, Dataset) else data, 1, seed=seed)  # said now, not when the models are loaded
    return Bench(
        data=data if isinstance(data, list) or held_out is dataset else data.split(section.split),
        section=section,
        load=load,
        generate=whole.generate if whole else Generate(),
        training=dataset.split("train") if dataset else None,
        seed=seed,
        on_progress=on_progress,
    )


def write_report(found: Evaluation, out: Path, *, log: Path | None = None) -> dict[str, Any]:
    """Write `eval.json` and the page `eval.html`, and return what the former holds."""
    report = found.to_dict()
    shown: Mapping[str, Sequence[Exhibit]] = NOTHING
    if found.evidence.pictures is not None:
        from miaobi.engine.exhibits import exhibits

        shown = exhibits(found.evidence.pictures)
    write_text(out / "eval.json", json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    write_text(out / "eval.html", evaluation_page(report, log=log if log and log.is_file() else None, shown=shown))
    return report
