"""What a prompt asks for: kinds of sound by Chinese and English words, how strong they are and how far away."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from miaobi.core.errors import UsageError, unknown
from miaobi.models.effects.schema import Options

WORDS: Mapping[str, Sequence[str]] = {
    "rain": ("雨", "rain", "rainy", "raining", "drizzle", "downpour"),
    "wind": ("风", "wind", "windy", "breeze", "gale", "storm"),
    "stream": ("溪", "泉", "流水", "小河", "涧", "stream", "brook", "creek", "river"),
    "waves": ("海", "浪", "潮", "涛", "wave", "waves", "sea", "ocean", "surf", "harbour", "harbor", "beach", "tide"),
    "thunder": ("雷", "thunder", "lightning", "thunderstorm"),
    "fire": ("火", "炉", "fire", "campfire", "fireplace", "flame", "flames", "bonfire"),
    "birds": ("鸟", "莺", "鹂", "雀", "燕", "鹊", "bird", "birds", "birdsong", "sparrow", "nightingale"),
    "crickets": ("虫", "蛩", "蟋蟀", "促织", "蝉", "cricket", "crickets", "cicada", "cicadas", "insects"),
    "bell": ("钟声", "钟鸣", "铃", "寺", "古钟", "敲钟", "晚钟", "bell", "bells", "chime", "church", "temple"),
    "gong": ("锣", "gong"),
    "drum": ("鼓", "drum", "drums", "drumbeat"),
    "click": ("点击", "按钮", "咔", "click", "button", "switch"),
    "clock": ("时钟", "钟表", "滴答", "嘀嗒", "clock", "tick", "ticking", "tock"),
}
STRONG = ("大", "暴", "狂", "骤", "急", "疾", "heavy", "strong", "loud", "pouring", "downpour", "gale", "storm", "fierce", "big", "many")
WEAK = ("小", "细", "微", "轻", "毛毛", "几点", "light", "soft", "gentle", "drizzle", "breeze", "quiet", "faint", "small", "little")
FAR = ("远", "遥", "far", "distant", "faraway")
_MOST = 4  # kinds in one sound
_DISTANCES = {"bell": 0.4, "click": 0.0, "drum": 0.15, "clock": 0.05}  # where the options leave it: a click is near, a bell is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What will be heard: kinds in the order of the prompt, and the two parameters that words can change."""

    kinds: tuple[str, ...]
    strength: float
    distance: float


def understand(prompt: str, options: Options, words: Mapping[str, Sequence[str]]) -> Heard:
    """The kinds that options or prompt name; words of size and distance change what the options leave as it is.

    Raises:
        UsageError: none is named; the message lists them.
    """
    kinds = (options.kind,) if options.kind else _named(prompt, words)
    if not kinds:
        if not prompt.strip():
            raise UsageError("which sound? Name one or several of: {known}", known=", ".join(sorted(words)))
        raise unknown("sound", prompt, words)
    strength, distance = options.strength, options.distance
    if "strength" not in options.model_fields_set or strength == Options().strength:
        strength = 0.9 if _place(prompt, STRONG) is not None else 0.2 if _place(prompt, WEAK) is not None else strength
    if distance == Options().distance:
        distance = 0.75 if _place(prompt, FAR) is not None else _DISTANCES.get(kinds[0], distance) if len(kinds) == 1 else distance
    return Heard(kinds=kinds, strength=strength, distance=distance)


def _named(prompt: str, words: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The kinds in a prompt in the order in which they are named, four at most."""
    places = {kind: _place(prompt, known) for kind, known in words.items()}
    found = sorted((place, kind) for kind, place in places.items() if place is not None)
    return tuple(kind for _, kind in found[:_MOST])


def _place(prompt: str, words: Sequence[str]) -> int | None:
    """Where the first of the words stands: a Chinese one anywhere, another one as a whole word."""
    text = prompt.lower()
    places = []
    for word in words:
        pattern = rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
        if match := re.search(pattern, text):
            places.append(match.start())
    return min(places, default=None)
