"""Where one model of texts beats another, and where a model that reads one text looks while it writes the other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from miaobi import api
from miaobi.cli.evaluate import _verdict
from miaobi.cli.main import main
from miaobi.core.recipe import Evaluate, Generate
from miaobi.core.types import Record
from miaobi.engine.against import against
from miaobi.engine.compare import paired_tests
from miaobi.engine.evaluate import measure
from miaobi.engine.report import evaluation_page
from miaobi.engine.report.heat import attention_file, heat
from miaobi.models.ngram.model import NGram


def test_the_prompts_are_named_on_which_it_is_better(poems: list[Record]) -> None:
    strange = [Record(id=letter, parts=(letter * 8,)) for letter in "abcdefgh"]
    known, unknown = poems[:40], [*strange, *poems[86:]]
    models = []
    for records in ([*known, *strange], known):
        model = NGram.create({"order": 2}, records)
        model.fit(records)
        models.append(measure(model, unknown, Evaluate(metrics=["bits_per_character"])))
    found = against(*models)
    assert "bits_per_character" in found.verdict["better"]
    assert {text[0] for text in found.where["bits_per_character"]["better"]} <= set("abcdefgh")
    page = evaluation_page({**models[0].to_dict(), "baselines": {"other": _plain(found)}})
    assert re.search("better by most on “([a-h])\\1{7}”", page)
    better, where, tested = _verdict({**models[0].to_dict(), "baselines": {"other": _plain(found)}}, "other")[1:]
    assert "better in bits_per_character" in better
    assert re.search("better by most on “([a-h])\\1{7}”", where)
    assert re.fullmatch(r"Tested by paired bootstrap: bits_per_character p = [\d.e-]+\.", tested)


def test_what_is_missing_is_said_before_anything_is_loaded(
    poems: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(api, "load", lambda *arguments, **named: pytest.fail("nothing is loaded"))
    Path("poems.jsonl").write_text("".join(json.dumps({"text": record.text}) + "\n" for record in poems), encoding="utf-8")
    Path("r.yaml").write_text("version: 1\nname: r\ndata: {source: poems.jsonl, split: {val: 0}}\nmodel: {family: ngram}\n")
    assert main(["evaluate", "r.yaml", "--model", "poet", "--against", "nobody", "--lang", "en"]) == 2
    assert "unknown model 'nobody'" in capsys.readouterr().err
    assert main(["evaluate", "r.yaml", "--model", "poet", "--lang", "en"]) == 1
    assert "no held-out records" in capsys.readouterr().err


def test_answers_to_the_same_prompts_are_compared_in_pairs(poems: list[Record]) -> None:
    """Also where no held-out record stands behind a prompt, and only what models wrote."""
    models = []
    for order in (3, 1):
        model = NGram.create({"order": order}, poems)
        model.fit(poems)
        asked = Generate(prompts=["白日", "春眠"], options={"max_tokens": 24})
        models.append(measure(model, poems, Evaluate(metrics=["copied", "repetition"], samples=32), training=poems, generate=asked))
    found = against(*models)
    assert "copied_real" in models[0].figures
    assert not [name for name in found.differences if "_real" in name]
    assert found.differences["copied"].test == "paired bootstrap"
    assert "copied" in found.verdict["worse"], "what it copies is longer"
    assert set(found.where["copied"]["worse"]) <= {"白日", "春眠"}


def _plain(found: object) -> dict[str, object]:
    from miaobi.engine.evaluate import Baseline, _baseline_dict

    assert isinstance(found, Baseline)
    return _baseline_dict(found)


def test_attention_is_drawn(poems: list[Record]) -> None:
    pytest.importorskip("torch")
    from miaobi.models.seq2seq.model import Seq2Seq

    model = Seq2Seq.create({"width": 16, "layers": 2, "heads": 2, "context": 32, "source": "{title}"}, poems)
    report = measure(model, poems, Evaluate(metrics=["chrf"], samples=3, records=3)).to_dict()
    assert len(report["attention"]) == 2
    first = report["attention"][0]
    assert len(first["layers"]) == 2
    assert len(first["layers"][0]) == len(first["target"])
    assert sum(first["layers"][0][0]) == pytest.approx(1.0, abs=0.01)
    assert evaluation_page(report).count('<svg class="heat"') == 4
    assert attention_file(first).startswith('<svg xmlns="http://www.w3.org/2000/svg" class="heat"')


def test_a_drawing_holds_its_tokens_and_is_escaped() -> None:
    drawn = heat(["<b>", "晓"], ["a b", "\n"], [[0.9, 0.1], [0.01, 0.99]], title="x & y")
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    assert "a·b" in drawn
    assert "↵" in drawn
    assert drawn.count('fill="var(--s0)"') == 3, "what is next to nothing is not drawn"


def test_bits_of_who_reads_the_title_are_not_compared_with_those_of_who_does_not() -> None:
    def entry(name: str, kind: str) -> dict[str, object]:
        figures = {"bits_per_character": {"better": "lower"}, "length": {"better": "lower"}}
        parts = {name: [[9.0, 8.0], [2.0, 3.0]] for name in figures}
        return {"name": name, "likelihood": kind, "evaluation": {"figures": figures}, "parts": parts, "draws": {}, "asked": None}

    assert [test["figure"] for test in paired_tests([entry("a", ""), entry("b", "given")])] == ["length"]
    assert len(paired_tests([entry("a", "bound"), entry("b", "")])) == 2
