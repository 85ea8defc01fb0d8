"""The media that a model takes beside its prompt: a picture to start from and what of it to paint anew, a sound, a tune, a film."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from miaobi.core.artifact import read_bytes, write_bytes
from miaobi.core.errors import MiaobiError
from miaobi.core.home import home
from miaobi.core.language import tr
from miaobi.core.types import Modality

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
CANVAS = 512
SHORTEST = 384  # pixels of a picture that is painted on


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
        path = self._picture() if name == "image" else None
        if name == "image" and self.painted:
            with gr.Accordion(tr("Start from a picture; paint over what is to be made anew"), open=path is not None):
                return gr.ImageEditor(
                    value=path,
                    type="filepath",
                    format="png",
                    label=label,
                    show_label=False,
                    sources=["upload", "clipboard"],
                    brush=gr.Brush(colors=["#c9513f"], color_mode="fixed", default_size=24),
                    layers=False,
                    transforms=(),
                    canvas_size=(CANVAS, CANVAS),
                    height=380,
                    elem_id=f"given-{name}",
                )
        if name in ("image", "style_image"):
            return gr.Image(
                value=path,
                type="filepath",
                label=label,
                sources=["upload", "clipboard"],
                height=220,
                image_mode=None,
                elem_id=f"given-{name}",
            )
        if name == "sound":
            return gr.Audio(type="filepath", label=label, sources=["upload", "microphone"], elem_id=f"given-{name}")
        if name == "video":
            return gr.Video(label=label, sources=["upload"], elem_id=f"given-{name}")
        with gr.Accordion(label, open=False):
            return gr.File(show_label=False, file_types=SCORES, height=140, elem_id=f"given-{name}")

    def _picture(self) -> str | None:
        """The picture of a content of the library, where a person wants to start from it; small ones enlarged, to be painted on."""
        id = str(self.start.get("image", ""))
        try:
            kept = self.room.library.get(id) if id else None
        except MiaobiError:
            return None
        stored = next((part for part in kept.media if part.modality is Modality.IMAGE), None) if kept else None
        if stored is None:
            return None
        copy = home() / "cache" / "studio" / f"{stored.sha256}.png"
        if not copy.is_file():
            write_bytes(copy, _enlarged(self.room.library.part(stored).data))
        return str(copy)

    def parents(self, given: Mapping[str, bytes]) -> tuple[str, ...]:
        """The content that is started from, if its picture is still there."""
        id = str(self.start.get("image", ""))
        return (id,) if id and "image" in given else ()

    def read(self, values: Sequence[Any]) -> dict[str, bytes]:
        """The bytes by name, as the pool takes them; what was left empty is left out."""
        found: dict[str, bytes] = {}
        for name, value in zip(self.names, values):
            if isinstance(value, dict):
                found |= _painted(value)
            elif value:
                found[name] = read_bytes(Path(str(value)))
        return found


def _enlarged(data: bytes) -> bytes:
    """A picture as PNG whose shorter side has `SHORTEST` pixels or more, by a whole factor."""
    from PIL import Image

    from miaobi.data.pictures import decode

    image = Image.fromarray(decode(data))
    factor = -(-SHORTEST // min(image.size))
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _painted(value: Mapping[str, Any]) -> dict[str, bytes]:
    """The picture of an editor, and as a mask what was painted over it, if anything was."""
    background = value.get("background")
    if not background:
        return {}
    found = {"image": read_bytes(Path(background))}
    mask = _mask([Path(layer) for layer in value.get("layers") or ()], found["image"])
    return {**found, "mask": mask} if mask else found


def _mask(layers: Sequence[Path], picture: bytes) -> bytes:
    """White where any layer was painted, of the picture's size; empty where nothing was."""
    from PIL import Image, ImageChops

    from miaobi.data.pictures import picture_size

    size = picture_size(picture)
    whole = Image.new("L", size, 0)
    for path in layers:
        with Image.open(path) as layer:
            alpha = layer.convert("RGBA").getchannel("A").resize(size, Image.Resampling.NEAREST)
        whole = ImageChops.lighter(whole, alpha.point(lambda level: 255 if level > 16 else 0))
    if whole.getbbox() is None:
        return b""
    stream = io.BytesIO()
    whole.save(stream, "PNG")
    return stream.getvalue()
