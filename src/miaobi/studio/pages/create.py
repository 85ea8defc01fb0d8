"""Create: from one brief a poem, pictures, music, a voice, a film and a page, as a job whose stages show as they are done."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from miaobi.core.apps import app
from miaobi.core.choices import choices_of
from miaobi.core.errors import UsageError
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.shelf import list_models
from miaobi.core.types import Modality
from miaobi.library.queue import OPEN, Job, State
from miaobi.studio import cards, forms, works
from miaobi.studio.frame import Page
from miaobi.studio.pages.jobs import NAMES, do, progress

LOOK_SECONDS = 1.0
OWN = {  # what a person may bring in place of what models would make
    "picture": [".png", ".jpg", ".jpeg", ".webp"],
    "music": [".mid", ".midi", ".mp3", ".wav", ".flac", ".ogg"],
    "poem": [".txt", ".md"],
}
MODELS = {"text_model": Modality.TEXT, "image_model": Modality.IMAGE, "music_model": Modality.MUSIC, "voice_model": Modality.AUDIO}
KNOWN = (("poet", "form"), ("painter", "style"), ("narrator", "voice"))  # whose words the options of the work are
BRIEFS = ("中秋月夜", "雪夜归人，一盏灯", "a rainy harbour at night", "spring wind in an old garden")


class Create(Page):
    """The brief, the work as it grows, and the works of before."""

    path = ""
    name = "Create"
    about = "One brief becomes a poem, pictures, music, a voice and a film."

    def draw(self) -> None:
        """The brief on one side, the work on the other."""
        self.work = gr.BrowserState("", storage_key="miaobi-work")
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=5, min_width=300, elem_classes="mb-form"):
                self._draw_form()
            with gr.Column(scale=8, min_width=300):
                self.known = gr.Dropdown(label=tr("Works"), choices=[], interactive=True, elem_id="mb-works")
                self.state = gr.HTML(apply_default_css=False, js_on_load=None, elem_id="mb-progress")
                self.parts = cards.cards("mb-parts")
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        looked = [self.state, self.parts, self.timer, self.stop, self.go]
        self.on(self.timer.tick, self._look, [self.work], looked)
        self.on(self.known.input, self._chosen, [self.known], [self.work, self.brief, *looked])
        self.on(self.stop.click, self._stop, [self.work], looked)
        given = [self.work, self.brief, self.again, *self.own, *self.values]
        self.on(self.go.click, self._create, given, [self.work, self.known, *looked], scroll_to_output=True)

    def _draw_form(self) -> None:
        self.fields = forms.fields_of(app("create").schema(), leave_out=("brief", "replace"), choices=_choices())
        self.brief = gr.Textbox(
            label=tr("What it is about"),
            placeholder="中秋月夜 · a rainy harbour at night",
            lines=3,
            max_length=500,
            interactive=True,
            elem_id="mb-prompt",
        )
        with gr.Row(elem_classes="mb-buttons"):
            self.go = gr.Button(tr("Create"), variant="primary", elem_classes="mb-go", scale=3)
            self.stop = gr.Button(tr("Stop"), interactive=False, scale=1, min_width=80)
        gr.Examples([[brief] for brief in BRIEFS], inputs=[self.brief], label=tr("For example"))
        self.again = gr.Checkbox(label=tr("change the work that is shown (only what changed is made again)"), value=False)
        with gr.Row(elem_classes="mb-fields"):
            shown = [forms.component(field) for field in self.fields if field.shown]
        with gr.Accordion(tr("More options"), open=False):
            more = [forms.component(field) for field in self.fields if not field.shown]
        with gr.Accordion(tr("Your own files in place of what is made"), open=False):
            self.own = [gr.File(label=tr(kind), file_types=types, height=110) for kind, types in OWN.items()]
        self.values = [*shown, *more]

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        looked = [self.state, self.parts, self.timer, self.stop, self.go]
        self.on(page.load, self._open, [self.work], [self.work, self.known, self.brief, *looked])

    # ------------------------------------------------------------------ made

    def _create(self, work: str, brief: str, again: bool, *values: Any) -> tuple[Any, ...]:
        """Put the work in line; what the person brings goes into its folder."""
        own, options = values[: len(OWN)], forms.given(self.fields, values[len(OWN) :])
        if not again:
            if not brief.strip():
                raise UsageError('the brief is empty: say what the work is about, such as "中秋月夜" or "a rainy harbour at night"')
            work = works.new_name(brief)
        elif not work:
            raise UsageError("no work is shown that could be changed")
        replace = {kind: str(Path(str(file))) for kind, file in zip(OWN, own) if file}
        inputs = {
            **({"brief": brief.strip()} if brief.strip() and not again else {}),
            **options,
            **({"replace": replace} if replace else {}),
        }
        name = brief.strip() or work
        self.room.enqueue("app", {"app": "create", "inputs": inputs, "out": str(works.folder_of(self.room, work)), "keep": True}, name=name)
        known = works.works(self.room)
        if work not in {value for _, value in known}:
            known.insert(0, (f"{name} · {work}", work))
        return (work, gr.Dropdown(choices=known, value=work), *self._look(work))

    def _stop(self, work: str) -> tuple[Any, ...]:
        job = self._job(work)
        if job is not None and job.state in OPEN:
            do(self.room.queue, "cancel", job.id)
        return self._look(work)

    # ------------------------------------------------------------------ shown

    def _open(self, work: str, request: gr.Request) -> tuple[Any, ...]:
        """The work that the address names, or that was shown last."""
        known = works.works(self.room)
        chosen = str(request.query_params.get("work", "")) or work
        there = chosen in {value for _, value in known} or self._job(chosen) is not None
        if there and chosen not in {value for _, value in known}:
            known.insert(0, (chosen, chosen))
        chosen = chosen if there else ""
        brief = works.order_of(works.folder_of(self.room, chosen)).get("brief") if chosen else None
        brief = gr.skip() if brief is None else brief  # a person may have begun to type
        return (chosen, gr.Dropdown(choices=known, value=chosen or None), brief, *self._look(chosen))

    def _chosen(self, work: str) -> tuple[Any, ...]:
        brief = works.order_of(works.folder_of(self.room, work)).get("brief", "")
        return (work, brief, *self._look(work))

    def _look(self, work: str) -> tuple[Any, ...]:
        """How far the work is, and what there is of it."""
        if not work:
            words = tr("Write what it is about, and press Create. It takes a minute or two on a laptop; you may close the page meanwhile.")
            return cards_note(words), [], gr.Timer(active=False), gr.Button(interactive=False), gr.Button(interactive=True)
        job = self._job(work)
        open_ = job is not None and job.state in OPEN
        return (
            state_of(job) + ("" if open_ else works.ways(self.room, work)),
            works.part_cards(self.room, work),
            gr.Timer(active=open_),
            gr.Button(interactive=open_),
            gr.Button(interactive=not open_),
        )

    def _job(self, work: str) -> Job | None:
        """The newest job of a work."""
        if not work:
            return None
        return next((job for job in self.room.queue.list(limit=200) if _is_of(job.spec, work)), None)


def _choices() -> dict[str, list[str]]:
    """What can be chosen: models by what they make, and what the usual ones know (forms, styles, voices)."""
    known = list_models()
    found = {option: [each.name for each in known if _makes(family(each.family), modality)] for option, modality in MODELS.items()}
    for model, option in KNOWN:
        folder = next((each.folder for each in known if each.name == model), None)
        if folder is not None:
            kind = family(next(each.family for each in known if each.name == model))
            fields = forms.fields_of(kind.schemas()[1], choices=choices_of(folder))
            found[option] = [str(value) for field in fields if field.name == option for value in field.choices if value != ""]
    return found


def _makes(kind: Family, modality: Modality) -> bool:
    """Whether a family makes such things from words alone: what listens, or tells what it sees, is no writer."""
    reads = {"sound"} if modality is not Modality.TEXT or kind.converses else {"sound", "image"}
    return modality in kind.outputs and not kind.inputs & reads


def _is_of(spec: Mapping[str, Any], work: str) -> bool:
    return spec.get("app") == "create" and Path(str(spec.get("out", ""))).name == work


def state_of(job: Job | None) -> str:
    """One line and a bar about a job, or what went wrong."""
    if job is None:
        return ""
    if job.state is State.FAILED:
        return f'<p class="mb-card mb-problem" role="alert">{html.escape(job.error)}</p>'
    words = f'<span class="mb-state mb-{job.state}">{html.escape(tr(NAMES[job.state]))}</span>'
    return f'<div class="mb-now">{words}{progress(job)}</div>'


def cards_note(words: str) -> str:
    """A quiet word where there is no work."""
    return f'<p class="mb-card mb-note">{html.escape(words)}</p>'
