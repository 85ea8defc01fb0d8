"""Plots are well-formed SVG whose points lie where the numbers say, and logs survive a crash's half line."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from miaobi.core.errors import DataError
from miaobi.engine.report import Interval, Series, intervals, lines, loss_plot, read_log
from miaobi.engine.report.comparison import comparison_page
from miaobi.engine.report.page import page, table
from miaobi.engine.report.plot import LEFT, RIGHT, WIDTH, number, thin, ticks


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline[^>]*points="([^"]+)"', svg)
    assert found
    return [tuple(map(float, pair.split(","))) for pair in found.group(1).split()]  # type: ignore[misc]


def test_a_curve_spans_the_plot_and_falls_when_the_loss_falls() -> None:
    svg = lines([Series(name="<loss>", xs=[0, 5, 10], ys=[8, 5, 4])], x_label="step", y_label="loss")
    ElementTree.fromstring(svg)  # well-formed, the name escaped
    drawn = points(svg)
    assert drawn[0][0] == LEFT
    assert drawn[-1][0] == WIDTH - RIGHT
    assert drawn[0][1] < drawn[1][1] < drawn[2][1]  # SVG counts downwards


def test_one_point_and_flat_curves_can_be_drawn() -> None:
    ElementTree.fromstring(lines([Series(name="a", xs=[3], ys=[1])], x_label="x", y_label="y"))
    ElementTree.fromstring(lines([Series(name="a", xs=[1, 2], ys=[0, 0])], x_label="x", y_label="y"))
    assert lines([Series(name="a", xs=[], ys=[])], x_label="x", y_label="y") == ""


def test_an_interval_is_drawn_around_its_value() -> None:
    svg = intervals([Interval(name="模型", value=5, low=4, high=7), Interval(name="b", value=6)], x_label="bits")
    tree = ElementTree.fromstring(svg)
    whisker = next(line for line in tree.iter("line") if line.get("stroke-width") == "3")
    dot = next(tree.iter("circle"))
    assert float(whisker.attrib["x1"]) < float(dot.attrib["cx"]) < float(whisker.attrib["x2"])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(3.1, 7.9) == [4, 5, 6, 7]
    assert all(-0.02 <= tick <= 0.013 for tick in ticks(-0.02, 0.013))


def test_numbers_are_written_for_people() -> None:
    assert [number(value) for value in (None, 3.0, 1234567.0, 12345.6, 0.123456, 0.00001)] == [
        "–",
        "3",
        "1,234,567",
        "12,346",
        "0.1235",
        "1.0e-05",
    ]


def test_long_series_are_averaged_in_buckets() -> None:
    short = thin(Series(name="a", xs=list(range(1000)), ys=[1.0] * 500 + [3.0] * 500), 10)
    assert len(short.xs) == 10
    assert short.ys[:5] == [1.0] * 5
    assert short.xs[0] == pytest.approx(49.5)


LOG = """{"kind": "step", "step": 10, "loss": 6.5, "lr": 0.001, "units_per_second": 100.0, "seconds": 1.0}
{"kind": "evaluate", "step": 20, "val_loss": 6.0, "best": 6.0, "best_step": 20}
{"kind": "step", "step": 20, "loss": 5.5, "lr": 0.001, "units_per_second": 300.0, "seconds": 2.0}
"""


def test_a_log_is_read_and_plotted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(LOG + '{"kind": "step", "ste', encoding="utf-8")  # cut off by a crash
    log = read_log(path)
    assert (log.steps, log.seconds) == (20, 2.0)
    assert log.typical("units_per_second") == 200
    assert log.last("val_loss") == 6.0
    assert list(log.series("loss", by_seconds=True).xs) == [1.0, 2.0]
    out = loss_plot(path, tmp_path / "loss.svg")
    assert out is not None
    root = ElementTree.parse(out).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_a_damaged_or_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training log"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text("rubbish\n" + LOG, encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_text('{"kind": "fit", "seconds": 2}\n', encoding="utf-8")
    assert loss_plot(tmp_path / "log.jsonl", tmp_path / "loss.svg") is None  # an n-gram counts and has no steps
    assert not (tmp_path / "loss.svg").exists()


def test_a_page_escapes_text_and_loads_nothing() -> None:
    html = page("<b>", [table(["<i>"], [["!<b>1</b>"]])])
    assert "<title>&lt;b&gt;</title>" in html
    assert "&lt;i&gt;" in html
    assert 'class="text best"' in html
    assert not re.search(r"<script|https?://|url\(", html)


def test_bits_over_other_characters_are_not_ranked() -> None:
    def model(name: str, characters: int) -> dict[str, object]:
        figures = {"bits_per_character": {"value": 5.0 if name == "a" else 6.0, "count": 30}}
        costs = dict.fromkeys(["parameters", "train_seconds", "characters_per_second", "train_peak_bytes", "peak_bytes"])
        evaluation = {"figures": figures, "examples": []}
        return {"name": name, "family": "ngram", "scored_characters": characters, "bytes": 1, "log": {}, "evaluation": evaluation, **costs}

    def html(*characters: int) -> str:
        data = {"name": "poems", "split": "val"}
        return comparison_page({"models": [model(*pair) for pair in zip("ab", characters)], "tests": [], "seed": 0, "data": data})

    assert '<td class="best">5</td>' in html(20, 20)
    assert "not comparable" not in html(20, 20)
    assert '<td class="best">5</td>' not in html(20, 24)
    assert "not comparable" in html(20, 24)
