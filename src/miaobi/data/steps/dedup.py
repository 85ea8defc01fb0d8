"""Options of the step `dedup`; `miaobi.data.duplicates` does the work, since it needs the whole corpus.

MinHash: Broder (1997); banding: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3. Candidates of the bands are then
compared by their real Jaccard similarity, so a chance collision never drops a record.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from miaobi.core.recipe import without_unset
from miaobi.core.schema import Schema
from miaobi.data.steps import register


class Dedup(Schema):
    """Keep the first of records that are the same (`exact`) or nearly the same (texts: `minhash`; pictures: `picture`; melodies: `score`).

    Of texts case, spaces and punctuation do not count; of pictures size and file format do not; of melodies key and octave do not.
    """

    method: Literal["exact", "minhash", "picture", "score"] = "exact"
    """Only equal records, or nearly equal texts, pictures or melodies too."""
    threshold: float = Field(0.8, gt=0, le=1)
    """Records whose n-grams (of pictures: marks of edges and colours, 0.95 by default) overlap by at least this share (Jaccard) are one."""
    group: float = Field(0.5, gt=0, le=1)
    """Records alike by at least this share are kept, but stay on one side of the split; 0.85 for pictures by default."""
    ngram: int = Field(5, ge=1, le=20)
    """Length in characters; 2 or 3 for short Chinese texts."""
    permutations: int = Field(128, ge=16, le=512)
    """Length of a MinHash signature; longer finds more exactly and takes longer."""
    seed: int = 0
    """Of the hash functions."""
    within: str = ""
    """A field of meta: only records with the same value of it may be copies of each other (`style`: the same icon in two styles is two)."""

    @model_validator(mode="before")
    @classmethod
    def _of_pictures(cls, values: Any) -> Any:
        """Icons of a set have much in common, so pictures are held to more."""
        if isinstance(values, dict) and values.get("method") == "picture":
            return {"threshold": 0.95, "group": min(0.85, values.get("threshold", 1)), **values}
        return values

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.group > self.threshold:
            raise ValueError("`group` is at most `threshold`")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unset(plain(self), ("within",))


register("dedup", Dedup, None, shorthand="method")
