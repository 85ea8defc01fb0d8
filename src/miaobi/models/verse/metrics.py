"""Whether poems keep the rules of the form that was asked for: with the constraints on, with them off, and real poems beside them.

`free` switches rhyme, tone and repetition rules off, which shows what the network has learned by itself; the shape of the lines is always
kept. Real poems are judged by the same rules: poets break them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from miaobi.core.types import Options
from miaobi.engine.metrics import Evidence, Figure, Sample, metric
from miaobi.engine.metrics.confidence import ratio, share
from miaobi.models.verse.check import Report, check

FREE: Options = {"rhyme": "none", "tone": "none", "repeat": "none"}
VARIANTS = {"free": FREE}


@metric("form", needs=["samples"], variants=VARIANTS)
def form(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems that have the number of lines and characters of their form."""
    return _shares(evidence, lambda report: report.form_ok)


@metric("rhyme", needs=["samples"], variants=VARIANTS)
def rhyme(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems that rhyme where they should."""
    return _shares(evidence, lambda report: report.rhyme_ok)


@metric("tone", needs=["samples"], variants=VARIANTS)
def tone(evidence: Evidence) -> dict[str, Figure]:
    """The share of tones that are right (平仄), with the freedom of 一三五不论 and, as `strict`, without it."""
    figures = {}
    for name, reports in _reports(evidence).items():
        figures[name] = ratio([report.tone_share_loose for report in reports], seed=evidence.seed, unit="share", better="higher")
        strict = ratio([report.tone_share for report in reports], seed=evidence.seed, unit="share", better="higher")
        figures[f"{name}_strict".lstrip("_")] = strict
    return figures


@metric("regular", needs=["samples"], variants=VARIANTS)
def regular(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems without any fault of form, rhyme or (loose) tone."""
    return _shares(evidence, lambda report: report.regular)


@metric("resampled", needs=["samples"])
def resampled(evidence: Evidence) -> dict[str, Figure]:
    """The share of poems of which a candidate was refused for a clause of a training poem, and of poems left with one."""
    notes = [sample.notes for sample in evidence.samples[""]]
    return {
        "": share([note.get("candidates_refused", 0) > 0 for note in notes], seed=evidence.seed, better="lower"),
        "in_vain": share([note.get("training_clauses", 0) > 0 for note in notes], seed=evidence.seed, better="lower"),
    }


def _shares(evidence: Evidence, holds: Callable[[Report], bool]) -> dict[str, Figure]:
    return {name: share([holds(report) for report in reports], seed=evidence.seed) for name, reports in _reports(evidence).items()}


def _reports(evidence: Evidence) -> dict[str, list[Report]]:
    """Judgements of the poems of each variant, and of the real poems whose titles were asked for."""
    reports = {name: [_judge(sample, sample.text) for sample in evidence.samples[name]] for name in ("", "free")}
    real = _real(evidence, evidence.samples[""])
    return reports | ({"real": real} if real else {})


def _real(evidence: Evidence, samples: Sequence[Sample]) -> list[Report]:
    return [_judge(sample, evidence.text_of(sample.reference)) for sample in samples if sample.reference is not None]


def _judge(sample: Sample, text: str) -> Report:
    """The text by the rules of the form that the sample was asked for; where rhyme was no rule, by the 平水韵."""
    options = sample.content.label.options
    book = options.get("rhyme", "pingshui")
    return check(text, str(options["form"]), rhyme="pingshui" if book == "none" else book)
