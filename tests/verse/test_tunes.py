"""The derived tunes beside the patterns of the 词谱 (Wang Li, 诗词格律, and the 钦定词谱), typed in here and nowhere else."""

from __future__ import annotations

import pytest

from miaobi.models.verse import forms

# tones of each line; a rhyming line ends with the number of its rhyme
KNOWN = {
    "忆江南": "平中仄 中仄仄平平0 中仄中平平仄仄 中平中仄仄平平0 中仄仄平平0",
    "浣溪沙": "中仄平平仄仄平0 中平中仄仄平平0 中平中仄仄平平0 中仄中平平仄仄 中平中仄仄平平0 中平中仄仄平平0",
    "如梦令": "中仄中平平仄0 中仄中平平仄0 中仄仄平平 中仄仄平平仄0 平仄0 平仄0 中仄中平平仄0",
    "菩萨蛮": "中平中仄平平仄0 中平中仄平平仄0 中仄仄平平1 中平中仄平1 中平平仄仄2 中仄平平仄2 中仄仄平平3 中平中仄平3",
    "卜算子": "中仄仄平平 中仄平平仄0 中仄平平仄仄平 中仄平平仄0 " * 2,
    "采桑子": "中平中仄平平仄 中仄平平0 中仄平平0 中仄平平仄仄平0 " * 2,
    "清平乐": "中平中仄0 中仄平平仄0 中仄中平平仄仄0 中仄中平中仄0 中平中仄平平1 中平中仄平平1 中仄中平中仄 中平中仄平平1",
    "西江月": "中仄中平中仄 中平中仄平平0 中平中仄仄平平0 中仄中平中仄0 " * 2,
    "浪淘沙": "中仄仄平平0 中仄平平0 中平中仄仄平平0 中仄中平平仄仄 中仄平平0 " * 2,
    "蝶恋花": "中仄中平平仄仄0 中仄平平 中仄平平仄0 中仄中平平仄仄0 中平中仄平平仄0 " * 2,
    "鹧鸪天": "中仄平平中仄平0 中平中仄仄平平0 中平中仄平平仄 中仄平平中仄平0 "
    "平仄仄 仄平平0 中平中仄仄平平0 中平中仄平平仄 中仄平平中仄平0",
    "忆秦娥": "平平仄0 中平中仄平平仄0 平平仄0 中平中仄 仄平平仄0 中平中仄平平仄0 中平中仄平平仄0 平平仄0 中平中仄 仄平平仄0",
    "点绛唇": "中仄平平 中平中仄平平仄0 中平平仄0 中仄平平仄0 中仄平平 中仄平平仄0 平平仄0 中平平仄0 中仄平平仄0",
    "渔家傲": "中仄中平平仄仄0 中平中仄平平仄0 中仄中平平仄仄0 平中仄0 中平中仄平平仄0 " * 2,
    "踏莎行": "中仄平平 中平中仄0 中平中仄平平仄0 中平中仄仄平平 中平中仄平平仄0 " * 2,
    "南乡子": "中仄仄平平0 中仄平平中仄平0 中仄中平平仄仄 平平0 中仄平平中仄平0 " * 2,
    "破阵子": "中仄中平中仄 中平中仄平平0 中仄中平平仄仄 中仄平平仄仄平0 中平中仄平0 " * 2,
    "阮郎归": "中平中仄仄平平0 中平中仄平0 中平中仄仄平平0 中平中仄平0 平仄仄 仄平平0 中平中仄平0 中平中仄仄平平0 中平中仄平0",
    "醉花阴": "中仄中平平仄仄0 中仄平平仄0 中仄仄平平 中仄平平 中仄平平仄0 中平中仄平平仄0 中仄平平仄0 中仄仄平平 中仄平平 中仄平平仄0",
}
ASKED = """
    忆江南 浣溪沙 如梦令 菩萨蛮 卜算子 采桑子 清平乐 西江月 浪淘沙 蝶恋花 鹧鸪天 虞美人 临江仙 水调歌头 满江红 念奴娇
    沁园春 忆秦娥 相见欢 点绛唇 生查子 长相思 渔家傲 南乡子 踏莎行 青玉案 江城子 破阵子 诉衷情 醉花阴
"""


def test_the_well_known_tunes_are_there() -> None:
    assert set(ASKED.split()) <= set(forms.names())


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_derived_pattern_is_the_one_of_the_books(name: str) -> None:
    lines = KNOWN[name].split()
    pattern = forms.form(name).patterns[0]
    rhymes = tuple(int(line[-1]) if line[-1].isdigit() else forms.NO_RHYME for line in lines)
    tones = [line.rstrip("0123456789") for line in lines]
    derived = [line[0] for line in pattern.strict]
    assert [len(line) for line in derived] == [len(line) for line in tones]
    assert pattern.rhymes == rhymes
    pairs = [(ours, theirs) for mine, known in zip(derived, tones) for ours, theirs in zip(mine, known) if theirs != "中"]
    assert sum(ours == theirs for ours, theirs in pairs) >= 0.8 * len(pairs)
    assert not [pair for pair in pairs if set(pair) == {"平", "仄"}], "a fixed tone contradicts the books"


def test_rhymes_that_change_and_lines_that_repeat() -> None:
    assert forms.form("虞美人").patterns[0].rhymes == (0, 0, 1, -1, 1, 2, 2, 3, -1, 3)
    assert forms.form("相见欢").patterns[0].rhymes == (0, 0, -1, 0, 1, 1, 0, -1, 0)
    assert forms.form("减字木兰花").patterns[0].rhymes == (0, 0, 1, 1, 2, 2, 3, 3)
    assert dict(forms.form("如梦令").echoes) == {5: 4}
    assert dict(forms.form("忆秦娥").echoes) == {2: 1, 7: 6}


def test_a_tune_may_have_several_shapes() -> None:
    assert len(forms.variants("水调歌头")) > 1
    tones = {form.patterns[0].strict[-1][0][-1] for form in forms.variants("柳梢青")}
    assert tones == {"平", "仄"}
