"""From a label back to the request, and what differs when the same request gave another content."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Card, Content, Label, Request

_EXCERPT = 12  # characters shown of either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The content made again. `difference` says what differs and is empty when `identical`."""

    content: Content
    identical: bool
    difference: str = ""


def request_of(label: Label) -> Request:
    """The request that the label records.

    Raises:
        UsageError: the label records only a part of it (earlier turns and media are not in a label), or was changed since.
    """
    if not replayable(label):
        raise UsageError("this content cannot be made again: its label holds only a part of the request, or was changed")
    return _request(label)


def replayable(label: Label) -> bool:
    """Whether prompt, options and seed of the label are the whole request: their SHA-256 is the recorded one."""
    return _request(label).sha256 == label.request_sha256


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


def compare(label: Label, again: Content, *, text: str | None = None) -> Replay:
    """Whether the content made again is the labelled one. With the original `text` the difference is shown."""
    if again.label.content_sha256 == label.content_sha256:
        return Replay(content=again, identical=True)
    reasons = [_difference(text, again.text) if text is not None else _hashes(label, again)]
    for name in ("software", "runtime", "notes"):
        before, now = getattr(label, name), getattr(again.label, name)
        if before != now:
            reasons.append(tr("{name} was {before} and is {now}", name=name, before=_show(before), now=_show(now)))
    return Replay(content=again, identical=False, difference="; ".join(reasons))


def _request(label: Label) -> Request:
    return Request.of(label.prompt, seed=label.seed, **label.options)


def _hashes(label: Label, again: Content) -> str:
    return tr("SHA-256 {before} was made, {now} is made now", before=label.content_sha256[:16], now=again.label.content_sha256[:16])


def _difference(before: str, now: str) -> str:
    """The first place where two texts part."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, now)))
    return tr(
        "from character {position} on, '{before}' became '{now}'",
        position=same + 1,
        before=before[same : same + _EXCERPT],
        now=now[same : same + _EXCERPT],
    )


def _show(value: object) -> str:
    return value if isinstance(value, str) else str(dict(value))  # type: ignore[call-overload]
