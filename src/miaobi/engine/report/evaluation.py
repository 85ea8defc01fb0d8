"""One model's evaluation as a page: figures with their intervals, baselines, and what it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.language import tr
from miaobi.core.types import NOTHING
from miaobi.engine.report.heat import attention_figures
from miaobi.engine.report.log import read_log
from miaobi.engine.report.names import cell
from miaobi.engine.report.page import page, pictures, samples, section, table
from miaobi.engine.report.plot import Interval, intervals, lines, number

if TYPE_CHECKING:
    from miaobi.engine.exhibits import Exhibit

LED_BY = ("bits_per_character", "bits_per_dimension", "frechet")  # the figure that stands for the others in a plot, the first that is there


def evaluation_page(report: Mapping[str, Any], *, log: Path | None = None, shown: Mapping[str, Sequence[Exhibit]] = NOTHING) -> str:
    """The HTML of what `eval.json` holds; with the training's log also its curves, with exhibits also the pictures."""
    model = report["model"]
    lead = tr(
        "{records} held-out records, {samples} generated contents, seed {seed}",
        records=number(report["records"]["scored"]),
        samples=number(report["samples"].get("plain", 0)),
        seed=report["seed"],
    )
    written = [(_heading(example), example["text"]) for example in report["examples"] if "text" in example]
    parts = [
        section(tr("What it drew"), _gallery(shown, "made"), note=tr("AI-generated pictures.") if model["family"] else ""),
        section(tr("Figures"), figure_table(report["figures"]), note=tr("Values with 95 % intervals over records.")),
        section(
            tr("Beside other models"),
            _baseline_plot(report),
            "".join(f"<p>{escape(words)}</p>" for words in verdicts(report)),
            _baseline_table(report),
            "".join(f"<p>{escape(words)}</p>" for words in places(report)),
        ),
        *_exhibited(shown),
        section(tr("Training"), _curves(log)) if log else "",
        section(
            tr("Where it looked"),
            "".join(attention_figures(found) for found in report.get("attention", ())),
            note=tr("A row is a token that was written, a column one that was read; the mean over heads, in each layer of the decoder."),
        ),
        section(tr("What it wrote"), samples(written)),
        section(tr("Not measured"), _skipped(report["skipped"])),
    ]
    return page(tr("Evaluation of {name}", name=model["name"]), parts, lead=lead)


def _exhibited(shown: Mapping[str, Sequence[Exhibit]]) -> list[str]:
    """The sections of pictures that explain figures."""
    return [
        section(tr("Style by style"), _gallery(shown, "styles"), note=tr("Above what was made, below held-out pictures.")),
        section(
            tr("Nearest training pictures"),
            _gallery(shown, "nearest"),
            note=tr("Left a made picture, right the nearest training picture and its distance; the closest pairs first."),
        ),
        section(tr("Reconstructions"), _gallery(shown, "copies"), note=tr("Above held-out pictures, below what the model makes of them.")),
        section(tr("Held-out pictures"), _gallery(shown, "real")),
    ]


def _gallery(shown: Mapping[str, Sequence[Exhibit]], name: str) -> str:
    return pictures([(one.data, one.words) for one in shown.get(name, ())], about=tr("a sheet of pictures"))


def verdicts(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each other model: where this one is better, where it is worse, and where nobody can tell."""
    said = []
    for name, entry in report["baselines"].items():
        words = {key: ", ".join(names) or "–" for key, names in entry["verdict"].items()}
        said.append(tr("Beside {name}: better in {better}; worse in {worse}; no difference found in {alike}.", name=name, **words))
    return said


def places(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each significant difference: on which prompts this model is better by most, and on which the other."""
    said = []
    for name, entry in report["baselines"].items():
        told = entry["verdict"]["better"] + entry["verdict"]["worse"]
        for figure, sides in entry.get("where", {}).items():
            if figure in told:
                words = {side: "; ".join(f"“{text}”" for text in sides.get(side, ())) or "–" for side in ("better", "worse")}
                said.append(
                    tr("{figure} beside {name}: better by most on {better}; worse by most on {worse}.", figure=figure, name=name, **words)
                )
    return said


def figure_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Every figure: value, interval, how many records, unit, and what to know about it."""
    head = [tr("figure"), tr("value"), tr("95 % interval"), tr("records"), tr("unit"), tr("better"), tr("note")]
    rows = [
        [
            cell(name),
            f"<b>{number(figure['value'])}</b>",
            interval(figure),
            number(figure["count"]),
            escape(tr(figure.get("unit", ""))),
            escape(tr(figure.get("better", ""))),
            escape(tr(figure.get("note", ""))),
        ]
        for name, figure in figures.items()
    ]
    return table(head, rows, text_columns=(4, 5, 6))


def interval(figure: Mapping[str, Any]) -> str:
    """`low – high`, or a dash when there is none."""
    return f"{number(figure['low'])} – {number(figure['high'])}" if "low" in figure else "–"


def relative(gap: Mapping[str, Any], end: str = "") -> str:
    """A / B - 1 as a share with its sign; a dash where B is 0."""
    value = gap.get(f"relative{end}")
    return "–" if value is None else f"{value:+.1%}"


def _change(gap: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval: as shares of the baseline's value, or plainly where a share means nothing."""
    if all(f"relative{end}" in gap for end in ("", "_low", "_high")):
        return relative(gap), f"{relative(gap, '_low')} – {relative(gap, '_high')}"
    return f"{gap['value']:+.4g}", interval(gap)


def _baseline_plot(report: Mapping[str, Any]) -> str:
    name = next((name for name in LED_BY if name in report["figures"]), "")
    entries = [(report["model"]["name"], report["figures"])] + [(key, entry["figures"]) for key, entry in report["baselines"].items()]
    rows = [
        Interval(name=label, value=figures[name]["value"], low=figures[name].get("low"), high=figures[name].get("high"), colour=index)
        for index, (label, figures) in enumerate(entries)
        if name in figures
    ]
    label = tr("bits per character (lower is better)") if name == LED_BY[0] else tr("{figure} (lower is better)", figure=name)
    return intervals(rows, x_label=label) if len(rows) > 1 else ""


def _baseline_table(report: Mapping[str, Any]) -> str:
    head = [
        tr("baseline"),
        tr("figure"),
        tr("its value"),
        tr("difference"),
        tr("95 % interval"),
        tr("p value"),
        tr("better on"),
        tr("test"),
    ]
    rows = [
        [
            escape(name),
            escape(key),
            number(entry["figures"][key]["value"]),
            *_change(gap),
            ("!" if gap["p_value"] < 0.05 else "") + number(gap["p_value"]),
            tr("{share} of records", share=f"{gap['wins']:.0%}") if "wins" in gap else "–",
            escape(tr(gap["test"])),
        ]
        for name, entry in report["baselines"].items()
        for key, gap in entry["differences"].items()
    ]
    return table(head, rows, text_columns=(1, 7)) if rows else ""


def _skipped(reasons: Mapping[str, str]) -> str:
    rows = [[escape(name), escape(reason)] for name, reason in reasons.items()]
    return table([tr("metric"), tr("reason")], rows, text_columns=(1,)) if rows else ""


def _curves(path: Path) -> str:
    log = read_log(path)
    loss = [log.series("loss", label=tr("training loss")), log.series("val_loss", colour=4, label=tr("validation loss"))]
    rate = [log.series("lr", label=tr("learning rate"))]
    plots = [
        lines(loss, x_label=tr("step"), y_label=tr("loss (nats)")),
        lines(rate, x_label=tr("step"), y_label=tr("learning rate")),
    ]
    return f'<div class="plots">{"".join(f"<div>{plot}</div>" for plot in plots if plot)}</div>'


def _heading(example: Mapping[str, Any]) -> str:
    options = {
        key: value for key, value in example["options"].items() if isinstance(value, str) and value and value not in ("auto", "none")
    }
    return " · ".join([example["prompt"], *map(str, list(options.values())[:3]), f"seed {example['seed']}"]).strip(" ·")
