"""The media that a model takes beside its prompt: a picture to start from and what of it to paint anew, a sound, a tune, a film."""

from __future__ import annotations

import base64
import binascii
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from miaobi.core.artifact import read_bytes
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Modality
from miaobi.studio.frame import script

if TYPE_CHECKING:
    from miaobi.studio.room import Room

LABELS = {
    "image": "Picture to start from",
    "style_image": "Picture whose style is wanted",
    "sound": "Sound",
    "music": "Tune to start from (MIDI, MusicXML, ABC)",
    "video": "Film to start from",
}
SCORES = [".mid", ".midi", ".musicxml", ".mxl", ".xml", ".abc"]
PICTURES = frozenset({"image", "style_image"})
CONTENT, DATA = "content/", "data:image/png;base64,"


class Inputs:
    """The fields for the media of one family; a mask is painted onto its picture."""

    def __init__(self, inputs: frozenset[str], room: Room, start: Mapping[str, Any]) -> None:
        self.names = sorted(inputs - {"mask"})
        self.painted, self.room, self.start = "mask" in inputs, room, start

    def draw(self) -> list[gr.components.Component]:
        """The components, in the order in which `read` takes their values."""
        return [self._component(name) for name in self.names]

    def _component(self, name: str) -> gr.components.Component:
        label = tr(LABELS.get(name, "File"))
        if name in PICTURES:
            brush = self.painted and name == "image"
            words = tr("Start from a picture; paint over what is to be made anew") if brush else label
            return canvas(words, brush=brush, pastes=name == self.names[0], picture=self._picture() if name == "image" else "", name=name)
        if name == "sound":
            return gr.Audio(type="filepath", label=label, sources=["upload", "microphone"], elem_id=f"given-{name}")
        if name == "video":
            return gr.Video(label=label, sources=["upload"], elem_id=f"given-{name}")
        with gr.Accordion(label, open=False):
            return gr.File(show_label=False, file_types=SCORES, height=140, elem_id=f"given-{name}")

    def _picture(self) -> str:
        """Where the picture of the content is from which a person wants to start; empty where there is none."""
        id = str(self.start.get("image", ""))
        try:
            kept = self.room.library.get(id) if id else None
        except MiaobiError:
            return ""
        parts = enumerate(kept.parts) if kept else ()
        return next((f"{CONTENT}{id}/{place}" for place, part in parts if getattr(part, "modality", "") == Modality.IMAGE), "")

    def parents(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The contents of the library among what is given."""
        return tuple(
            content for value in values if isinstance(value, dict) for content, _ in [_named(str(value.get("picture", "")))] if content
        )

    def read(self, values: Sequence[Any]) -> dict[str, bytes]:
        """The bytes by name, as the pool takes them; what was left empty is left out."""
        found: dict[str, bytes] = {}
        for name, value in zip(self.names, values):
            if isinstance(value, dict):
                found |= self._painted(name, value)
            elif value:
                found[name] = read_bytes(Path(str(value)))
        return found

    def _painted(self, name: str, value: Mapping[str, Any]) -> dict[str, bytes]:
        """A picture, and as a mask what was painted over it, if anything was."""
        data = picture_of(self.room, str(value.get("picture", "")))
        if not data:
            return {}
        mask = _mask(_decoded(str(value.get("mask", ""))), data) if self.painted and name == "image" else b""
        return {name: data, "mask": mask} if mask else {name: data}


def picture_of(room: Room, said: str) -> bytes:
    """The picture that a canvas tells of: one of the library, or one of its own; nothing where it is empty.

    Raises:
        UsageError: it is no picture. A browser may name anything.
    """
    content, place = _named(said)
    if not content:
        return _decoded(said)
    stored = dict(enumerate(room.library.get(content).parts)).get(place)
    if stored is None or isinstance(stored, str):
        raise UsageError("this is no picture")
    return room.library.part(stored).data


def canvas(words: str, *, brush: bool, pastes: bool, picture: str = "", name: str = "image") -> gr.HTML:
    """An empty place for a picture; see `static/canvas.js`."""
    acts = {"rub": tr("rubber"), "undo": tr("undo"), "clear": tr("paint nothing anew"), "away": tr("another picture")}
    buttons = "".join(f'<button type="button" data-do="{act}">{html.escape(said)}</button>' for act, said in acts.items())
    code = (
        f'<div class="mb-canvas"><label class="mb-pick" tabindex="0"><input type="file" accept="image/*" hidden><b>{html.escape(words)}</b>'
        f"<span>{html.escape(tr('drop a picture here, paste one, or click'))}</span></label>"
        f'<div class="mb-stage" hidden><img alt="{html.escape(words)}"><canvas></canvas></div><div class="mb-brushes" hidden>'
        f'<input type="range" min="2" max="40" value="12" aria-label="{html.escape(tr("size of the brush"))}">{buttons}</div></div>'
    )
    return gr.HTML(
        value={"picture": picture, "mask": ""},
        html_template=code,
        js_on_load=script("canvas.js"),
        apply_default_css=False,
        elem_id=f"given-{name}",
        brush=brush,
        pastes=pastes,
    )


def _named(said: str) -> tuple[str, int]:
    """The content and the number of its part that a canvas names; ("", 0) where it brings a picture of its own."""
    id, _, place = said.removeprefix(CONTENT).partition("/")
    return (id, int(place)) if said.startswith(CONTENT) and place.isdecimal() else ("", 0)


def _decoded(address: str) -> bytes:
    """The bytes of a data URL, as the page makes them."""
    try:
        return base64.b64decode(address.removeprefix(DATA), validate=True) if address.startswith(DATA) else b""
    except binascii.Error:
        raise UsageError("this is no picture") from None


def _mask(layer: bytes, picture: bytes) -> bytes:
    """White where it was painted, of the picture's size; empty where nothing was."""
    from PIL import Image

    from miaobi.data.pictures import decode, picture_size

    if not layer:
        return b""
    alpha = Image.fromarray(decode(layer)).convert("RGBA").getchannel("A").resize(picture_size(picture), Image.Resampling.NEAREST)
    whole = alpha.point(lambda level: 255 if level > 16 else 0)
    if whole.getbbox() is None:
        return b""
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()
