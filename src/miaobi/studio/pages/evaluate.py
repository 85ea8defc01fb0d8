"""Evaluate: measure a model on held-out data, and read the figures and reports that there are."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from miaobi.core.artifact import read_text
from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.recipe import Recipe
from miaobi.core.shelf import find, list_models
from miaobi.library.queue import OPEN
from miaobi.studio import cards, runs
from miaobi.studio.frame import Page
from miaobi.studio.pages.jobs import job_card

LOOK_SECONDS = 2.0
REPORT, FIGURES = "eval.html", "eval.json"
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
                self.recipe = gr.Dropdown(label=tr("Recipe whose held-out data are taken"), choices=[], interactive=True)
                self.model = gr.Dropdown(label=tr("Model (by default the recipe's own)"), choices=[], interactive=True)
                self.go = gr.Button(tr("Evaluate"), variant="primary", elem_classes="mb-go")
                self.cards = cards.cards("mb-shelf")
            with gr.Column(scale=8, min_width=300):
                self.report = gr.Dropdown(label=tr("Reports"), choices=[], interactive=True, elem_id="mb-report")
                self.figures = gr.HTML(apply_default_css=False, js_on_load=None, elem_id="mb-figures")
        self.timer = gr.Timer(LOOK_SECONDS)
        self.on(self.go.click, self._start, [self.recipe, self.model], [self.cards])
        self.on(self.timer.tick, self._look, [self.report], [self.cards, self.report])
        self.on(self.report.change, self._show, [self.report], [self.figures])

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        self.on(page.load, self._open, None, [self.recipe, self.model, self.cards, self.report])

    def _open(self) -> tuple[Any, ...]:
        models = [("–", ""), *((known.name, known.name) for known in list_models())]
        found = reports(self.room.folder)
        first = next(iter(found), None)
        jobs = self._jobs()
        return (
            gr.Dropdown(choices=runs.recipes(self.room)),
            gr.Dropdown(choices=models, value=""),
            jobs,
            gr.Dropdown(choices=list(found), value=first),
        )

    def _start(self, recipe: str, model: str) -> list[cards.Card]:
        if recipe not in runs.recipes(self.room):
            raise UsageError("choose a recipe first: its held-out data are what is measured")
        whole = Recipe.load(self.room.folder / recipe)
        name = model or whole.name
        spec = {"recipe": whole.model_dump(mode="json"), "model": model, "out": str(self.room.works / "evaluations" / name)}
        self.room.enqueue("evaluate", spec, name=name)
        return self._jobs()

    def _look(self, report: str | None) -> tuple[list[cards.Card], Any]:
        """The jobs; and the list of reports, which grows when one is done."""
        return self._jobs(), gr.Dropdown(choices=list(reports(self.room.folder)))

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


def reports(folder: Path) -> dict[str, Path]:
    """Folders with figures by the name to show: evaluations made here, then those of the models on the shelf."""
    made = sorted((folder / "works" / "evaluations").glob(f"*/{FIGURES}"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = {tr("{name}, measured here", name=path.parent.name): path.parent for path in made}
    return found | {known.name: find(known.name) for known in list_models() if (known.folder / FIGURES).is_file()}


def figures_table(values: Mapping[str, Any]) -> str:
    """Every figure with its interval and its unit."""
    from miaobi.engine.report.plot import number

    rows = []
    for name, figure in values.get("figures", {}).items():
        if not isinstance(figure, dict) or figure.get("value") is None:
            continue
        low, high = figure.get("low"), figure.get("high")
        between = f"{number(low)} – {number(high)}" if low is not None and high is not None else ""
        cells = (
            name,
            number(figure["value"]),
            between,
            figure.get("unit", ""),
            tr(str(figure.get("better", ""))),
            f"{figure.get('count', '')}",
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
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
