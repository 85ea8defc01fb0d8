"""Make a labelled content again: the recorded request, on the recorded weights, at the recorded time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from miaobi.core.errors import UsageError
from miaobi.core.types import Label, Media
from miaobi.engine import generate
from miaobi.trust.marking import Marking
from miaobi.trust.replay import Replay, check_model, compare, request_of

if TYPE_CHECKING:
    from miaobi.core.protocols import Model
    from miaobi.core.schema import Schema
    from miaobi.trust.formats import Marked
    from miaobi.trust.pictures import MarkedPicture
    from miaobi.trust.safety import WordList


def replay(
    label: Label,
    load: Callable[[str], Model],
    *,
    media: Sequence[Media] = (),
    original: Marked | MarkedPicture | None = None,
    schema: type[Schema] | None = None,
    words: WordList | None = None,
) -> Replay:
    """The content of `label` once more, with the original time in its label: written to a file, it gives the original's bytes.

    `load` gets the model's name. `media` are the pictures that were given, `original` is what the file holds, for showing the difference.

    Raises:
        UsageError: the label does not hold the whole request.
        ArtifactError: the loaded model has other weights than the recorded ones.
    """
    request = request_of(label, media)
    model = load(label.model)
    check_model(label, model.card)
    # all n contents are made: rows of one batch may depend on each other in floating point
    contents = generate.collect(model, request, schema=schema, words=words, created=label.created, marking=Marking.of_label(label))
    again = next((content for content in contents if content.label.index == label.index), None)
    if again is None:
        raise UsageError("this content cannot be made again: the present word list holds it back")
    return compare(label, again, original=original)
