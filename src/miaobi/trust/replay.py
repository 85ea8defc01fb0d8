"""From a label back to the request, and what differs when the same request gave another content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Card, Content, Label, Media, Modality, Request

if TYPE_CHECKING:
    from miaobi.trust.formats import Marked
    from miaobi.trust.media import MarkedMedia
    from miaobi.trust.pictures import MarkedPicture

NO_REQUEST = "none"  # instead of a request's hash: no one request gives this content, it was put together from several
APP = "app"  # the family of what an app put together
_EXCERPT = 12  # characters shown of either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The content made again. `difference` says what differs and is empty when `identical`."""

    content: Content
    identical: bool
    difference: str = ""


def request_of(label: Label, media: Sequence[Media] = ()) -> Request:
    """The request that the label records. Pictures that were given are not in a label, only their hashes: bring them as `media`.

    Raises:
        UsageError: the label records only a part of the request, was changed since, or the media are not those of the request.
    """
    request = _request(label, media)
    if request.sha256 == label.request_sha256:
        return request
    if label.parents and label.request_sha256 != NO_REQUEST:
        raise UsageError(
            "this content was made from other files, and can only be made again from the very same; give them with --image, --mask "
            "or --sound: {parents}",
            parents=", ".join(label.parents),
        )
    raise UsageError("this content cannot be made again: its label holds only a part of the request, or was changed")


def replayable(label: Label) -> bool:
    """Whether prompt, options and seed of the label are the whole request: their SHA-256 is the recorded one."""
    return label.family != APP and _request(label).sha256 == label.request_sha256


def check_model(label: Label, card: Card) -> None:
    """Refuse a model that is not the one which made the content.

    Raises:
        ArtifactError: another family or other weights; the message names both.
    """
    if (card.family, card.source) != (label.family, label.source):
        raise ArtifactError(
            "the model {name} is not the one that made this content: it was {family} {wanted}, and this is {other} {found}",
            name=card.name,
            family=label.family,
            wanted=label.source or "?",
            other=card.family,
            found=card.source or "?",
        )


def compare(label: Label, again: Content, *, original: Marked | MarkedPicture | MarkedMedia | None = None) -> Replay:
    """Whether the content made again is the labelled one. With the `original` the difference is shown."""
    if again.label.content_sha256 == label.content_sha256:
        return Replay(content=again, identical=True)
    reasons = [_hashes(label, again) if original is None else _difference(original, again)]
    for name in ("software", "runtime", "notes"):
        before, now = getattr(label, name), getattr(again.label, name)
        if before != now:
            reasons.append(tr("{name} was {before} and is {now}", name=name, before=_show(before), now=_show(now)))
    return Replay(content=again, identical=False, difference="; ".join(reasons))


def _request(label: Label, media: Sequence[Media] = ()) -> Request:
    return Request.of((label.prompt, *media), seed=label.seed, **label.options)


def _hashes(label: Label, again: Content) -> str:
    return tr("SHA-256 {before} was made, {now} is made now", before=label.content_sha256[:16], now=again.label.content_sha256[:16])


def _difference(original: Marked | MarkedPicture | MarkedMedia, again: Content) -> str:
    """Where two texts part, or how far two pictures or sounds are from each other."""
    from miaobi.trust.formats import Marked
    from miaobi.trust.media import MarkedMedia

    if isinstance(original, Marked):
        return _between_texts(original.text, again.text)
    if isinstance(original, MarkedMedia):
        return _between_media(original, again)
    return _between_pictures(original, again)


def _between_texts(before: str, now: str) -> str:
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, now)))
    return tr(
        "from character {position} on, '{before}' became '{now}'",
        position=same + 1,
        before=before[same : same + _EXCERPT],
        now=now[same : same + _EXCERPT],
    )


def _between_pictures(original: MarkedPicture, again: Content) -> str:
    """Sizes, or how many pixels differ and by how much; a lossy original is compared in its own format."""
    from miaobi.trust import label, pictures

    part = again.parts[0]
    if not label.is_picture(part) or original.pixels.shape != (now := pictures.decode(pictures.recode(part.data, original.mime))).shape:
        return tr("the picture has another size")
    gaps = abs(original.pixels.astype("int16") - now).max(axis=-1)
    return tr(
        "{count:,} of {total:,} pixels differ, by at most {largest} of 255",
        count=int((gaps > 0).sum()),
        total=gaps.size,
        largest=int(gaps.max()),
    )


def _between_media(original: MarkedMedia, again: Content) -> str:
    """How many samples of two sounds differ, and by how much; of all else only that it does."""
    from miaobi.trust import media

    part = next((part for part in again.parts if isinstance(part, Media) and part.mime == original.mime), None)
    if part is None:
        return tr("what the model makes is another one than before")
    if media.modality_of(part.mime) is not Modality.AUDIO:
        return tr("SHA-256 {before} was made, {now} is made now", before=original.sha256[:16], now=media.sha256(part.data, part.mime)[:16])
    (before, rate), (now, other) = media.decode(original.data), media.decode(part.data)
    if (before.shape, rate) != (now.shape, other):
        return tr(
            "the sound has {now:.2f} seconds at {other} Hz instead of {before:.2f} at {rate} Hz",
            now=len(now) / other,
            other=other,
            before=len(before) / rate,
            rate=rate,
        )
    gaps = abs(before - now).max(axis=1)
    first = int((gaps > 0).argmax()) / rate
    return tr(
        "{count:,} of {total:,} samples differ, the first at {first:.3f} seconds, by at most {largest:.2g} of full scale",
        count=int((gaps > 0).sum()),
        total=len(gaps),
        first=first,
        largest=float(gaps.max()),
    )


def _show(value: object) -> str:
    return value if isinstance(value, str) else str(dict(value))  # type: ignore[call-overload]
