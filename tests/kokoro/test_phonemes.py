"""The table of pinyin against misaki's, on which the network was trained, and against samples that need no package."""

from __future__ import annotations

import pytest

from miaobi.models.kokoro.phonemes import syllable, word


@pytest.mark.parametrize(
    ("pinyin", "phonemes"),
    [
        ("zhong1", "ꭧʊ→ŋ"),
        ("shi4", "ʂɨ↘"),
        ("xue2", "ɕɥe↗"),
        ("nv3", "ny↓"),
        ("er4", "ɚ↘"),
        ("lve4", "lɥe↘"),
        ("yuan2", "ɥɛ↗n"),
        ("de5", "tɤ"),
        ("qiong2", "ʨʰjʊ↗ŋ"),
        ("xyz1", ""),
    ],
)
def test_a_syllable_becomes_its_phonemes(pinyin: str, phonemes: str) -> None:
    assert syllable(pinyin) == phonemes


def test_a_word_is_its_syllables_and_a_comma_is_a_pause() -> None:
    assert word("jin1 tian1") == "ʨi→ntʰjɛ→n"
    assert word("yao1 , er4") == "jau→, ɚ↘"


def test_every_syllable_is_as_misaki_has_it() -> None:
    pytest.importorskip("misaki")
    from misaki.zh import ZHG2P
    from pypinyin.constants import PINYIN_DICT
    from pypinyin.contrib.tone_convert import to_tone3

    known = {to_tone3(one, neutral_tone_with_five=True) for several in PINYIN_DICT.values() for one in several.split(",")}
    assert len(known) > 1400
    wrong = {one: syllable(one) for one in known if syllable(one) != ZHG2P.py2ipa(one).replace("\u032f", "")}
    assert not wrong
