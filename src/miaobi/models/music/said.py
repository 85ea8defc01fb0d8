"""What a prompt's words say of music, in Chinese and in English: key, mode, metre, kind, instruments, speed, and what its mood suggests.

A plain list of words, no model: what it finds fills options that were left open, and what it does not know it leaves alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miaobi.data.instruments import INSTRUMENTS

HAN = re.compile("[\u3400-\u9fff]")
_SIGNS = {"#": "#", "升": "#", "sharp": "#", None: "", "b": "b", "降": "b", "flat": "b"}
_CHINESE_MODES = {"宫": "gong", "商": "shang", "角": "jue", "徵": "zhi", "羽": "yu"}
_MODES = ("major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "gong", "shang", "jue", "zhi", "yu")
_KINDS = {
    "slip jig": "slip jig", "reel": "reel", "jig": "jig", "hornpipe": "hornpipe", "march": "march", "waltz": "waltz",
    "strathspey": "strathspey", "polka": "polka", "minuet": "minuet", "lament": "lament", "chorale": "chorale", "hymn": "chorale",
    "air": "air", "song": "air", "lullaby": "air", "进行曲": "march", "圆舞曲": "waltz", "华尔兹": "waltz", "小步舞曲": "minuet",
    "众赞歌": "chorale", "圣咏": "chorale", "合唱": "chorale", "四部": "chorale", "里尔": "reel", "吉格": "jig", "号笛": "hornpipe",
    "波尔卡": "polka", "挽歌": "lament", "摇篮曲": "air",
}  # fmt: skip
_SPEEDS = {
    "very slow": 50, "slow": 66, "calm": 66, "gentle": 72, "fast": 160, "lively": 144, "quick": 152, "舒缓": 62, "欢快": 138,
    "轻快": 126, "慢": 66, "缓": 62, "快": 152,
}  # fmt: skip
_MOODS: tuple[tuple[str, str, str, int], ...] = (  # words, Chinese mode, other mode, tempo
    (
        "愁 悲 泪 恨 离 别 孤 寒 秋 夜 月 雪 思 归 梦 寂 sad sorrow alone lonely grief farewell night moon autumn winter snow rain rainy"
        " tears dream",
        "yu",
        "minor",
        66,
    ),
    ("塞 边 战 剑 马 漠 关 雁 风 古 war sword desert storm wind frontier ancient ruins", "shang", "dorian", 84),
    ("山 水 江 河 湖 舟 云 渔 林 竹 mountain river lake water boat cloud forest bamboo harbour harbor sea mist", "zhi", "mixolydian", 72),
    (
        "春 花 喜 乐 节 晨 日 童 笑 酒 莺 spring flower joy happy festival morning sun child laugh birthday dance bright",
        "gong",
        "major",
        96,
    ),
)


def heard(prompt: str) -> dict[str, Any]:
    """Options that the words of a prompt name."""
    lowered = prompt.lower()
    found: dict[str, Any] = {}
    modes = "大调|小调|宫|商|角|徵|羽|" + "|".join(_MODES)
    named_key = re.search(rf"([A-G])\s*(#|b|升|降|sharp|flat)?\s*(?:{modes})", prompt)
    if match := named_key or re.search(r"\bin ([A-G])\s*(#|b|sharp|flat)?(?![A-Za-z])", prompt):
        found["key"] = match[1] + _SIGNS[match[2]]
    if match := re.search(r"(宫|商|角|徵|羽)(?=调|音|$|\s)", prompt):
        found["mode"] = _CHINESE_MODES[match[1]]
    elif match := re.search(r"\b(" + "|".join(_MODES) + r")\b", lowered):
        found["mode"] = match[1]
    elif "大调" in prompt or "小调" in prompt:
        found["mode"] = "major" if "大调" in prompt else "minor"
    if match := re.search(r"(?<!\d)(2/2|4/4|2/4|3/4|6/8|9/8|3/8|12/8|6/4|3/2)(?!\d)", prompt):
        found["metre"] = match[1]
    if kind := next((kind for word, kind in _KINDS.items() if _names(word, lowered)), ""):
        found["kind"] = kind
    if match := re.search(r"(\d+)\s*(?:bars|小节)", lowered):
        found["bars"] = min(256, max(1, int(match[1])))
    if match := re.search(r"(?:tempo|速度|每分钟)\s*(\d{2,3})", lowered):
        found["tempo"] = float(min(400, max(20, int(match[1]))))
    elif speed := next((speed for word, speed in _SPEEDS.items() if _names(word, lowered)), 0):
        found["tempo"] = float(speed)
    named = [(lowered.find(word), one.name) for one in INSTRUMENTS.values() for word in (one.name, one.chinese) if _names(word, lowered)]
    if named:
        found["instruments"] = list(dict.fromkeys(name for _, name in sorted(named)))[:4]
    return found


def felt(prompt: str) -> Mapping[str, Any]:
    """The mode and the tempo that a prompt's mood suggests; nothing where no word is known."""
    lowered = prompt.lower()
    counts = [sum(_names(word, lowered) for word in words.split()) for words, *_ in _MOODS]
    if not any(counts):
        return {}
    _, chinese, other, tempo = _MOODS[counts.index(max(counts))]
    return {"mode": chinese if HAN.search(prompt) else other, "tempo": float(tempo)}


def _names(word: str, text: str) -> bool:
    """Whether the text has the word: a Chinese one anywhere, an English one by itself or in the plural."""
    return word in text if HAN.search(word) else re.search(rf"\b{re.escape(word)}s?\b", text) is not None
