"""How well generated poems keep the rules: form, rhyme, tones, all three, and how often a poem had to be written anew.

Each is given three times: for the poems as asked (`rhyme`), for poems written without any constraint (`rhyme_free`),
and for real poems of the same requests (`rhyme_real`): the rules were bent in the Tang as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from miaobi.core.types import Record
from miaobi.engine.metrics import Evidence, Figure, Sample, metric
from miaobi.engine.metrics.confidence import ratio, share
from miaobi.models.verse import forms
from miaobi.models.verse.check import Report, check, guess_form

DEFAULT_FORM = "七绝"  # of the family's options
FREE: Mapping[str, Mapping[str, Any]] = {"free": {"free": True}}


@metric("form", needs=["samples"], variants=FREE)
def form(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems with the lines and characters of their form."""
    return _figures(evidence, lambda reports: share([report.form_ok for report in reports], seed=evidence.seed))


@metric("rhyme", needs=["samples"], variants=FREE)
def rhyme(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems whose every rhyme is one."""
    return _figures(evidence, lambda reports: share([report.rhyme_ok for report in reports], seed=evidence.seed))


@metric("tone", needs=["samples"], variants=FREE)
def tone(evidence: Evidence) -> dict[str, Figure]:
    """The share of tones that are right where the loose pattern fixes them (`strict`: the strict one), as the mean over poems."""
    loose = _figures(evidence, lambda reports: _mean([report.tone_share_loose for report in reports], evidence.seed))
    strict = _figures(evidence, lambda reports: _mean([report.tone_share for report in reports], evidence.seed))
    return loose | {f"strict_{name}".rstrip("_"): figure for name, figure in strict.items()}


@metric("regular", needs=["samples"], variants=FREE)
def regular(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems without any fault of form, rhyme or (loose) tones."""
    return _figures(evidence, lambda reports: share([report.regular for report in reports], seed=evidence.seed))


@metric("resampled", needs=["samples"])
def resampled(evidence: Evidence) -> dict[str, Figure]:
    """The share of candidates thrown away because they repeat a line of a training poem; `kept` is the share of poems that still do."""
    samples = evidence.samples.get("", ())
    refused = [int(sample.notes.get("candidates_refused", 0)) for sample in samples]
    kept = [bool(sample.notes.get("training_clauses", 0)) for sample in samples]
    each = [max(1, int(sample.content.label.options.get("candidates", 1))) for sample in samples]
    # a round whose every candidate is refused is followed by another, unless it was the last one and its best is given as it is
    written = [count * (thrown // count + (not last)) for thrown, count, last in zip(refused, each, kept)]
    return {
        "": ratio(refused, [max(1, count) for count in written], seed=evidence.seed, unit="share", better="lower"),
        "kept": share(kept, seed=evidence.seed, better="lower"),
    }


def form_share(texts: Sequence[str], name: str) -> float:
    """The share of texts with the shape of the form."""
    return _average([check(text, name).form_ok for text in texts])


def rhyme_share(texts: Sequence[str], name: str, *, rhyme: str = "pingshui") -> float:
    """The share of texts whose every rhyme is one."""
    return _average([check(text, name, rhyme=rhyme).rhyme_ok for text in texts])


def tone_share(texts: Sequence[str], name: str, *, rhyme: str = "pingshui", strict: bool = False) -> float:
    """The mean share of right tones among those that the pattern fixes."""
    reports = [check(text, name, rhyme=rhyme) for text in texts]
    return _average([report.tone_share if strict else report.tone_share_loose for report in reports])


def _figures(evidence: Evidence, figure: Callable[[Sequence[Report]], Figure]) -> dict[str, Figure]:
    """The figure for the plain samples, for each variant and for real poems, where there are any in a fixed form."""
    found = {variant: list(_reports(samples)) for variant, samples in evidence.samples.items() if variant in ("", *FREE)}
    found["real"] = list(_real(evidence))
    return {name: figure(reports) for name, reports in found.items() if reports}


def _reports(samples: Sequence[Sample]) -> Iterator[Report]:
    """A report for each sample in a fixed form, by the rhyme book that was asked for."""
    for sample in samples:
        options = sample.content.label.options
        name, book = str(options.get("form", DEFAULT_FORM)), str(options.get("rhyme", "pingshui"))
        if name in forms.SHI or name in forms.TUNES:
            yield check(sample.text, name, rhyme="pingshui" if book == "none" else book)


def _real(evidence: Evidence) -> Iterator[Report]:
    asked = [sample.reference for sample in evidence.samples.get("", ()) if sample.reference is not None]
    records: Sequence[Record] = asked or evidence.records[: len(evidence.texts)]
    for record in records:
        tune = str(record.meta.get("tune") or "")
        name = tune if tune in forms.TUNES else guess_form(record.text)
        if name is not None:
            yield check(record.text, name)


def _mean(shares: Sequence[float], seed: int) -> Figure:
    return ratio(shares, seed=seed, unit="share", better="higher")


def _average(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
