"""Evaluate: measure a model on held-out data, and read the figures and reports that there are."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from miaobi.core.artifact import read_text
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import described, tr
from miaobi.core.recipe import Evaluate as Section
from miaobi.core.recipe import Recipe
from miaobi.core.shelf import find, list_models
from miaobi.library.queue import OPEN
from miaobi.studio import cards, forms, runs
from miaobi.studio.frame import Page
from miaobi.studio.pages.jobs import job_card

LOOK_SECONDS = 2.0
REPORT, FIGURES, RECIPE = "eval.html", "eval.json", "recipe.yaml"
OWN = "model:"  # before a model's name: the recipe that it brought along
AMOUNTS = ("records", "samples")  # of the recipe's section, what makes an evaluation short or long
LARGEST_REPORT = 32 << 20


class Evaluate(Page):
    """A model and a recipe in, figures with their intervals out."""

    path = "evaluate"
    name = "Evaluate"
    about = "Figures on held-out data, each with its interval, and the whole report."

    def draw(self) -> None:
        """See `Page`."""
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=4, min_width=280, elem_classes="mb-form"):
                self.recipe = gr.Dropdown(
                    label=tr("Recipe whose held-out data are taken"), choices=[], interactive=True, elem_id="mb-recipe"
                )
                self.model = gr.Dropdown(label=tr("Model (by default the recipe's own)"), choices=[], interactive=True, elem_id="mb-model")
                self.fields = [forms.Field(name=name, kind="whole", help=_help(name), optional=True) for name in AMOUNTS]
                with gr.Row(elem_classes="mb-fields"):
                    amounts = [forms.component(field) for field in self.fields]
                self.go = gr.Button(tr("Evaluate"), variant="primary", elem_classes="mb-go")
                self.cards = cards.cards("mb-shelf")
            with gr.Column(scale=8, min_width=300):
                self.report = gr.Dropdown(label=tr("Reports"), choices=[], interactive=True, elem_id="mb-report")
                self.figures = gr.HTML(apply_default_css=False, js_on_load=None, elem_id="mb-figures")
        self.seen = gr.State(0.0)
        self.timer = gr.Timer(LOOK_SECONDS)
        shown = [self.cards, self.report, self.figures, self.seen]
        self.on(self.go.click, self._start, [self.recipe, self.model, *amounts], [self.cards])
        self.on(self.timer.tick, self._look, [self.seen], shown)
        self.on(self.report.input, self._show, [self.report], [self.figures])

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        self.on(page.load, self._open, None, [self.recipe, self.model, self.cards, self.report, self.figures, self.seen])

    def _open(self) -> tuple[Any, ...]:
        models = [("–", ""), *((known.name, known.name) for known in list_models())]
        found = reports(self.room.folder)
        first = next(iter(found), None)
        return (
            gr.Dropdown(choices=[*((path, path) for path in runs.recipes(self.room)), *_own_recipes()]),
            gr.Dropdown(choices=models, value=""),
            self._jobs(),
            gr.Dropdown(choices=list(found), value=first),
            self._show(first),
            newest(self.room.folder),
        )

    def _start(self, recipe: str, model: str, *amounts: Any) -> list[cards.Card]:
        known = [each.name for each in list_models()]
        if model and model not in known:  # a browser may send any text
            raise unknown("model", model, known)
        values, own = self._recipe(recipe)
        values["evaluate"] = {**(values.get("evaluate") or {}), **forms.given(self.fields, amounts)}
        name = model or own or values["name"]
        spec = {"recipe": values, "model": model or own, "out": str(self.room.works / "evaluations" / name)}
        self.room.enqueue("evaluate", spec, name=name)
        return self._jobs()

    def _recipe(self, chosen: str) -> tuple[dict[str, Any], str]:
        """The recipe that was chosen, and the model whose own it is; that of a file has none. A browser may send any text."""
        own = str(chosen).removeprefix(OWN) if str(chosen).startswith(OWN) else ""
        if own and chosen in {value for _, value in _own_recipes()}:
            return Recipe.load(find(own) / RECIPE).model_dump(mode="json"), own
        if chosen not in runs.recipes(self.room):
            raise UsageError("choose a recipe first: its held-out data are what is measured")
        return Recipe.load(self.room.folder / chosen).model_dump(mode="json"), ""

    def _look(self, seen: float) -> tuple[Any, ...]:
        """The jobs; and a report that has come since."""
        now = newest(self.room.folder)
        if now <= seen:
            return self._jobs(), gr.skip(), gr.skip(), gr.skip()
        found = reports(self.room.folder)
        first = next(iter(found), None)
        return self._jobs(), gr.Dropdown(choices=list(found), value=first), self._show(first), now

    def _jobs(self) -> list[cards.Card]:
        jobs = [job for job in self.room.queue.list(limit=100) if job.kind == "evaluate"]
        return [job_card(job, link=False) for job in jobs if job.state in OPEN or job.error][:5]

    def _show(self, report: str | None) -> str:
        folder = reports(self.room.folder).get(report or "")
        if folder is None:
            return ""
        page = folder / REPORT
        values = json.loads(read_text(folder / FIGURES))
        return figures_table(values) + (_framed(read_text(page, limit=LARGEST_REPORT)) if page.is_file() else "")


def _help(name: str) -> str:
    return described(Section.model_fields[name].description)


def _own_recipes() -> list[tuple[str, str]]:
    """The recipes that models were made by, where they brought them along."""
    known = (model for model in list_models() if (model.folder / RECIPE).is_file())
    return [(tr("{name}, its own recipe", name=model.name), OWN + model.name) for model in known]


def _made(folder: Path) -> list[Path]:
    """Figures that were measured here, the newest first."""
    return sorted((folder / "works" / "evaluations").glob(f"*/{FIGURES}"), key=lambda path: path.stat().st_mtime, reverse=True)


def newest(folder: Path) -> float:
    """When the newest of them was written, in seconds since 1970; 0 where there is none."""
    return next((path.stat().st_mtime for path in _made(folder)), 0.0)


def reports(folder: Path) -> dict[str, Path]:
    """Folders with figures by the name to show: evaluations made here, then those of the models on the shelf."""
    found = {tr("{name}, measured here", name=path.parent.name): path.parent for path in _made(folder)}
    return found | {known.name: find(known.name) for known in list_models() if (known.folder / FIGURES).is_file()}


def figures_table(values: Mapping[str, Any]) -> str:
    """Every figure with its interval and its unit."""
    from miaobi.engine.report.names import cell
    from miaobi.engine.report.plot import number

    rows = []
    for name, figure in values.get("figures", {}).items():
        if not isinstance(figure, dict) or figure.get("value") is None:
            continue
        low, high = figure.get("low"), figure.get("high")
        between = f"{number(low)} – {number(high)}" if low is not None and high is not None else ""
        values_of = (
            number(figure["value"]),
            between,
            tr(str(figure.get("unit", ""))),
            tr(str(figure.get("better", ""))),
            f"{figure.get('count', '')}",
        )
        rows.append(f"<tr><td>{cell(name)}</td>" + "".join(f"<td>{html.escape(value)}</td>" for value in values_of) + "</tr>")
    head = "".join(f"<th>{html.escape(tr(name))}</th>" for name in ("figure", "value", "95 % interval", "unit", "better", "count"))
    model = values.get("model", {})
    words = f"{model.get('name', '')} ({model.get('family', '')}) · {values.get('software', '')}"
    title = f'<p class="mb-who">{html.escape(words)}</p>'
    return (
        f'{title}<div class="mb-scroll"><table class="mb-table"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _framed(page: str) -> str:
    """A report in a frame of its own, in which no script runs and from which nothing is reached."""
    return f'<iframe class="mb-frame" sandbox="" title="{html.escape(tr("Report"))}" srcdoc="{html.escape(page)}"></iframe>'
