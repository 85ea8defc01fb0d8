"""Train: a recipe, its forms, and a run as it goes: curves, samples, stop and go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import yaml

from miaobi.core.artifact import read_text
from miaobi.core.errors import UsageError
from miaobi.core.families import families, family
from miaobi.core.language import tr
from miaobi.core.recipe import Data, Recipe
from miaobi.core.recipe import Train as TrainSection
from miaobi.core.schema import Schema
from miaobi.core.types import Verb
from miaobi.library.queue import OPEN, Job, State
from miaobi.studio import cards, forms, runs
from miaobi.studio.frame import Page, spoken
from miaobi.studio.pages.create import cards_note, state_of
from miaobi.studio.pages.jobs import do

LOOK_SECONDS = 2.0
KINDS = frozenset({"train", "adapt", "distill"})  # of jobs that have a run
EXAMPLE = """version: 1
name: my-model
data: {source: my-texts/, split: {val: 0.05}}
model: {family: ngram}
generate: {prompts: [中秋月夜]}
"""
SECTIONS: Mapping[str, type[Schema]] = {"train": TrainSection, "data": Data}


class Train(Page):
    """The recipe on one side, the run on the other."""

    path = "train"
    name = "Train"
    about = "A recipe is a model's whole life. Change it here, start it, and watch it learn."

    def draw(self) -> None:
        """See `Page`."""
        self.run = gr.BrowserState("", storage_key="miaobi-run")
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=6, min_width=300, elem_classes="mb-form"):
                self._draw_recipe()
            with gr.Column(scale=7, min_width=300):
                self.known = gr.Dropdown(label=tr("Runs"), choices=[], interactive=True, elem_id="mb-runs")
                self.state = gr.HTML(apply_default_css=False, js_on_load=None, elem_id="mb-progress")
                with gr.Row(elem_classes="mb-buttons"):
                    self.pause = gr.Button(tr("Stop"), size="sm", interactive=False)
                    self.resume = gr.Button(tr("Go on"), size="sm", interactive=False)
                    self.cancel = gr.Button(tr("Give up"), size="sm", interactive=False)
                self.curve = gr.HTML(apply_default_css=False, js_on_load=None, elem_id="mb-curve")
                self.samples = cards.cards("mb-samples")
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.looked = [self.state, self.curve, self.samples, self.timer, self.pause, self.resume, self.cancel]
        self.on(self.timer.tick, self._look, [self.run], self.looked)
        self.on(self.known.input, lambda run: (run, *self._look(run)), [self.known], [self.run, *self.looked])
        for button, action in ((self.pause, "pause"), (self.resume, "resume"), (self.cancel, "cancel")):
            self.on(button.click, self._asker(action), [self.run], self.looked)
        self.on(self.go.click, self._start, [self.text], [self.run, self.known, *self.looked], scroll_to_output=True)

    def _draw_recipe(self) -> None:
        self.recipe = gr.Dropdown(label=tr("Recipe"), choices=[], interactive=True, elem_id="mb-recipe")
        self.go = gr.Button(tr("Train"), variant="primary", elem_classes="mb-go")
        self.text = gr.Code(
            value=EXAMPLE, language="yaml", label=tr("The recipe"), lines=16, max_lines=28, interactive=True, elem_id="mb-yaml"
        )
        self.on(self.recipe.input, self._read, [self.recipe], [self.text])
        with gr.Accordion(tr("Change it by a form"), open=False) as accordion:
            self.section = gr.Radio(
                [(tr("training"), "train"), (tr("data"), "data"), (tr("model"), "model")],
                value="train",
                label=tr("Change it by a form"),
                show_label=False,
                interactive=True,
                container=False,
            )
            draw = spoken(self._form, self.language)
            gr.render(inputs=[self.section, self.text], triggers=[accordion.expand, self.section.change, self.recipe.change])(draw)

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        self.on(page.load, self._open, [self.run], [self.recipe, self.run, self.known, *self.looked])

    # ------------------------------------------------------------------ the recipe

    def _read(self, recipe: str) -> str:
        if recipe not in runs.recipes(self.room):  # a browser may send any text
            raise UsageError("there is no file at {path}", path=recipe)
        return read_text(self.room.folder / recipe)

    def _form(self, section: str, text: str) -> None:
        """The fields of a section of the recipe, with the recipe's values; a button writes them back."""
        values = parsed(text)
        schema = self._schema(section, values)
        if schema is None:
            gr.Markdown(tr("The recipe names no family that is here; known: {names}", names=", ".join(_learners())))
            return
        fields = forms.fields_of(schema)
        inner = values.get(section) or {}
        given = (inner.get("config") or {}) if section == "model" and isinstance(inner, dict) else inner
        begin = given if isinstance(given, dict) else {}
        with gr.Row(elem_classes="mb-fields"):
            components = [forms.component(field, begin.get(field.name)) for field in fields]
        apply = gr.Button(tr("Put into the recipe"), size="sm")

        def write(text: str, *said: Any) -> str:
            return written(text, section, fields, forms.given(fields, said))

        self.on(apply.click, write, [self.text, *components], [self.text])

    def _schema(self, section: str, values: Mapping[str, Any]) -> type[Schema] | None:
        if section in SECTIONS:
            return SECTIONS[section]
        model = values.get("model")
        name = str(model.get("family", "")) if isinstance(model, dict) else ""
        return family(name).schemas()[0] if name in families() else None

    # ------------------------------------------------------------------ the run

    def _start(self, text: str) -> tuple[Any, ...]:
        """Check the recipe and put the training in line; one that was stopped goes on."""
        recipe = Recipe.of(parsed(text))
        job = self._job(recipe.name)
        if job is not None and job.state in OPEN:
            raise UsageError("the training of {name} is in line already", name=recipe.name)
        self.room.enqueue(kind_of(recipe), {"recipe": recipe.model_dump(mode="json")}, name=recipe.name)
        known = list(dict.fromkeys([recipe.name, *runs.runs(self.room)]))
        return (recipe.name, gr.Dropdown(choices=known, value=recipe.name), *self._look(recipe.name))

    def _asker(self, action: str) -> Any:
        def ask(run: str) -> tuple[Any, ...]:
            job = self._job(run)
            if job is not None:
                do(self.room.queue, "retry" if action == "resume" and job.state in (State.FAILED, State.CANCELLED) else action, job.id)
                self.room.hands.begin(job.kind)
            return self._look(run)

        return ask

    def _open(self, run: str, request: gr.Request) -> tuple[Any, ...]:
        chosen = str(request.query_params.get("run", "")) or run
        known = list(dict.fromkeys([*([chosen] if self._job(chosen) else []), *runs.runs(self.room)]))
        chosen = chosen if chosen in known else next(iter(known), "")
        return (gr.Dropdown(choices=runs.recipes(self.room)), chosen, gr.Dropdown(choices=known, value=chosen or None), *self._look(chosen))

    def _look(self, run: str) -> tuple[Any, ...]:
        """How the run stands: its job, its curves, its samples, and what can be asked of it."""
        job = self._job(run)
        state = job.state if job is not None else None
        empty = "" if run else cards_note(tr("Choose a recipe, change what you like, and press Train: the curve and samples appear here."))
        running = state in (State.QUEUED, State.RUNNING, State.LOST)
        return (
            state_of(job) + empty,
            runs.curve(self.room, run) if run else "",
            runs.samples(self.room, run) if run else [],
            gr.Timer(active=running),
            gr.Button(interactive=running),
            gr.Button(interactive=state in (State.PAUSED, State.FAILED, State.CANCELLED)),
            gr.Button(interactive=running or state is State.PAUSED),
        )

    def _job(self, run: str) -> Job | None:
        """The newest training of that name."""
        if not run:
            return None
        jobs = self.room.queue.list(limit=200)
        return next((job for job in jobs if job.kind in KINDS and job.spec.get("recipe", {}).get("name") == run), None)


def kind_of(recipe: Recipe) -> str:
    """The kind of job that a recipe's sections ask for."""
    if recipe.distill is not None:
        return "distill"
    return "adapt" if recipe.adapt or recipe.prefer or recipe.reinforce else "train"


def parsed(text: str) -> dict[str, Any]:
    """The recipe's YAML as values.

    Raises:
        UsageError: it is no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("the recipe is not YAML: {problem}", problem=" ".join(str(error).split())[:300]) from None
    if not isinstance(values, dict):
        raise UsageError("the recipe is no mapping of keys and values")
    return values


def written(text: str, section: str, fields: list[forms.Field], said: Mapping[str, Any]) -> str:
    """The recipe with what the form says in it: values set back to their defaults go, and those that no form shows stay."""
    values = parsed(text)
    inner = dict(values.get(section) or {})
    target = dict(inner.get("config") or {}) if section == "model" else inner
    for field in fields:
        target.pop(field.name, None)
    target.update(said)
    values[section] = {**inner, "config": target} if section == "model" else target
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=120)


def _learners() -> list[str]:
    return [name for name, kind in families().items() if {Verb.TRAIN, Verb.FIT} & kind.verbs]
