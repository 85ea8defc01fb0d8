"""Pinyin to the letters that Kokoro's network reads: IPA with an arrow for the tone, as in misaki 0.9 (whose table is checked in tests).

`jin1 tian1` is `ʨi→ntʰjɛ→n`. The tone stands behind the vowel that bears it, which `0` marks in the tables.
"""

from __future__ import annotations

import functools
import re

TONES = {"1": "→", "2": "↗", "3": "↓", "4": "↘", "5": ""}
INITIALS = {
    "zh": "ꭧ",
    "ch": "ꭧʰ",
    "sh": "ʂ",
    "b": "p",
    "p": "pʰ",
    "m": "m",
    "f": "f",
    "d": "t",
    "t": "tʰ",
    "n": "n",
    "l": "l",
    "g": "k",
    "k": "kʰ",
    "h": "x",
    "j": "ʨ",
    "q": "ʨʰ",
    "x": "ɕ",
    "r": "ɻ",
    "z": "ʦ",
    "c": "ʦʰ",
    "s": "s",
}
FINALS = {
    "a": "a0",
    "ai": "ai0",
    "an": "a0n",
    "ang": "a0ŋ",
    "ao": "au0",
    "e": "ɤ0",
    "ei": "ei0",
    "en": "ə0n",
    "eng": "ə0ŋ",
    "i": "i0",
    "ia": "ja0",
    "ian": "jɛ0n",
    "iang": "ja0ŋ",
    "iao": "jau0",
    "ie": "je0",
    "in": "i0n",
    "iu": "jou0",
    "ing": "i0ŋ",
    "iong": "jʊ0ŋ",
    "ong": "ʊ0ŋ",
    "ou": "ou0",
    "u": "u0",
    "ui": "wei0",
    "ua": "wa0",
    "uai": "wai0",
    "uan": "wa0n",
    "un": "wə0n",
    "uang": "wa0ŋ",
    "ueng": "wə0ŋ",
    "uo": "wo0",
    "o": "wo0",
    "v": "y0",
    "ve": "ɥe0",
    "van": "ɥɛ0n",
    "vn": "y0n",
}
ALONE = {  # syllables without an initial, and those that have no vowel of their own
    "er": "ɚ0",
    "r": "ɚ0",
    "o": "ɔ0",
    "io": "jɔ0",
    "yo": "wo0",
    "wong": "ʊ0ŋ",
    "ê": "ɛ0",
    "m": "m0",
    "n": "n0",
    "ng": "ŋ0",
    "hm": "hm0",
    "hng": "hŋ0",
    "yi": "i0",
    "ya": "ja0",
    "yan": "jɛ0n",
    "yang": "ja0ŋ",
    "yao": "jau0",
    "ye": "je0",
    "yai": "jai0",
    "yin": "i0n",
    "you": "jou0",
    "ying": "i0ŋ",
    "yong": "jʊ0ŋ",
    "yu": "y0",
    "yue": "ɥe0",
    "yuan": "ɥɛ0n",
    "yun": "y0n",
    "wu": "u0",
    "wa": "wa0",
    "wai": "wai0",
    "wan": "wa0n",
    "wang": "wa0ŋ",
    "wei": "wei0",
    "wen": "wə0n",
    "weng": "wə0ŋ",
    "wo": "wo0",
}
_BUZZED = {"zh", "ch", "sh", "r", "z", "c", "s"}  # their i is the consonant held on
_SYLLABLE = re.compile(f"^({'|'.join(INITIALS)})?(.*)$")


@functools.lru_cache(maxsize=4096)
def syllable(pinyin: str) -> str:
    """The phonemes of one syllable with its tone number; empty where there is no such syllable.

    >>> syllable("jin1"), syllable("shi4"), syllable("nv3"), syllable("xue2")
    ('ʨi→n', 'ʂɨ↘', 'ny↓', 'ɕɥe↗')
    """
    plain, tone = (pinyin[:-1], TONES[pinyin[-1]]) if pinyin[-1:] in TONES else (pinyin, "")
    plain = plain.replace("ü", "v")
    if plain in ALONE:
        return ALONE[plain].replace("0", tone)
    found = _SYLLABLE.match(plain)
    assert found is not None
    initial, final = found[1] or "", found[2]
    if final == "i" and initial in _BUZZED:
        return f"{INITIALS[initial]}ɨ{tone}"
    if initial in ("j", "q", "x") and final.startswith("u"):
        final = "v" + final[1:]
    if final not in FINALS:
        return ""
    return (INITIALS[initial] if initial else "") + FINALS[final].replace("0", tone)


def word(pinyin: str) -> str:
    """The phonemes of syllables with spaces between them; a comma among them stays, as a pause."""
    return "".join(", " if each == "," else syllable(each) for each in pinyin.split())
