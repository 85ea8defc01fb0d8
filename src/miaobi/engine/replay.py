"""Make a labelled content again: the recorded request, on the recorded weights, at the recorded time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.types import Label, Media, Modality
from miaobi.engine import generate
from miaobi.trust.marking import Marking
from miaobi.trust.replay import Replay, check_model, compare, request_of

if TYPE_CHECKING:
    from miaobi.core.protocols import Model
    from miaobi.core.schema import Schema
    from miaobi.core.types import Content
    from miaobi.trust.formats import Marked
    from miaobi.trust.media import MarkedMedia
    from miaobi.trust.pictures import MarkedPicture
    from miaobi.trust.safety import WordList


def replay(
    label: Label,
    load: Callable[[str], Model],
    *,
    media: Sequence[Media] = (),
    original: Marked | MarkedPicture | MarkedMedia | None = None,
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
    conversion = "" if original is None or not label.encoded_sha256 else _conversion(again, original)
    found = compare(label, again, original=None if conversion else original)
    return _converted(found, label, conversion) if found.identical and conversion else found


def _conversion(again: Content, original: Marked | MarkedPicture | MarkedMedia) -> str:
    """The kind of the original where `engine.convert` made it of what the model makes: a sound of a score, a picture of a sound."""
    from miaobi.trust.formats import Marked

    if isinstance(original, Marked) or any(isinstance(part, Media) and part.modality is Modality.IMAGE for part in again.parts):
        return ""
    return original.mime


def _converted(replayed: Replay, label: Label, mime: str) -> Replay:
    """The second stage: what the model made is the same; is the file that it was converted to?"""
    from miaobi.engine.convert import fitting, sounding
    from miaobi.trust import rhythm
    from miaobi.trust.label import content_sha256
    from miaobi.trust.media import suffix_of

    score = next((part for part in replayed.content.parts if isinstance(part, Media) and part.modality is Modality.MUSIC), None)
    if score is not None and rhythm.described(label.mark):  # the mark is no note: it was put before the sound
        part: Media | None = sounding(score, mime, marked=True)
    else:
        part = fitting(replayed.content, suffix_of(mime))
    if part is not None and content_sha256((part,)) == label.encoded_sha256:
        return replayed
    difference = tr("the model makes the same again, but its conversion to {mime} gives another file", mime=mime)
    return dataclasses.replace(replayed, identical=False, difference=difference)
