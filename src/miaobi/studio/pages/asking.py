"""What all pages that ask one model have in common: the model and its form, one button, and cards of what it makes.

The form is drawn anew for every model from its family's schema and from the media that it takes. A generation goes on without the page;
a page that is opened again finds the one that it asked for last, by an id that the browser keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import gradio as gr

from miaobi.core.choices import choices_of
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.shelf import find
from miaobi.core.types import Modality, Turn
from miaobi.library.store import Query
from miaobi.serve.pool import Ask, Served
from miaobi.studio import cards, forms
from miaobi.studio.frame import Page, spoken
from miaobi.studio.given import Inputs
from miaobi.studio.room import Making

RECENT = 12  # earlier contents below what is made now
MOST = 16  # contents of one request
SEED = forms.Field(name="seed", kind="whole", optional=True, shown=False)
COUNT = forms.Field(name="n", kind="slider", default=1, lowest=1, highest=MOST)
MARK = forms.Field(name="mark", kind="choice", default="none", choices=("none", "auto", "zh", "en"), shown=False)
MARKED = frozenset({Modality.IMAGE, Modality.AUDIO, Modality.VIDEO})
Shown = tuple[list[cards.Card], str, Any, Any]


class Asking(Page):
    """A page that asks models of some kinds. Subclasses say which, and what a prompt is for them."""

    modality: ClassVar[Modality]
    prompt_label: ClassVar[str]
    prompt_hint: ClassVar[str]
    go_label: ClassVar[str]
    lines: ClassVar[int] = 3
    usual: ClassVar[Mapping[str, Any]] = {}
    """Values that the form begins with, where the model has such options."""
    first: ClassVar[tuple[str, ...]] = ()
    """Models to offer before others."""
    use: ClassVar[bool] = False
    """Whether a card's picture can be started from."""

    def fits(self, served: Served) -> bool:
        """Whether a model belongs here."""
        return self.modality in served.outputs

    def draw(self) -> None:
        """The form on one side, what comes of it on the other."""
        self.latest = gr.BrowserState("", storage_key=f"miaobi-{self.path}")
        self.start = gr.State({})
        with gr.Row(elem_classes="mb-split"):
            with gr.Column(scale=5, min_width=300, elem_classes="mb-form"):
                self.prompt = gr.Textbox(
                    label=tr(self.prompt_label),
                    placeholder=tr(self.prompt_hint),
                    lines=self.lines,
                    max_lines=14,
                    interactive=True,
                    elem_id="mb-prompt",
                )
                with gr.Row(elem_classes="mb-buttons"):
                    self.go = gr.Button(tr(self.go_label), variant="primary", interactive=False, elem_classes="mb-go", scale=3)
                    self.stop = gr.Button(tr("Stop"), interactive=False, scale=1, min_width=80)
                self.model = gr.Dropdown(label=tr("Model"), choices=[], elem_id="mb-model", filterable=True, interactive=True)
                self._options()
            with gr.Column(scale=8, min_width=300):
                self.cards = cards.cards(elem_classes=f"mb-of-{self.path}")
        self.on(self.stop.click, self._stop, [self.latest])
        self.on(self.cards.submit, self._act, [self.cards, self.start], [self.cards, self.start])

    def loaded(self, page: gr.Blocks) -> None:
        """Connect what happens when the page is opened."""
        shown = [self.cards, self.latest, self.go, self.stop]
        self.on(page.load, self._open, [self.latest], [self.model, self.prompt, self.start, *shown])

    # ------------------------------------------------------------------ the form

    def _options(self) -> None:
        """The form of the model that is chosen."""
        triggers = [self.model.change, self.start.change]
        gr.render(inputs=[self.model, self.start], triggers=triggers)(spoken(self._form, self.language))

    def _form(self, model: str | None, start: Mapping[str, Any]) -> None:
        if not model:
            return
        kind = family_of(model)
        fields = self._fields(kind, model)
        begin = {**self.usual, **(start.get("options", {}) if start.get("model") == model else {})}
        inputs = Inputs(kind.inputs, self.room, start)
        media = inputs.draw()
        with gr.Row(elem_classes="mb-fields"):
            open_ = [forms.component(field, begin.get(field.name), key=f"{model}-{field.name}") for field in fields if field.shown]
        with gr.Accordion(tr("More options"), open=False, key=f"{model}-more"):
            more = [forms.component(field, begin.get(field.name), key=f"{model}-{field.name}") for field in fields if not field.shown]

        async def go(model: str, prompt: str, *values: Any) -> AsyncIterator[Shown]:
            given = await asyncio.to_thread(inputs.read, values[: len(media)])
            options = forms.given(fields, values[len(media) :])
            async for shown in self._made(model, prompt, options, given, inputs.parents(values[: len(media)])):
                yield shown

        shown = [self.cards, self.latest, self.go, self.stop]
        self.on(self.go.click, go, [self.model, self.prompt, *media, *open_, *more], shown, scroll_to_output=True, concurrency_limit=None)

    def _fields(self, kind: Family, model: str) -> list[forms.Field]:
        """The schema's fields, and those that every model has."""
        schema = kind.schemas()[1]
        found = forms.fields_of(schema, leave_out=("previews",), choices=choices_of(find(model)))
        if "n" not in schema.model_fields:
            found.insert(0, COUNT)
        extra = [SEED, *([MARK] if kind.outputs & MARKED else [])]
        return sorted([*found, *extra], key=lambda field: not field.shown)

    # ------------------------------------------------------------------ what comes of it

    async def _made(
        self, model: str, prompt: str, options: dict[str, Any], given: Mapping[str, Any], parents: tuple[str, ...] = ()
    ) -> AsyncIterator[Shown]:
        """Begin, and show what comes."""
        self.check(prompt, given)
        if "previews" in family_of(model).schemas()[1].model_fields:
            options["previews"] = True
        ask = Ask(
            model=model,
            turns=(Turn(role="user", parts=(prompt,)),),
            seed=options.pop("seed", None),
            mark=options.pop("mark", "none"),
            options=options,
            given=given,
        )
        making = self.room.make(ask, prompt=prompt, parents=parents)
        async for shown in self._watched(making):
            yield shown

    def check(self, prompt: str, given: Mapping[str, Any]) -> None:
        """Refuse what cannot be asked here; by default nothing."""

    async def _watched(self, making: Making) -> AsyncIterator[Shown]:
        """The page while a generation goes on, and when it is over."""
        recent = await asyncio.to_thread(self.recent)
        finished: dict[str, cards.Card] = {}
        async for now in making.watch():
            for id in now.kept[len(finished) :]:
                finished[id] = await asyncio.to_thread(self._card, id, now)
            if now.over and len(finished) > 1:  # which of them is better can be said when all are there
                finished = {id: await asyncio.to_thread(self._card, id, now) for id in finished}
            tell = cards.note if now.stopped else cards.problem
            above = [tell(now.problem)] if now.problem else []
            drafts = [] if now.over else [cards.draft(now, index) for index in sorted(now.texts) or [0]]
            below = [card for card in recent if card["key"] not in finished]
            yield (
                [*above, *drafts, *finished.values(), *below],
                making.id,
                gr.Button(interactive=now.over),
                gr.Button(interactive=not now.over),
            )

    def _card(self, id: str, making: Making) -> cards.Card:
        return cards.card(self.room.library.get(id), better=making.over and len(making.kept) > 1, use=self.use)

    def recent(self) -> list[cards.Card]:
        """What was made here before, the newest first."""
        return cards.listed(self.room.library.find(Query(modality=self.modality), limit=RECENT), use=self.use)

    def _stop(self, latest: str) -> None:
        self.room.stop(latest)

    async def _open(self, latest: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """The page as it is opened: with the settings of the content that the address names, or with what was being made here."""
        names = self._names()
        start = await asyncio.to_thread(self._start, str(request.query_params.get("from", "")))
        making = self.room.makings.get(latest)
        if making is not None and not start and (not making.over or making.kept):
            start = {"model": making.model, "prompt": making.prompt, "options": making.options}
        chosen = start["model"] if start.get("model") in names else next(iter(names), None)
        prompt = start["prompt"] if start else gr.skip()  # a person may have begun to type
        head = (gr.Dropdown(choices=names, value=chosen), prompt, start)
        if making is None:
            recent = await asyncio.to_thread(self.recent) or [
                cards.note(tr("What you make here appears here, and is kept in the library."))
            ]
            yield (*head, recent, "", gr.Button(interactive=True), gr.Button(interactive=False))
            return
        async for shown in self._watched(making):
            yield (*head, *shown)
            head = (gr.skip(), gr.skip(), gr.skip())

    def _names(self) -> list[str]:
        """The models of this page, the usual first."""
        names = [served.name for served in self.room.state.pool.models() if self.fits(served)]
        order = {name: place for place, name in enumerate(self.first)}
        return sorted(names, key=lambda name: (order.get(name, len(order)), name))

    def _start(self, id: str) -> dict[str, Any]:
        """The settings of a content."""
        if not id:
            return {}
        try:
            label = self.room.library.get(id).label
        except MiaobiError:
            return {}
        return {"model": label.model, "prompt": label.prompt, "options": {**label.options, "seed": label.seed}, "from": id}

    def _act(self, shown: list[cards.Card], start: dict[str, Any], event: gr.EventData) -> tuple[list[cards.Card], dict[str, Any]]:
        """What is done with a card."""
        from miaobi.studio.judging import act

        what = event._data or {}
        if what.get("act") == "use":
            return shown, {**start, "image": str(what["id"])}
        return act(self.room, shown, what, use=self.use), start


def family_of(model: str) -> Family:
    """The family of a model by name.

    Raises:
        UsageError: there is no such model.
    """
    from miaobi.core.artifact import open_artifact

    if not model:
        raise UsageError("choose a model first")
    return family(open_artifact(find(model)).family)
