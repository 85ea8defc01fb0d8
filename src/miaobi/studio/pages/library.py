"""The library: found by words, by meaning or by a picture, judged, changed, taken out; and pairs of which the better is to be chosen."""

from __future__ import annotations

import asyncio
import contextlib
import html
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from miaobi.core.errors import UsageError
from miaobi.core.home import home
from miaobi.core.language import tr
from miaobi.core.types import Modality
from miaobi.library.preferences import KINDS
from miaobi.library.store import Kept, Query, Stored
from miaobi.serve.seeing import scorer_of
from miaobi.studio import cards, finding, judging, pairs
from miaobi.studio.frame import Page
from miaobi.studio.given import CONTENT, canvas

LOADED_SECONDS = 3600.0  # a zip is there for so long
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
        self.on(page.load, self._begin, self.query, [self.eyes, self.canvas, self.picture, *self.found])

    # ------------------------------------------------------------------ one content

    def _draw_one(self) -> None:
        with gr.Column(visible=False, elem_classes="mb-one") as self.one:  # a group would have a grey ground
            self.id = gr.State("")
            with gr.Row():
                with gr.Column(scale=6, min_width=300):
                    self.single = cards.cards("mb-single")
                with gr.Column(scale=5, min_width=280):
                    with gr.Column(visible=False) as self.text_box:
                        self.text = gr.Textbox(label=tr("Your version"), lines=6, max_lines=20, interactive=True)
                        save = gr.Button(tr("Keep my version"), size="sm")
                    self.tags = gr.Textbox(label=tr("Tags"), placeholder=tr("separated by commas"), interactive=True)
                    note = gr.Textbox(label=tr("Comment"), interactive=True, elem_id="mb-comment")
                    self.said = gr.HTML(apply_default_css=False, js_on_load=None)
                    with gr.Accordion(tr("Label"), open=False):
                        self.facts = gr.HTML(apply_default_css=False, js_on_load=None)
                    forget = gr.Button(tr("Forget this content"), size="sm", elem_classes="mb-forget")
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
            gr.Column(visible=True),
            kept.id,
            [cards.card(kept, open_=False)],
            facts(kept),
            text,
            gr.Column(visible=bool(kept.text)),
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
        return gr.Column(visible=False)

    # ------------------------------------------------------------------ found

    def _draw_search(self) -> None:
        self.shown = gr.State(STEP)
        self.picture = gr.State("")
        plain: dict[str, Any] = {"show_label": False, "interactive": True, "container": False}
        kinds = [(tr("everything"), ""), *((tr(name), str(modality)) for modality, name in MODALITIES.items())]
        ratings = [(tr("any rating"), 0), *(("★" * stars, stars) for stars in range(1, 6))]
        with gr.Row(elem_classes="mb-search"):
            words = tr("words of the prompt or the text")
            text = gr.Textbox(label=words, placeholder=words, scale=4, min_width=200, elem_id="mb-prompt", **plain)
            ways = [(tr(said), way) for way, said in finding.HOW.items()]
            how = gr.Dropdown(ways, value="words", label=tr("Find"), scale=1, min_width=130, **plain)
            kind = gr.Dropdown(kinds, value="", label=tr("Kind"), scale=1, min_width=110, **plain)
            least = gr.Dropdown(ratings, value=0, label=tr("rating"), scale=1, min_width=110, **plain)
            tag = gr.Textbox(label=tr("tag"), placeholder=tr("tag"), scale=1, min_width=90, **plain)
        with gr.Accordion(tr("Search with a picture"), open=False, visible=False) as self.eyes:
            self.canvas = canvas(tr("Picture that others are to look like"), brush=False, pastes=True, name="like")
        self.count = gr.Markdown(elem_classes="mb-count")
        self.cards = cards.cards()
        more = gr.Button(tr("Show more"), size="sm", visible=False)
        self.query = [self.picture, text, how, kind, least, tag]
        self.found = [self.cards, self.count, self.shown, more]
        for event in (text.submit, how.change, kind.change, least.change, tag.submit):
            self.on(event, self._find, self.query, self.found)
        self.on(more.click, self._more, [self.shown, *self.query], self.found)
        self.on(self.canvas.input, self._alike, self.query, [self.picture, *self.found])
        self.on(self.cards.submit, self._act, [self.cards], [self.cards])

    async def _begin(self, request: gr.Request, *query: Any) -> tuple[Any, ...]:
        """What there is, or what is like the content of the address `library?like=…`."""
        seeing = await asyncio.to_thread(scorer_of, self.room.state.pool)
        picture = await asyncio.to_thread(self._named, str(request.query_params.get("like", "")))
        value = {"picture": picture, "mask": ""} if picture else gr.skip()
        found = await self._find(picture, *query[1:])
        return (gr.Accordion(visible=seeing is not None, open=bool(picture)), value, picture, *found)

    def _named(self, id: str) -> str:
        """Where the first picture of a content is; nothing, and a word about it, where there is none: the library is shown all the same."""
        try:
            parts = enumerate(self.room.library.get(id).parts if id else ())
        except UsageError as error:
            gr.Warning(html.escape(str(error)), title=tr("Not done"))
            return ""
        place = next((place for place, part in parts if isinstance(part, Stored) and part.modality is Modality.IMAGE), None)
        return "" if place is None else f"{CONTENT}{id}/{place}"

    async def _alike(self, event: gr.EventData, *query: Any) -> tuple[Any, ...]:
        """A picture was given, or taken away."""
        picture = str((event._data or {}).get("picture", ""))
        return (picture, *await self._find(picture, *query[1:]))

    async def _find(self, *query: Any) -> tuple[Any, ...]:
        return await self._more(0, *query)

    async def _more(
        self, shown: int, picture: str, text: str, how: finding.How, kind: str, least: float, tag: str
    ) -> tuple[list[cards.Card], str, int, Any]:
        """What fits, a little more of it than before."""
        limit = shown + STEP
        query = Query(modality=kind, tag=tag.strip(), at_least=float(least or 0))
        wanted = finding.Wanted(text=text, how=how, picture=picture, query=query)
        found, total = await asyncio.to_thread(finding.found, self.room, wanted, limit, asyncio.get_running_loop())
        shown_now = await asyncio.to_thread(cards.listed, found)
        if not found:
            shown_now = [cards.note(self._nothing())]
        more = len(found) == limit if total is None else total > len(found)
        return shown_now, finding.summary(len(found), total), limit, gr.Button(visible=more)

    def _nothing(self) -> str:
        """Why nothing is shown."""
        if self.room.library.count():
            return tr("nothing found")
        return tr("Nothing is kept yet. What you make on the other pages comes here by itself.")

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
            return [cards.note(tr("there is no pair yet: make at least two versions of one thing, on the page Write or Paint"))]
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

        with _taken_out("library") as (folder, zipped):
            moved = export(self.room.library, folder)
        self.tell("{count} contents", count=moved.contents)
        return gr.File(value=str(zipped), visible=True)

    def _preferences(self) -> Any:
        from miaobi.library.exchange import export_preferences

        with _taken_out("preferences") as (folder, zipped):
            count = export_preferences(self.room.library, folder, kinds=KINDS)
        self.tell("{count} preferences", count=count)
        return gr.File(value=str(zipped), visible=True)


@contextlib.contextmanager
def _taken_out(name: str) -> Iterator[tuple[Path, Path]]:
    """A folder to write, and the zip that it becomes at the end of the block; zips of before that nobody can be loading any more go."""
    place = home() / "cache" / "studio" / "taken-out"
    for old in place.glob("*"):
        if time.time() - old.stat().st_mtime > LOADED_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=place))
    folder, path = place / name, place / f"{name}.zip"
    try:
        yield folder, path
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(place))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _said(kept: Kept) -> str:
    """Comments, and where it comes from."""
    comments = "".join(f"<li>{html.escape(str(said.value))} <small>{said.at[:10]}</small></li>" for said in kept.comments)
    relations = _links(tr("made from"), kept.parents) + _links(tr("from it were made"), kept.children) + _alike(kept)
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


def _alike(kept: Kept) -> str:
    """The way to pictures that look like this one."""
    if kept.modality is not Modality.IMAGE:
        return ""
    return f'<p class="mb-who"><a href="library?{urlencode({"like": kept.id})}">{html.escape(tr("pictures that look like it"))}</a></p>'


def facts(kept: Kept) -> str:
    """The label as rows: who made it of what, and what the law's implicit label says."""
    label = kept.label
    rows = {
        tr("Id"): kept.id,
        tr("Model"): f"{label.model} ({label.family})",
        tr("Seed"): label.seed,
        tr("Made"): label.created.replace("T", " ").replace("Z", " UTC"),
        tr("Software"): label.software,
        tr("Visible mark"): label.mark,
        tr("Watermark"): label.watermark,
        tr("SHA-256 of the model"): label.source,
        tr("SHA-256 of the content"): label.content_sha256,
    }
    listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in rows.items() if value != "")
    return f'<dl class="mb-facts">{listed}{cards.options_table(label.options)}</dl>'
