"""Several models side by side on one page: cost and quality, intervals, tests, curves, and what each wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from miaobi.core.language import tr
from miaobi.engine.report.evaluation import interval, relative
from miaobi.engine.report.heat import attention_figures
from miaobi.engine.report.page import dot, page, pictures, samples, section, table
from miaobi.engine.report.plot import Interval, Series, intervals, lines, number

MANY = 4  # more models than these stand in columns, and their tests in a square
WRITTEN = 6  # texts of each model that the page shows
PLOTTED = ("bits_per_character", "distinct_2", "repetition_4", "verbatim", "bits_per_dimension", "frechet", "precision", "recall")

Row = tuple[str, Callable[[Mapping[str, Any]], float | None], str]  # heading, value, what is better


def comparison_page(result: Mapping[str, Any], *, sheets: Sequence[bytes] = ()) -> str:
    """The HTML of what `compare.json` holds, and a sheet of pictures (PNG) for each model that drew some."""
    models = result["models"]
    lead = tr("{count} models on {data}, split {split}, seed {seed}", count=len(models), seed=result["seed"], **_data(result))
    parts = [
        section(
            tr("At a glance"),
            _glance(models),
            _warning(models),
            _qualified(models),
            note=tr("The best of each figure is bold. Peak memory is that of the whole process."),
        ),
        section(tr("Figures with their 95 % intervals"), f'<div class="plots">{"".join(_interval_plots(models))}</div>'),
        section(
            tr("Is the difference real?"),
            _tests(result["tests"]) if len(models) <= MANY else _squares(result["tests"], [model["name"] for model in models]),
            note=tr("Paired bootstrap over the same records; a p value under 0.05 is bold."),
        ),
        section(tr("Learning"), _curves(models)),
        section(tr("All figures"), _all_figures(models)),
        section(tr("What they drew"), *(_drawn(index, models[index], data) for index, data in enumerate(sheets) if data)),
        section(
            tr("Where they looked"),
            *(_looked(index, model) for index, model in enumerate(models)),
            note=tr("A row is a token that was written, a column one that was read; the mean over heads, in each layer of the decoder."),
        ),
        section(tr("What they wrote"), *(_written(index, model) for index, model in enumerate(models))),
    ]
    if len(models) > MANY:
        return page(tr("Comparison of {count} models", count=len(models)), parts, lead=lead)
    return page(tr("Comparison of {names}", names=", ".join(model["name"] for model in models)), parts, lead=lead)


def _data(result: Mapping[str, Any]) -> dict[str, str]:
    return {"data": str(result["data"]["name"]), "split": str(result["data"]["split"])}


def _glance(models: Sequence[Mapping[str, Any]]) -> str:
    columns: list[Row] = [
        (tr("scored characters"), lambda model: model["scored_characters"], ""),
        (tr("bits per character"), _bits, "lower" if _same_characters(models) else ""),
        (tr("bits per dimension"), _figure("bits_per_dimension"), "lower"),
        (tr("Fréchet distance"), _figure("frechet"), "lower"),
        (tr("precision"), _figure("precision"), "higher"),
        (tr("recall"), _figure("recall"), "higher"),
        (tr("distinct-2"), _figure("distinct_2"), "higher"),
        (tr("self-BLEU"), _figure("self_bleu"), "lower"),
        (tr("repetition-4"), _figure("repetition_4"), "lower"),
        (tr("parameters"), lambda model: model["parameters"], ""),
        (tr("size, MB"), lambda model: model["bytes"] / 1e6, "lower"),
        (tr("training, s"), lambda model: model["train_seconds"], "lower"),
        (tr("tokens/s, training"), lambda model: model.get("train_tokens_per_second"), "higher"),
        (tr("characters/s"), lambda model: model["characters_per_second"], "higher"),
        (tr("pictures/s"), lambda model: model.get("pictures_per_second"), "higher"),
        (tr("memory training, MB"), lambda model: _mega(model["train_peak_bytes"]), "lower"),
        (tr("memory using, MB"), lambda model: _mega(model["peak_bytes"]), "lower"),
    ]
    columns = [column for column in columns if any(column[1](model) is not None for model in models)]
    best = [_best([None if _easier(value, model) else value(model) for model in models], better) for _, value, better in columns]
    cells = [
        [("!" if index in best[place] else "") + number(value(model)) for index, model in enumerate(models)]
        for place, (_, value, _) in enumerate(columns)
    ]  # a row for each figure
    names = [dot(index) + escape(model["name"]) for index, model in enumerate(models)]
    if len(models) > MANY:
        families = ["", *(f"<small>{escape(model['family'])}</small>" for model in models)]
        return table(["", *names], [families, *([escape(column[0]), *row] for column, row in zip(columns, cells))], markup=True)
    rows = [
        [f"{name} <small>{escape(model['family'])}</small>", *(row[index] for row in cells)]
        for index, (name, model) in enumerate(zip(names, models))
    ]
    return table([tr("model"), *(heading for heading, _, _ in columns)], rows)


def _same_characters(models: Sequence[Mapping[str, Any]]) -> bool:
    return len({model["scored_characters"] for model in models} - {None}) < 2


def _warning(models: Sequence[Mapping[str, Any]]) -> str:
    """Bits per character of models that scored other characters stand in one column, so the page says that they cannot be compared."""
    text = tr("Not all models score the same characters (a poem's punctuation, say), so their bits per character are not comparable.")
    return "" if _same_characters(models) else f'<p class="note"><b>{escape(text)}</b></p>'


def _qualified(models: Sequence[Mapping[str, Any]]) -> str:
    """What the bits of some models mean, where it is not the likelihood of the text alone."""
    words = {
        "bound": tr("an upper bound: it fills gaps in random order"),
        "given": tr("of a text for who knows the one that it reads (a title, say), so they are fewer"),
    }
    named = [f"{model['name']}: {words[model['likelihood']]}" for model in models if model.get("likelihood") in words]
    text = tr("What the bits are: {meanings}.", meanings="; ".join(named))
    return f'<p class="note">{escape(text)}</p>' if named else ""


def _interval_plots(models: Sequence[Mapping[str, Any]]) -> list[str]:
    plots = []
    for name in PLOTTED:
        rows = [
            Interval(name=model["name"], value=figure["value"], low=figure.get("low"), high=figure.get("high"), colour=index)
            for index, model in enumerate(models)
            if (figure := model["evaluation"]["figures"].get(name)) is not None
        ]
        if rows:
            plots.append(f"<div>{intervals(rows, x_label=name)}</div>")
    return plots


def _tests(tests: Sequence[Mapping[str, Any]]) -> str:
    head = ["A", "B", tr("figure"), "A − B", tr("95 % interval"), "A / B − 1", tr("p value"), tr("A better on")]
    rows = [
        [
            escape(test["a"]),
            escape(test["b"]),
            escape(test["figure"]),
            f"{test['value']:+.4g}",
            interval(test),
            relative(test),
            ("!" if test["p_value"] < 0.05 else "") + number(test["p_value"]),
            tr("{share} of records", share=f"{test['wins']:.0%}") if "wins" in test else "–",
        ]
        for test in _telling(tests)
    ]
    return table(head, rows, text_columns=(1, 2)) if rows else ""


def _squares(tests: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """For each figure a square: the row's model minus the column's. What a cell rests on is told where the pointer is."""
    found = _telling(tests)
    squares = []
    for figure in dict.fromkeys(test["figure"] for test in found):
        own = {(test["a"], test["b"]): test for test in found if test["figure"] == figure}
        concerned = [name for name in names if any(name in pair for pair in own)]
        rows = [[escape(a), *(_cell(own.get((a, b)), own.get((b, a))) for b in concerned)] for a in concerned]
        squares.append(f"<h3>{escape(figure)}</h3>" + table([tr("row − column"), *concerned], rows))
    return "".join(squares)


def _cell(test: Mapping[str, Any] | None, turned: Mapping[str, Any] | None) -> str:
    """The difference, bold when it is real; the other way round where only that was tested."""
    known = test or turned
    if known is None:
        return ""
    value = known["value"] if test else -known["value"]
    about = f"{known['a']} − {known['b']}: {interval(known)}, p = {number(known['p_value'])}"
    return ("!" if known["p_value"] < 0.05 else "") + f'<span title="{escape(about)}">{value:+.3g}</span>'


def _telling(tests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Tests of figures that have a better end, and that differ at all."""
    return [test for test in tests if test["better"] and (test["value"] or test["low"] != test["high"])]


def _curves(models: Sequence[Mapping[str, Any]]) -> str:
    plots = []
    for name, label in (("loss", tr("training loss (nats)")), ("val_loss", tr("validation loss (nats)"))):
        series = [
            Series(name=model["name"], xs=model["log"][name]["seconds"], ys=model["log"][name]["values"], colour=index)
            for index, model in enumerate(models)
            if name in model["log"]
        ]
        if series:
            plots.append(f"<div>{lines(series, x_label=tr('seconds of training'), y_label=label)}</div>")
    return f'<div class="plots">{"".join(plots)}</div>' if plots else ""


def _all_figures(models: Sequence[Mapping[str, Any]]) -> str:
    names = dict.fromkeys(name for model in models for name in model["evaluation"]["figures"])
    rows = [[escape(name), *(_with_interval(model["evaluation"]["figures"].get(name)) for model in models)] for name in names]
    return table([tr("figure"), *(model["name"] for model in models)], rows)


def _written(index: int, model: Mapping[str, Any]) -> str:
    examples = [example for example in model["evaluation"]["examples"] if "text" in example][:WRITTEN]
    cards = samples([(example["prompt"] or f"seed {example['seed']}, {example['index'] + 1}", example["text"]) for example in examples])
    return f"<h3>{dot(index)}{escape(model['name'])}</h3>{cards}" if cards else ""


def _looked(index: int, model: Mapping[str, Any]) -> str:
    figures = "".join(attention_figures(found) for found in model["evaluation"].get("attention", ()))
    return f"<h3>{dot(index)}{escape(model['name'])}</h3>{figures}" if figures else ""


def _drawn(index: int, model: Mapping[str, Any], data: bytes) -> str:
    return f"<h3>{dot(index)}{escape(model['name'])}</h3>{pictures([(data, '')], about=tr('a sheet of pictures'))}"


def _with_interval(figure: Mapping[str, Any] | None) -> str:
    return "–" if figure is None else f"{number(figure['value'])}<br><small>{interval(figure)}</small>"


def _figure(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda model: model["evaluation"]["figures"].get(name, {}).get("value")


def _bits(model: Mapping[str, Any]) -> float | None:
    return _figure("bits_per_character")(model)


def _easier(value: Callable[[Mapping[str, Any]], float | None], model: Mapping[str, Any]) -> bool:
    """Whether the bits of a model are of another task than the others': it was given a text to read."""
    return value is _bits and model.get("likelihood") == "given"


def _mega(count: int | None) -> float | None:
    return None if count is None else count / 1e6


def _best(values: Sequence[float | None], better: str) -> set[int]:
    """The places of the best value; nothing when there is nothing to compare."""
    known = [value for value in values if value is not None]
    if len(set(known)) < 2 or not better:
        return set()
    top = min(known) if better == "lower" else max(known)
    return {index for index, value in enumerate(values) if value == top}
