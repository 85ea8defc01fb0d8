"""A family of pictures from outside the package: coloured discs by the seed, over a start picture if one is given. For the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miaobi.core.families import Family
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Progress, Request, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


class Dauber:
    """Lays one disc for each step; `weight` stands for its weights."""

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self.card = Card(family="dauber", name="dauber", outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        from miaobi.data import pictures

        given = {part.name: part for part in request.turns[-1].parts if isinstance(part, Media)}
        canvas = self._canvas(request, given.get("image"))
        before = canvas.copy()
        for step in range(1, request.options["steps"] + 1):
            self._disc(canvas, (request.seed, self.weight, step))
            if "mask" in given:
                keep = pictures.decode(given["mask"].data)[..., 0] < 128
                canvas[keep] = before[keep]
            yield Progress(step=step, total=request.options["steps"], preview=_media(canvas))
            if request.options["stop"] == f"{request.seed}/{step}":
                raise KeyboardInterrupt
        yield Piece(part=_film(before, canvas) if request.options["film"] else _media(canvas))
        yield Done(notes={"discs": request.options["steps"]})

    def _canvas(self, request: Request, image: Media | None) -> Any:
        import numpy as np

        from miaobi.data import pictures

        if image is not None:
            return pictures.decode(image.data).copy()
        size = request.options["size"]
        canvas = np.full((size, size, 4), 255, np.uint8)
        if request.options["clear"]:
            canvas[: size // 2] = 0
        return canvas

    def _disc(self, canvas: Any, key: tuple[int, ...]) -> None:
        import numpy as np

        rng = np.random.default_rng(key)
        height, width = canvas.shape[:2]
        row, column, radius = rng.integers(height), rng.integers(width), rng.integers(2, max(3, height // 3))
        rows, columns = np.ogrid[:height, :width]
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        canvas[inside, :3] = rng.integers(256, size=3)

    def save(self, folder: Path, /) -> None:
        (folder / "weight.json").write_text(json.dumps(self.weight), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        return cls(json.loads((folder / "weight.json").read_text(encoding="utf-8")))


def _media(canvas: Any) -> Media:
    from miaobi.data import pictures

    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(canvas))


def _film(*canvases: Any) -> Media:
    """A GIF of several frames."""
    import io

    from PIL import Image

    first, *others = (Image.fromarray(canvas) for canvas in canvases)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=100)
    return Media(modality=Modality.IMAGE, mime="image/gif", data=buffer.getvalue())


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from pydantic import Field

    from miaobi.core.schema import Schema

    class Config(Schema):
        """Nothing to choose."""

    class Options(Schema):
        """How the dauber daubs."""

        size: int = Field(24, ge=8, le=512)
        """Pixels a side."""
        steps: int = Field(4, ge=1, le=100, strict=True)
        """How many discs."""
        clear: bool = False
        """The upper half is transparent."""
        film: bool = False
        """A moving picture: before and after."""
        stop: str = ""
        """`seed/step` at which somebody presses Ctrl-C."""

    return Config, Options


FAMILY = Family(
    name="dauber",
    summary="daubs discs",
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi_dauber:Dauber",
    schemas=_schemas,
    inputs=frozenset({"image", "mask"}),
)
