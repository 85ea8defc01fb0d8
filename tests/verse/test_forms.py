from __future__ import annotations

import subprocess
import sys

import pytest

from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.core.errors import UsageError
from miaobi.models.verse import forms
from miaobi.models.verse.schema import Options


def test_the_four_regulated_forms() -> None:
    for name, (num_lines, width) in forms.SHI.items():
        form = forms.form(name)
        assert form.lines == (width,) * num_lines
        assert form.rhyming == tuple(range(1, num_lines, 2))
        assert len(form.patterns) == 4
        assert len({pattern.name for pattern in form.patterns}) == 4


@pytest.mark.parametrize("name", list(forms.SHI))
@pytest.mark.parametrize("tone", ["strict", "loose"])
def test_regulated_patterns_keep_the_rules(name: str, tone: forms.Tone) -> None:
    """对 within a couplet, 粘 between couplets, level rhymes, no 三平尾, no 孤平, in every tone string."""
    for pattern in forms.form(name).patterns:
        lines = [pattern.line(index, tone) for index in range(len(pattern.rhymes))]
        seconds = [{tones[1] for tones in line} for line in lines]
        assert all(len(second) == 1 for second in seconds)
        turns = ["".join(second) for second in seconds]
        assert all(turns[i] != turns[i + 1] for i in range(0, len(turns), 2))
        assert all(turns[i] == turns[i + 1] for i in range(1, len(turns) - 1, 2))
        for rhyme, line in zip(pattern.rhymes, lines):
            for tones in line:
                assert tones[-1] == ("平" if rhyme == 0 else "仄")
                assert tones[-3:] not in ("平平平", "中平平", "平中平")
                if tones.endswith("平") and tones[-4] == "平" and len(tones) == 5:
                    assert tones[0] == "平" or tones[2] == "平"  # else the fourth-last would stand alone: 孤平


def test_strict_is_within_loose() -> None:
    def within(tight: str, wide: str) -> bool:
        return all(b in ("中", a) for a, b in zip(tight, wide))

    for name in forms.names():
        for form in forms.variants(name):
            for pattern in form.patterns:
                for strict, loose in zip(pattern.strict, pattern.loose):
                    assert all(any(within(tight, wide) for wide in loose) for tight in strict)


def test_without_tone_rules_only_rhymes_keep_their_tone() -> None:
    pattern = forms.form("五绝").patterns[0]
    assert pattern.line(0, "none") == ("中中中中中",)
    assert pattern.line(1, "none") == ("中中中中平",)


def test_every_form_is_whole() -> None:
    assert len(forms.names()) >= 34
    for name in forms.names():
        for form in forms.variants(name):
            assert len(form.lines) == len(form.marks)
            assert form.marks[-1] == "。"
            for pattern in form.patterns:
                assert tuple(len(line[0]) for line in pattern.strict) == form.lines
                assert len(form.lines) == len(pattern.rhymes)


def test_an_unknown_form_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="水调歌头"):
        forms.form("水调歌")


def test_aliases_name_the_same_tune() -> None:
    assert forms.form("江神子") is forms.form("江城子") or forms.form("江神子") == forms.form("江城子")
    assert {"江神子", "江城子"} <= forms.TUNES
    parser = Parser(prog="generate")
    add_options(parser, Options, "options")
    assert given_options(parser.parse_args(["--form", "江神子"]), Options, "options") == {"form": "江神子"}
    assert "七绝" not in forms.TUNES


def test_importing_the_forms_reads_no_table_and_no_numpy() -> None:
    code = (
        "import sys; from miaobi.models.verse import forms; "
        "assert not {'numpy', 'miaobi.models.verse.tunes'} & set(sys.modules); assert forms.form('五绝')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
