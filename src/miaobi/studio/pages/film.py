"""Film: short clips from a model, a film from a table of scenes, and films that exist cut, dubbed, subtitled or described."""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import gradio as gr

from miaobi.core.apps import App, app, apps
from miaobi.core.artifact import explain_os_errors, read_text, write_text
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import language, tr
from miaobi.core.schema import validate
from miaobi.core.types import Modality
from miaobi.library.queue import OPEN, Job, State
from miaobi.serve.endings import ending
from miaobi.studio import cards, forms, timelines, works
from miaobi.studio.frame import spoken
from miaobi.studio.pages.asking import Asking
from miaobi.studio.pages.create import state_of
from miaobi.studio.pages.jobs import do

LOOK_SECONDS = 1.0
TIMELINE = "timeline.yaml"
OTHERS = frozenset({"create", "film"})  # apps with a place of their own
FILES = {"transcript": [".srt", ".vtt"]}

HEADINGS = {
    "picture": "picture or clip",
    "card": "words that fill it",
    "narration": "what is said",
    "caption": "words over it",
    "seconds": "seconds",
    "move": "camera",
    "transition": "from before",
}

SAID = {  # the words of a timeline, for those who read another language
    "still": "still",
    "zoom-in": "zoom in",
    "zoom-out": "zoom out",
    "pan-left": "pan left",
    "pan-right": "pan right",
    "pan-up": "pan up",
    "pan-down": "pan down",
    "cut": "cut",
    "fade": "fade",
    "dissolve": "dissolve",
    "wipe": "wipe",
    "slide": "slide",
}


class Film(Asking):
    """Three ways to a film."""

    path = "film"
    name = "Film"
    about = "Clips from a model, films from a table of scenes, and films that exist: cut, dubbed, subtitled, described."
    modality = Modality.VIDEO
    prompt_label = "What moves"
    prompt_hint = "一只跳跃的兔子 · a jumping rabbit"
    go_label = "Animate"
    lines = 2
    first = ("animator",)

    def draw(self) -> None:
        """See `Page`."""
        with gr.Tabs():
            with gr.Tab(tr("Timeline")):
                self._draw_timeline()
            with gr.Tab(tr("Clip")):
                super().draw()
            with gr.Tab(tr("Edit")):
                self._draw_edit()
        with gr.Column(elem_classes="mb-rendered"):
            self.state = gr.HTML(apply_default_css=False, js_on_load=None)
            self.made = cards.cards("mb-made")
            self.stop_job = gr.Button(tr("Stop"), size="sm", visible=False)
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        looked = [self.state, self.made, self.timer, self.stop_job]
        self.on(self.timer.tick, self._look, [self.job], looked)
        self.on(self.stop_job.click, self._cancel, [self.job], looked)
        for button, draft in ((self.preview, True), (self.render, False)):
            self.on(button.click, self._renderer(draft), [self.film, self.yaml], [self.film, self.job, *looked], scroll_to_output=True)

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        super().loaded(page)
        self.on(page.load, self._look, [self.job], [self.state, self.made, self.timer, self.stop_job])
        self.on(page.load, lambda: gr.Dropdown(choices=works.works(self.room)), None, [self.works])

    # ------------------------------------------------------------------ the timeline

    def _draw_timeline(self) -> None:
        self.job = gr.BrowserState("", storage_key="miaobi-film-job")
        self.film = gr.BrowserState("", storage_key="miaobi-film")
        with gr.Row():
            self.works = gr.Dropdown(label=tr("Begin with the film of a work"), choices=[], interactive=True, scale=2, elem_id="mb-from")
            files = gr.File(label=tr("Pictures, clips, music, recordings"), file_count="multiple", height=110, scale=3, min_width=280)
        self.table = gr.Dataframe(
            value=timelines.rows(timelines.BEGINNING),
            headers=[tr(HEADINGS[column]) for column in timelines.COLUMNS],
            type="array",
            datatype="str",
            interactive=True,
            column_count=len(timelines.COLUMNS),
            wrap=True,
            label=tr("Scenes, one a row"),
            elem_id="mb-timeline",
        )
        with gr.Row(elem_classes="mb-under"):
            gr.Markdown(_words(), elem_classes="mb-hint")
            more = gr.Button(tr("One more scene"), size="sm", scale=0, min_width=130)
        with gr.Row(elem_classes="mb-buttons"):
            self.preview = gr.Button(tr("Quick look"), scale=1)
            self.render = gr.Button(tr("Make the film"), variant="primary", scale=2, elem_classes="mb-go")
        with gr.Accordion(tr("The whole timeline (YAML): music, voices, sounds, subtitles, sizes"), open=False):
            self.yaml = gr.Code(value=timelines.BEGINNING, language="yaml", show_label=False, interactive=True, lines=12, max_lines=30)
        self.on(self.table.input, lambda table, text: timelines.written(text, table), [self.table, self.yaml], [self.yaml])
        self.on(self.yaml.blur, timelines.rows, [self.yaml], [self.table])
        self.on(more.click, lambda table: [*table, [""] * len(timelines.COLUMNS)], [self.table], [self.table])
        self.on(files.upload, self._bring, [files, self.film, self.yaml], [files, self.film, self.yaml, self.table])
        self.on(self.works.input, self._open_work, [self.works], [self.film, self.yaml, self.table])

    def _bring(self, files: list[str], film: str, text: str) -> tuple[Any, ...]:
        """Copy files into the film's folder, and make a scene of each picture and clip; the first sound becomes the music."""
        from miaobi.engine.convert import SOUNDS

        name = film or works.new_name("film")
        folder = works.folder_of(self.room, name)
        seen, heard = [], ""
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for file in map(Path, files):
                shutil.copyfile(file, folder / file.name)
                if file.suffix.lower() in SOUNDS or file.suffix.lower() in (".mid", ".midi", ".m4a"):
                    heard = heard or file.name
                else:
                    seen.append(file.name)
        text = timelines.with_files(text, seen)
        if heard:
            text = timelines.with_music(text, heard)
        return None, name, text, timelines.rows(text)

    def _open_work(self, work: str) -> tuple[Any, ...]:
        path = works.folder_of(self.room, work) / TIMELINE
        if not path.is_file():
            raise UsageError("this work has no film yet")
        text = read_text(path)
        return work, text, timelines.rows(text)

    def _renderer(self, draft: bool) -> Any:
        def render(film: str, text: str) -> tuple[Any, ...]:
            """Check the timeline and put the film in line."""
            from miaobi.apps.common.timeline import Timeline

            validate(Timeline, timelines.parsed(text), tr("the timeline"))
            name = film or works.new_name("film")
            folder = works.folder_of(self.room, name)
            number = next(number for number in range(1, 100_000) if not (folder / f"film-{number}.yaml").exists())
            script = folder / f"film-{number}.yaml"  # a film's own: one that is in line is not written over by the next
            write_text(script, text)
            inputs = {"timeline": str(script), "draft": draft}
            out = str(folder / f"film-{number}.mp4")
            spec = {"app": "film", "inputs": inputs, "out": out, "keep": not draft}  # a quick look is nothing to keep
            job = self.room.enqueue("app", spec, name=timelines.title_of(text) or f"{tr('film')} {name}")
            return name, job, *self._look(job)

        return render

    # ------------------------------------------------------------------ editing

    def _draw_edit(self) -> None:
        ways = [(f"{tr(each.name)} – {tr(each.summary)}", name) for name, each in apps().items() if name not in OTHERS]
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=5, min_width=300):
                self.source = gr.File(label=tr("The film, the sound or the text"), height=130)
                self.way = gr.Dropdown(ways, value=ways[0][1], label=tr("What is to be done"), interactive=True)
                self.edit = gr.Button(tr("Do it"), variant="primary", elem_classes="mb-go")
            with gr.Column(scale=6, min_width=300, elem_classes="mb-form"):
                gr.render(inputs=[self.way])(spoken(self._edit_form, self.language))

    def _edit_form(self, way: str) -> None:
        """The form of one way of editing, from its schema."""
        chosen = app(way)
        fields = [field for field in forms.fields_of(chosen.schema(), leave_out=("file",)) if field.name not in FILES]
        beside = [name for name in FILES if name in chosen.schema().model_fields]
        files = [gr.File(label=forms.label_of(name), file_types=FILES[name], height=110) for name in beside]
        with gr.Row(elem_classes="mb-fields"):
            components = [forms.component(field) for field in fields]

        def edit(source: str | None, *values: Any) -> tuple[Any, ...]:
            given = {name: str(value) for name, value in zip(beside, values) if value}
            options = forms.given(fields, values[len(beside) :])
            return self._edited(chosen, source, {**options, **given})

        looked = [self.job, self.state, self.made, self.timer, self.stop_job]
        self.on(self.edit.click, edit, [self.source, *files, *components], looked, scroll_to_output=True)

    def _edited(self, chosen: App, source: str | None, inputs: dict[str, Any]) -> tuple[Any, ...]:
        """Put an edit in line, with the files in a folder of its own: what is uploaded does not stay for ever."""
        if not source:
            raise UsageError("give the file first")
        name = works.new_name(chosen.name)
        folder = works.folder_of(self.room, name)
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for key, file in {**{key: inputs[key] for key in FILES if key in inputs}, "file": source}.items():
                shutil.copyfile(file, folder / Path(str(file)).name)
                inputs[key] = str(folder / Path(str(file)).name)
        out = folder / f"{Path(source).stem}.{chosen.name}{ending(chosen, Path(source))}"
        job = self.room.enqueue(
            "app", {"app": chosen.name, "inputs": inputs, "out": str(out), "keep": True}, name=f"{tr(chosen.name)} {Path(source).name}"
        )
        return job, *self._look(job)

    # ------------------------------------------------------------------ how far it is

    def _look(self, id: str) -> tuple[Any, ...]:
        job = self._job(id)
        if job is None:
            return "", [], gr.Timer(active=False), gr.Button(visible=False)
        open_ = job.state in OPEN
        found = [result_card(job)] if job.state is State.DONE else []
        return state_of(job), found, gr.Timer(active=open_), gr.Button(visible=open_)

    def _cancel(self, id: str) -> tuple[Any, ...]:
        do(self.room.queue, "cancel", id)
        return self._look(id)

    def _job(self, id: str) -> Job | None:
        try:
            return self.room.queue.get(id) if id else None
        except MiaobiError:
            return None


def _words() -> str:
    """The words that the columns of camera and transition know."""
    from miaobi.apps.common.timeline import Move, Transition

    lines = []
    for column, kind in (("move", Move), ("transition", Transition)):
        known = get_args(kind.model_fields["kind"].annotation)
        said = " · ".join(f"`{word}` {tr(SAID[word])}" if language() != "en" else f"`{word}`" for word in known)
        lines.append(f"{tr(HEADINGS[column])}: {said}")
    return "  \n".join(lines)


def result_card(job: Job) -> cards.Card:
    """The film that a job made, or what it found in one."""
    out = Path(str(job.spec.get("out", "")))
    url = f"../works/{out.parent.name}/{out.name}"
    if out.suffix.lower() in (".mp4", ".webm"):
        body = f'<video controls src="{url}?v={job.id}"></video>'
    elif out.suffix.lower() in (".wav", ".mp3", ".flac", ".ogg"):
        body = f'<audio controls src="{url}?v={job.id}"></audio>'
    else:
        rows = job.result.get("shots", [])
        listed = "".join(
            f"<tr><td>{row['start']:.2f}</td><td>{row['end']:.2f}</td><td>{html.escape(str(row.get('caption', '')))}</td></tr>"
            for row in rows
        )
        body = f'<div class="mb-scroll"><table class="mb-table">{listed}</table></div>'
    links = f'<a href="{url}" download>{html.escape(out.name)}</a>'
    for id in job.result.get("kept", ())[:1]:
        links += f'<a href="library?{urlencode({"id": id})}">{html.escape(tr("in the library"))}</a>'
    who = f'<p class="mb-who">{html.escape(job.name)} · {html.escape(tr("AI-generated"))}</p>'
    return cards.finished(job.id, f'<article class="mb-card">{body}<footer>{who}<div class="mb-acts">{links}</div></footer></article>')
