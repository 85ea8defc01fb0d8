"""Make a small LJSpeech-style folder (`wavs/`, `metadata.csv`) of one voice that says made-up sentences: what the recipes of speech learn.

The sentences come from a grammar of about 100 words, so that minutes of training suffice and held-out sentences are new orders of known
words. English is said by PyPI `hibari-tts` (Apache-2.0, one voice, a hundred times faster than speech), or, with `--model`, by any
model of miaobi that speaks; Chinese needs such a model. The sound is not part of the repository.

    pip install hibari-tts
    python recipes/build_speech_set.py datasets/fable --count 1200
    python recipes/build_speech_set.py datasets/shici --count 300 --language zh --model narrator
"""

from __future__ import annotations

import argparse
import io
import random
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ADJECTIVES = "quiet small old brown clever lazy happy lonely young gentle silver hungry sleepy brave tired golden"
ANIMALS = "fox bear crow rabbit horse owl cat dog mouse goat wolf sparrow turtle sheep frog duck"
VERBS = "sleeps waits sings runs hides walks rests plays dances listens jumps swims"
PREPOSITIONS = "under behind near above below beside inside around"
PLACES = "bridge river mountain garden window forest house road field tower lake moon door tree village stone"
HOURS = "one two three four five six seven eight nine ten eleven twelve"
TENS = "twenty thirty forty fifty"
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
WEATHER = "rain wind snow sunshine fog thunder"

PEOPLE_ZH = "小明 小红 老师 妈妈 爸爸 朋友 医生 奶奶"
TIMES_ZH = "今天 明天 昨天 早上 中午 晚上 星期一 星期天 春天 秋天"
PLACES_ZH = "学校 公园 河边 山上 家里 海边 花园 图书馆"
DOINGS_ZH = "看书 喝茶 唱歌 画画 写字 跑步 吃饭 休息 听音乐 看月亮"
WEATHER_ZH = "下雨 下雪 刮风 出太阳"
DIGITS_ZH = "一二三四五六七八九"

Voice = Callable[[str, int], tuple[np.ndarray, int]]  # a sentence and a seed to samples in [-1, 1] and their rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1200, help="sentences")
    parser.add_argument("--language", choices=("en", "zh"), default="en")
    parser.add_argument("--model", default="", help="a model of miaobi that speaks; hibari-tts when absent")
    parser.add_argument("--voice", default="", help="the model's voice")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.language == "zh" and not given.model:
        parser.error("Chinese needs --model: hibari-tts speaks English only")
    say = by_miaobi(given.model, given.voice) if given.model else by_hibari()
    (given.folder / "wavs").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, text in enumerate(sentences(given.language, given.count, given.seed)):
        name = f"{given.language}-{number:05d}"
        samples, rate = say(text, number)
        (given.folder / "wavs" / f"{name}.wav").write_bytes(as_wav(samples, rate))
        rows.append(f"{name}|{text}|{text}\n")
    (given.folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def sentences(language: str, count: int, seed: int) -> Iterator[str]:
    """So many different sentences; the same ones for the same seed."""
    rng = random.Random(f"{language} {seed}")
    make = english if language == "en" else chinese
    seen: set[str] = set()
    while len(seen) < count:
        text = make(rng)
        if text not in seen:
            seen.add(text)
            yield text


def english(rng: random.Random) -> str:
    """Four to six words on an animal, the clock or the weather."""

    def one(words: str) -> str:
        return rng.choice(words.split())

    kind = rng.random()
    if kind < 0.6:
        return f"The {one(ADJECTIVES)} {one(ANIMALS)} {one(VERBS)}."
    if kind < 0.8:
        minute = one(TEENS) if rng.random() < 0.4 else f"{one(TENS)} {rng.choice(HOURS.split()[:9])}"
        return f"It is {one(HOURS)} {minute}."
    return f"{one(WEATHER).capitalize()} {one(PREPOSITIONS)} the {one(PLACES)}."


def chinese(rng: random.Random) -> str:
    """A sentence of people, of the clock, or of the weather; numbers are written as they are said."""

    def one(words: str) -> str:
        return rng.choice(words.split())

    kind = rng.random()
    if kind < 0.5:
        return f"{one(TIMES_ZH)}{one(PEOPLE_ZH)}在{one(PLACES_ZH)}{one(DOINGS_ZH)}。"
    minutes = f"{rng.choice('二三四五')}十{rng.choice(DIGITS_ZH)}"
    if kind < 0.8:
        return f"现在是{rng.choice(['上午', '下午', '晚上'])}{rng.choice(DIGITS_ZH.replace('二', '两'))}点{minutes}分。"
    return f"{one(TIMES_ZH)}{one(PLACES_ZH)}{one(WEATHER_ZH)}，{minutes}度。"


def by_hibari() -> Voice:
    """The voice inside PyPI `hibari-tts`."""
    from hibari import Hibari

    voice = Hibari()
    return lambda text, seed: (np.asarray(voice(text, seed=seed), dtype=np.float32), voice.sample_rate)


def by_miaobi(name: str, voice: str) -> Voice:
    """A model of this house."""
    import miaobi
    from miaobi.core.types import Media
    from miaobi.data.sounds import decode

    model = miaobi.load(name)
    options = {"voice": voice} if voice else {}

    def say(text: str, seed: int) -> tuple[np.ndarray, int]:
        [content] = model.generate(text, seed=seed, **options)
        sound = decode(next(part.data for part in content.parts if isinstance(part, Media))).mono()
        return sound.samples[:, 0], sound.rate

    return say


def as_wav(samples: np.ndarray, rate: int) -> bytes:
    """16-bit mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


if __name__ == "__main__":
    main()
