"""A set of pictures that metrics look at: decoded when needed, looked at once, whatever number of metrics asks.

Records stay encoded, so a training set of tens of thousands costs what its feature vectors cost. Made pictures and a folder's are
records as well.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import DataError
from miaobi.core.home import home
from miaobi.core.types import Media, Modality, Record
from miaobi.data.pictures import Pixels, decode, render_svg
from miaobi.engine import features
from miaobi.engine.worn import QUALITY, SHRINK, wear

if TYPE_CHECKING:
    from miaobi.engine.metrics.retrieval import ImageText

KEPT = 2000  # pictures from which on looking takes long enough to keep what was seen
CHUNK = 256  # so many pictures are decoded at once
DRAWN = 128  # pixels of a drawing that has no size of its own
LANGUAGES = ("zh", "en")


class Gallery:
    """Pictures by number, with what is known of each."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self._looks: dict[bool, NDArray[np.float32]] = {}  # of worn pictures and of those as they are
        self._embedded: tuple[ImageText, NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def pixels(self, index: int) -> Pixels:
        """One picture, (H, W, 4).

        Raises:
            DataError: the record has no picture, or one that cannot be read.
        """
        return _decoded(self.records[index])

    def __iter__(self) -> Iterator[Pixels]:
        return map(_decoded, self.records)

    def chunks(self) -> Iterator[list[Pixels]]:
        """All pictures, some at a time."""
        for start in range(0, len(self), CHUNK):
            yield [self.pixels(index) for index in range(start, min(start + CHUNK, len(self)))]

    def look(self, on_progress: Callable[[int, int], None] | None = None, *, worn: bool = False) -> NDArray[np.float32]:
        """See `features.looks`, of all pictures, computed once; those of a large set are kept in the home folder's cache.

        Args:
            worn: as lossy compression leaves them, see `engine.worn`.
        """
        if worn not in self._looks:
            place = home() / "cache" / "features" / f"{self._digest(worn)}.npy" if len(self) >= KEPT else None
            found = _kept(place, len(self))
            if found is None:
                found = self._look(on_progress, worn)
                if place is not None:
                    _keep(place, found)
            self._looks[worn] = found
        return self._looks[worn]

    def _look(self, on_progress: Callable[[int, int], None] | None, worn: bool) -> NDArray[np.float32]:
        found = [np.empty((0, features.WIDTH + features.TEXTURES), np.float32)]
        for chunk in self._worn() if worn else self.chunks():
            found.append(features.looks(chunk))
            if on_progress:
                on_progress(sum(map(len, found)), len(self))
        return np.concatenate(found)

    def _worn(self) -> Iterator[list[Pixels]]:
        """As `chunks`. How a picture is worn depends on its bytes alone."""
        for start in range(0, len(self), CHUNK):
            part = self.records[start : start + CHUNK]
            yield [wear(_decoded(record), np.random.default_rng(crc32(_media(record).data))) for record in part]

    def _digest(self, worn: bool) -> str:
        """What the features depend on: the pictures' bytes, their order, and how they are looked at."""
        digest = hashlib.sha256(f"EfficientNet-lite0 {features.SIZE} {DRAWN}{f' {SHRINK} {QUALITY}' if worn else ''}".encode())
        for record in self.records:
            digest.update(hashlib.sha256(_media(record).data).digest())
        return digest.hexdigest()

    @property
    def features(self) -> NDArray[np.float32]:
        """What the pictures show: (N, 1280)."""
        return self.look()[:, : features.WIDTH]

    @property
    def textures(self) -> NDArray[np.float32]:
        """How the pictures are drawn: (N, 448)."""
        return self.look()[:, features.WIDTH :]

    @property
    def worn_textures(self) -> NDArray[np.float32]:
        """The same of pictures that lossy compression has worn."""
        return self.look(worn=True)[:, features.WIDTH :]

    @functools.cached_property
    def outlines(self) -> NDArray[np.float32]:
        """What the pictures show from afar, whatever their grain: see `features.outlines` (N, OUTLINES)."""
        found = [np.empty((0, features.OUTLINES), np.float32)]
        return np.concatenate(found + [features.outlines(chunk) for chunk in self.chunks()])

    def known(self, key: str) -> list[str]:
        """What the records' meta says under a key (style, class), "" where nothing."""
        return [str(record.meta.get(key, "")) for record in self.records]

    def captions(self, language: str) -> list[str]:
        """The first caption of each picture in a language, "" where it has none."""
        return [caption(record, language) for record in self.records]

    @functools.cached_property
    def concepts(self) -> list[str]:
        """What each picture shows, whatever its style: pictures of one concept are no wrong answers to each other's captions."""
        return [concept(record) for record in self.records]

    def embed(self, judge: ImageText) -> NDArray[np.float32]:
        """The pictures in a judge's space (N, E), kept for the next metric."""
        if self._embedded is None or self._embedded[0] is not judge:
            self._embedded = (judge, np.concatenate([judge.embed_pictures(chunk) for chunk in self.chunks()]))
        return self._embedded[1]

    def where(self, key: str, value: str) -> Gallery:
        """The pictures whose meta says so."""
        return self.take([place for place, known in enumerate(self.known(key)) if known == value])

    def take(self, places: Sequence[int]) -> Gallery:
        """A gallery of some of the pictures; what was looked at stays looked at."""
        chosen = Gallery([self.records[place] for place in places])
        where = np.asarray(places, dtype=np.intp)
        chosen._looks = {worn: looks[where] for worn, looks in self._looks.items()}
        if self._embedded is not None:
            chosen._embedded = (self._embedded[0], self._embedded[1][where])
        return chosen


def caption(record: Record, language: str) -> str:
    """The record's first caption in a language, "" when it has none."""
    captions: Any = record.meta.get("caption") or {}
    found = captions.get(language, ()) if hasattr(captions, "get") else ()
    return found if isinstance(found, str) else next(iter(found), "")


def concept(record: Record) -> str:
    """What the record shows; the caption where nobody grouped the records."""
    named = str(record.meta.get("concept", ""))
    return named or next((text for text in (caption(record, language) for language in LANGUAGES) if text), record.id)


def is_picture(record: Record) -> bool:
    """Whether the record holds a picture."""
    return any(isinstance(part, Media) and part.modality is Modality.IMAGE for part in record.parts)


def _media(record: Record) -> Media:
    for part in record.parts:
        if isinstance(part, Media) and part.modality is Modality.IMAGE:
            return part
    raise DataError("record {id} has no picture", id=record.id)


def _decoded(record: Record) -> Pixels:
    media = _media(record)
    try:
        return render_svg(media.data, DRAWN) if media.mime == "image/svg+xml" else decode(media.data)
    except DataError as error:
        raise DataError("the picture of {id} cannot be read: {problem}", id=record.id, problem=str(error)) from None


def _kept(place: Path | None, count: int) -> NDArray[np.float32] | None:
    """The features that an earlier evaluation kept, if there are any and they are whole."""
    if place is None or not place.is_file():
        return None
    try:
        found: NDArray[np.float32] = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (count, features.WIDTH + features.TEXTURES) and found.dtype == np.float32 else None


def _keep(place: Path, found: NDArray[np.float32]) -> None:
    file = io.BytesIO()
    np.save(file, found, allow_pickle=False)
    write_bytes(place, file.getvalue())
