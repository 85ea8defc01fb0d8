"""Pictures held back by what is seen in them: an image–text scorer compares each with listed captions and with harmless ones.

The list is written as that of words (`trust.safety`), but its entries are captions, and a picture counts as the one that fits it best. So
the harmless ones (`allow<TAB>a sleeping cat`) decide how coarse the net is, and it sees no better than the scorer does.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import UsageError
from miaobi.core.shelf import find
from miaobi.core.types import Media
from miaobi.engine.metrics.retrieval import SCORER
from miaobi.trust import safety
from miaobi.trust.safety import Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaobi.engine.metrics.retrieval import ImageText

JUDGE, LIST = "MIAOBI_PICTURE_JUDGE", "MIAOBI_PICTURE_LIST"  # a model, by default the one that ships; files of captions


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """A judge and captions: their vectors (C, E), and what each stands for; None is harmless."""

    judge: ImageText
    vectors: NDArray[Any]
    meanings: Sequence[Hit | None]
    digest: str

    def look(self, picture: Media) -> Hit | None:
        """What the picture shows; of one that moves, its first frame.

        Raises:
            DataError: it cannot be decoded.
        """
        from miaobi.data.pictures import decode

        (seen,) = self.judge.embed_pictures([decode(picture.data)])  # (E,)
        return self.meanings[int((self.vectors @ seen).argmax())]

    def verdict(self, hits: Sequence[Hit | None]) -> str:
        """What goes into a label, as a word list's: `passed pictures:1a2b3c4d` or `flagged:violence pictures:1a2b3c4d`."""
        flagged = sorted({hit.category for hit in hits if hit is not None})
        return f"{'flagged:' + ','.join(flagged) if flagged else 'passed'} pictures:{self.digest[:8]}"


def load() -> Eyes | None:
    """The judge and the lists that the environment names; None when it names neither.

    Raises:
        UsageError: it names a judge without a list, a list is none or has no harmless captions, or the judge compares no pictures with
            texts.
        ArtifactError: the judge's files are damaged.
    """
    judge, paths = os.environ.get(JUDGE, ""), [Path(part).expanduser() for part in os.environ.get(LIST, "").split(os.pathsep) if part]
    if not judge and not paths:
        return None
    if not paths:
        raise UsageError(
            "{judge} names who looks at pictures, but {list} names no captions to look for: set it too", judge=JUDGE, list=LIST
        )
    return _load(str(find(judge or SCORER)), tuple(paths), tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths))


@functools.lru_cache(maxsize=2)
def _load(folder: str, paths: tuple[Path, ...], _changed: tuple[int, ...]) -> Eyes:
    from miaobi.engine.load import load as load_model
    from miaobi.engine.metrics.retrieval import as_judge

    hits, harmless = safety.read(paths)
    if not hits or not harmless:
        raise UsageError(
            "{path} needs captions to hold back and harmless ones (`allow<TAB>caption`): a picture counts as the one that fits it best",
            path=paths[0],
        )
    loaded = load_model(folder)
    judge = as_judge(loaded.model, where=JUDGE)
    captions = [hit.word for hit in hits] + harmless
    content = "\n".join([loaded.card.source, *(f"{hit.category}\t{hit.severity}\t{hit.word}" for hit in hits), *harmless])
    return Eyes(
        judge=judge,
        vectors=judge.embed_texts(captions),
        meanings=[*hits, *[None] * len(harmless)],
        digest=hashlib.sha256(content.encode()).hexdigest(),
    )
