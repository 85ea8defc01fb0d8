"""The library: found by words or by meaning, judged, changed, taken out; and pairs of which the better is to be chosen."""

from __future__ import annotations

import html
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from miaobi.core.language import tr
from miaobi.core.types import Modality
from miaobi.library.preferences import KINDS
from miaobi.library.store import Kept, Query
from miaobi.studio import cards, judging, pairs
from miaobi.studio.frame import Page

STEP = 24  # contents of a look into the library
MODALITIES = {
    Modality.TEXT: "texts",
    Modality.IMAGE: "pictures",
    Modality.MUSIC: "tunes",
    Modality.AUDIO: "sounds",
    Modality.VIDEO: "films",
}


class LibraryPage(Page):
    """Four views of one library."""

    path = "library"
    name = "Library"
    about = "Everything that was kept: find it, rate it, change it, take it home."

    def draw(self) -> None:
        """The content that the address names, then search, choice and export."""
        self._draw_one()
        with gr.Tabs():
            with gr.Tab(tr("Find")):
                self._draw_search()
            with gr.Tab(tr("Choose the better")) as self.choosing:
                self._draw_pairs()
            with gr.Tab(tr("Take out")):
                self._draw_export()

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        one = [self.one, self.id, self.single, self.facts, self.text, self.text_box, self.tags, self.said]
        self.on(page.load, self._open, None, one)
        self.on(page.load, self._find, self.query, [self.cards, self.count, self.shown])

    # ------------------------------------------------------------------ one content

    def _draw_one(self) -> None:
        with gr.Group(visible=False, elem_classes="mb-one") as self.one:
            self.id = gr.State("")
            with gr.Row():
                with gr.Column(scale=6, min_width=300):
                    self.single = cards.cards("mb-single")
                with gr.Column(scale=5, min_width=280):
                    with gr.Group(visible=False) as self.text_box:
                        self.text = gr.Textbox(label=tr("Your version"), lines=6, max_lines=20, interactive=True)
                        save = gr.Button(tr("Keep my version"), size="sm")
                    self.tags = gr.Textbox(label=tr("Tags"), placeholder=tr("separated by commas"), interactive=True)
                    note = gr.Textbox(label=tr("Comment"), interactive=True, elem_id="mb-comment")
                    self.said = gr.HTML(apply_default_css=False, js_on_load=None)
                    with gr.Accordion(tr("Label"), open=False):
                        self.facts = gr.HTML(apply_default_css=False, js_on_load=None)
                    forget = gr.Button(tr("Forget this content"), size="sm", variant="stop")
        again = [self.single, self.said]
        self.on(save.click, self._edit, [self.id, self.text], again)
        self.on(self.tags.submit, self._tag, [self.id, self.tags], again)
        self.on(self.tags.blur, self._tag, [self.id, self.tags], again)
        self.on(note.submit, self._comment, [self.id, note], [note, *again])
        self.on(self.single.submit, self._act, [self.single], [self.single])
        words = tr("Forget this content and all that was said of it?").replace("'", "")
        self.on(forget.click, self._forget, [self.id], [self.one], js=f"(id) => confirm('{words}') ? id : ''")

    def _open(self, request: gr.Request) -> tuple[Any, ...]:
        """The content of the address `library?id=…`."""
        id = str(request.query_params.get("id", ""))
        if not id:
            return (gr.skip(),) * 8
        kept = self.room.library.get(id)
        text = str(kept.edits[-1].value) if kept.edits else kept.text
        return (
            gr.Group(visible=True),
            kept.id,
            [cards.card(kept, open_=False)],
            facts(kept),
            text,
            gr.Group(visible=bool(kept.text)),
            ", ".join(kept.tags),
            _said(kept),
        )

    def _again(self, id: str) -> tuple[list[cards.Card], str]:
        kept = self.room.library.get(id)
        return [cards.card(kept, open_=False)], _said(kept)

    def _edit(self, id: str, text: str) -> tuple[list[cards.Card], str]:
        self.room.library.edit(id, text.strip(), by=judging.ME)
        self.tell("your version is kept beside the original")
        return self._again(id)

    def _tag(self, id: str, tags: str) -> tuple[list[cards.Card], str]:
        """Make the tags those that are written."""
        wanted = {tag.strip() for tag in tags.replace("，", ",").replace("、", ",").split(",")} - {""}
        there = set(self.room.library.get(id).tags)
        if wanted != there:
            self.room.library.tag(id, sorted(wanted - there), remove=sorted(there - wanted))
        return self._again(id)

    def _comment(self, id: str, text: str) -> tuple[str, list[cards.Card], str]:
        self.room.library.comment(id, text.strip(), by=judging.ME)
        return ("", *self._again(id))

    def _forget(self, id: str) -> Any:
        if not id:  # the person thought better of it
            return gr.skip()
        self.room.library.remove(id)
        self.tell("forgotten: {ids}", ids=id)
        return gr.Group(visible=False)

    # ------------------------------------------------------------------ found

    def _draw_search(self) -> None:
        self.shown = gr.State(STEP)
        plain: dict[str, Any] = {"show_label": False, "interactive": True, "container": False}
        kinds = [(tr("everything"), ""), *((tr(name), str(modality)) for modality, name in MODALITIES.items())]
        ratings = [(tr("any rating"), 0), *(("★" * stars, stars) for stars in range(1, 6))]
        with gr.Row(elem_classes="mb-search"):
            text = gr.Textbox(placeholder=tr("words of the prompt or the text"), scale=4, min_width=200, elem_id="mb-prompt", **plain)
            kind = gr.Dropdown(kinds, value="", scale=1, min_width=110, **plain)
            least = gr.Dropdown(ratings, value=0, scale=1, min_width=110, **plain)
            tag = gr.Textbox(placeholder=tr("tag"), scale=1, min_width=90, **plain)
            meaning = gr.Checkbox(label=tr("by meaning"), scale=1, min_width=110, container=False)
        self.count = gr.Markdown(elem_classes="mb-count")
        self.cards = cards.cards()
        more = gr.Button(tr("Show more"), size="sm")
        self.query = [text, kind, least, tag, meaning]
        found = [self.cards, self.count, self.shown]
        for event in (text.submit, kind.change, least.change, tag.submit, meaning.change):
            self.on(event, self._find, self.query, found)
        self.on(more.click, self._more, [self.shown, *self.query], found)
        self.on(self.cards.submit, self._act, [self.cards], [self.cards])

    def _find(self, text: str, kind: str, least: float, tag: str, meaning: bool) -> tuple[list[cards.Card], str, int]:
        return self._more(0, text, kind, least, tag, meaning)

    def _more(self, shown: int, text: str, kind: str, least: float, tag: str, meaning: bool) -> tuple[list[cards.Card], str, int]:
        """What fits, a little more of it than before."""
        wanted = shown + STEP
        query = Query(text="" if meaning else text, modality=kind, tag=tag.strip(), at_least=float(least or 0))
        if meaning and text.strip():
            found = self._by_meaning(text, query, wanted)
            count = tr("the {count} nearest", count=len(found))
        else:
            found = self.room.library.find(query, limit=wanted)
            count = tr("{count} contents", count=self.room.library.count(query))
        return cards.listed(found), count, wanted

    def _by_meaning(self, text: str, query: Query, limit: int) -> list[Kept]:
        from miaobi.library.meaning import TextSpace, search

        if not hasattr(self.room, "space"):
            self.room.space = TextSpace()  # type: ignore[attr-defined]
        return [found.kept for found in search(self.room.library, self.room.space, text, query=query, limit=limit)]  # type: ignore[attr-defined]

    def _act(self, shown: list[cards.Card], event: gr.EventData) -> list[cards.Card]:
        return judging.act(self.room, shown, event._data or {})

    # ------------------------------------------------------------------ chosen

    def _draw_pairs(self) -> None:
        gr.Markdown(tr("Two answers to one question. Which is better? What you choose is what models can learn from."))
        self.pair = cards.cards("mb-pair")
        with gr.Row():
            skip = gr.Button(tr("Neither; show others"), size="sm")
        self.on(self.choosing.select, self._next, None, [self.pair])
        self.on(skip.click, self._next, None, [self.pair])
        self.on(self.pair.submit, self._chosen, [self.pair], [self.pair])

    def _next(self) -> list[cards.Card]:
        pair = pairs.pick(self.room.library)
        if pair is None:
            return [cards.problem(tr("there is no pair yet: make at least two versions of one thing, on the page Write or Paint"))]
        return [cards.card(kept, better=True) for kept in pair]

    def _chosen(self, shown: list[cards.Card], event: gr.EventData) -> list[cards.Card]:
        what = event._data or {}
        found = judging.act(self.room, shown, what)
        return self._next() if what.get("act") == "better" else found

    # ------------------------------------------------------------------ taken out

    def _draw_export(self) -> None:
        gr.Markdown(tr("The whole library, with all files and judgements, or only what you preferred, as data that models learn from."))
        with gr.Row():
            whole = gr.DownloadButton(tr("The library (zip)"), size="md")
            preferred = gr.DownloadButton(tr("Preferences (zip)"), size="md")
        file = gr.File(label=tr("Ready"), visible=False)
        self.on(whole.click, self._export, None, [file])
        self.on(preferred.click, self._preferences, None, [file])

    def _export(self) -> Any:
        from miaobi.library.exchange import export

        folder = Path(tempfile.mkdtemp()) / "library"
        moved = export(self.room.library, folder)
        self.tell("{count} contents", count=moved.contents)
        return gr.File(value=_zipped(folder), visible=True)

    def _preferences(self) -> Any:
        from miaobi.library.exchange import export_preferences

        folder = Path(tempfile.mkdtemp()) / "preferences"
        count = export_preferences(self.room.library, folder, kinds=KINDS)
        self.tell("{count} preferences", count=count)
        return gr.File(value=_zipped(folder), visible=True)


def _zipped(folder: Path) -> str:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return str(path)


def _said(kept: Kept) -> str:
    """Comments, and where it comes from."""
    comments = "".join(f"<li>{html.escape(str(said.value))} <small>{said.at[:10]}</small></li>" for said in kept.comments)
    relations = _links(tr("made from"), kept.parents) + _links(tr("from it were made"), kept.children)
    before = (
        f'<p class="mb-who">{html.escape(tr("as it was made:"))}</p><div class="mb-text">{_lines(kept.text)}</div>' if kept.edits else ""
    )
    return f'<div class="mb-said">{before}<ul>{comments}</ul>{relations}</div>'


def _lines(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _links(words: str, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    links = " ".join(f'<a href="library?{urlencode({"id": id})}">{id[:6]}</a>' for id in ids[:20])
    return f'<p class="mb-who">{html.escape(words)}: {links}</p>'


def facts(kept: Kept) -> str:
    """The label as rows: who made it of what, and what the law's implicit label says."""
    label = kept.label
    rows = {
        tr("Id"): kept.id,
        tr("Model"): f"{label.model} ({label.family})",
        tr("Seed"): label.seed,
        tr("Made"): label.created,
        tr("Software"): label.software,
        tr("Visible mark"): label.mark,
        tr("Watermark"): label.watermark,
        tr("SHA-256 of the model"): label.source,
        tr("SHA-256 of the content"): label.content_sha256,
    }
    listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in rows.items() if value != "")
    return f'<dl class="mb-facts">{listed}{cards.options_table(label.options)}</dl>'
