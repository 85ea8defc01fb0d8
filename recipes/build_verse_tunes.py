"""Derive the ci tunes of `miaobi.models.verse` (`tables/tunes.json`) from the Song and Five Dynasties ci of npm `chinese-poetry` (MIT).

For each tune: the shapes (line lengths) that at least a tenth of its poems have; for each shape, position by position, 平 or 仄 where at
least 85 % of the characters of one tone agree, else 中; the rhymes, as clusters of line ends that fall into one part of the 词林正韵
in most poems; the lines that repeat an earlier line's end; and the marks. Run `recipes/build_verse_tables.py` first.

    python recipes/build_verse_tunes.py --poems package/dist
"""

from __future__ import annotations

import argparse
import collections
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import opencc

from miaobi.models.verse import prosody

# Tune and its other names.
TUNES = """
    忆江南=望江南/梦江南/江南好 浣溪沙 如梦令 菩萨蛮 卜算子 采桑子=丑奴儿 清平乐 西江月
    浪淘沙=浪淘沙令 蝶恋花=鹊踏枝/凤栖梧 鹧鸪天=思佳客 虞美人 临江仙 水调歌头 满江红
    念奴娇=百字令/酹江月/大江东去 沁园春 忆秦娥=秦楼月 相见欢=乌夜啼/秋夜月 点绛唇 生查子 长相思
    渔家傲 南乡子 踏莎行 青玉案 江城子=江神子 破阵子 诉衷情=诉衷情令 醉花阴 减字木兰花=减兰
    玉楼春=木兰花 好事近 谒金门 朝中措 柳梢青 南歌子=南柯子 阮郎归 眼儿媚 武陵春 小重山 苏幕遮 鹊桥仙
    行香子 唐多令=糖多令 贺新郎=金缕曲 满庭芳 齐天乐 更漏子 摊破浣溪沙=山花子 醉落魄=一斛珠 昭君怨
    永遇乐 声声慢
"""
FORCED = {"忆江南": (3, 5, 7, 7, 5), "相见欢": (6, 3, 6, 3, 3, 3, 3, 6, 3)}  # where the names are shared by tunes of several shapes
HALVED = {"忆江南"}  # Song poets doubled the tune of one stanza
GAPS = re.compile(r"[□○●■〖〗（）()\[\]{}/\dA-Za-z]")
QUOTES = re.compile(r"[“”‘’《》「」『』\s]")
AGREE, RHYME, SHARE, FEWEST = 0.85, 0.5, 0.06, 20
TABLE = prosody.TABLES / "tunes.json"
Poem = tuple[tuple[str, ...], str]  # lines and the mark after each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poems", type=Path, required=True)
    poems = collections.defaultdict(list)
    for tune, poem in read_ci(parser.parse_args().poems):
        poems[tune].append(poem)
    table = {}
    for entry in TUNES.split():
        name, _, others = entry.partition("=")
        aliases = [alias for alias in others.split("/") if alias]
        table[name] = {"aliases": aliases, "shapes": shapes(name, [poem for tune in (name, *aliases) for poem in poems[tune]])}
    TABLE.write_text(json.dumps(table, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_ci(folder: Path) -> Iterator[tuple[str, Poem]]:
    """Tune and poem; poems with gaps are left out."""
    convert = opencc.OpenCC("t2s").convert
    files = [*sorted(folder.glob("songci/ci.song.*.json")), *sorted(folder.glob("wudaishici/*/*.json"))]
    for path in files:
        entries = json.loads(path.read_text(encoding="utf-8"))
        for entry in entries if isinstance(entries, list) else []:
            if "rhythmic" not in entry or not entry.get("paragraphs"):
                continue
            text = QUOTES.sub("", convert("".join(entry["paragraphs"])))
            pieces = re.findall(r"([^，。！？；、：]+)([，。！？；、：]+)", text)
            if pieces and not GAPS.search(text):
                marks = "".join("，" if mark[0] in "，；：" else "、" if mark[0] == "、" else "。" for _, mark in pieces)
                yield re.split("[・·（(]", convert(entry["rhythmic"]))[0], (tuple(line for line, _ in pieces), marks)


def shapes(name: str, poems: list[Poem]) -> list[dict[str, Any]]:
    """The shapes of a tune that are common enough, the usual one first. A tune that is sung to 平 and to 仄 rhymes has a shape for each."""
    groups: dict[tuple[tuple[int, ...], str], list[Poem]] = collections.defaultdict(list)
    for lines, marks in poems:
        shape, half = tuple(map(len, lines)), len(lines) // 2
        if name in HALVED and shape[:half] == shape[half:]:
            for part in (slice(0, half), slice(half, None)):
                groups[shape[part], tone_of(lines[part][-1][-1])].append((lines[part], marks[part]))
        else:
            groups[shape, tone_of(lines[-1][-1])].append((lines, marks))
    for shape, tone in list(groups):  # a last character of both tones goes with what its shape usually has
        if tone == prosody.FREE:
            level, oblique = (shape, prosody.LEVEL), (shape, prosody.OBLIQUE)
            groups[level if len(groups[level]) >= len(groups[oblique]) else oblique] += groups.pop((shape, tone))
    total = sum(map(len, groups.values()))
    chosen = sorted((key for key in groups if groups[key] and key[0] == FORCED.get(name, key[0])), key=lambda key: -len(groups[key]))
    enough = max(FEWEST, SHARE * total)
    derived = [derive(groups[key]) for index, key in enumerate(chosen) if index == 0 or len(groups[key]) >= enough]
    for found in derived:
        parts = zip(found["tones"], found["rhymes"], found["marks"])
        print(f"{name} {found['poems']}/{total}", *(t + str(r) * (r >= 0) + m for t, r, m in parts), found["echoes"] or "")
    return derived


def tone_of(character: str) -> str:
    sound = prosody.book("cilin").sound(character)
    if sound is None or bool(sound.level) == bool(sound.oblique):
        return prosody.FREE
    return prosody.LEVEL if sound.level else prosody.OBLIQUE


def derive(poems: list[Poem]) -> dict[str, Any]:
    """Tones, rhymes, echoes and marks of one shape."""
    rhymes, levels = find_rhymes(poems), tone_shares(poems)
    tones = ["".join("平" if share >= AGREE else "仄" if share <= 1 - AGREE else "中" for share in line) for line in levels]
    rhymed = {line: "平" if levels[line][-1] >= 0.5 else "仄" for line, number in enumerate(rhymes) if number >= 0}
    marks = "".join(collections.Counter(poem[1][line] for poem in poems).most_common(1)[0][0] for line in range(len(tones)))
    return {
        "poems": len(poems),
        "tones": [line[:-1] + rhymed.get(index, line[-1]) for index, line in enumerate(tones)],
        "marks": marks[:-1] + "。",
        "rhymes": rhymes,
        "echoes": find_echoes(poems),
    }


def tone_shares(poems: list[Poem]) -> list[list[float]]:
    """The share of 平 at each position among characters that are not both."""
    shares = []
    for line in zip(*(lines for lines, _ in poems)):
        counts = [collections.Counter(map(tone_of, characters)) for characters in zip(*line)]
        shares.append([count["平"] / max(1, count["平"] + count["仄"]) for count in counts])
    return shares


def find_rhymes(poems: list[Poem]) -> list[int]:
    """Number the clusters of line ends that share a part in most poems; -1 for ends that rhyme with none."""
    num_lines = len(poems[0][0])
    parts = [[groups(lines[i][-1]) for i in range(num_lines)] for lines, _ in poems]
    together = np.array([[np.mean([bool(row[i] & row[j]) for row in parts]) for j in range(num_lines)] for i in range(num_lines)])
    cluster = list(range(num_lines))
    for i in range(num_lines):
        for j in range(i):
            if together[i, j] >= RHYME and cluster[i] != cluster[j]:
                cluster = [cluster[j] if c == cluster[i] else c for c in cluster]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(c, len(numbers)) if cluster.count(c) > 1 else -1 for c in cluster]


def groups(character: str) -> int:
    sound = prosody.book("cilin").sound(character)
    return sound.groups("中") if sound else 0


def find_echoes(poems: list[Poem]) -> dict[str, int]:
    """Line -> the earlier line whose end it repeats."""
    found = {}
    for j in range(1, len(poems[0][0])):
        for i in range(j):
            if np.mean([lines[i].endswith(lines[j]) for lines, _ in poems]) >= AGREE:
                found[str(j)] = i
                break
    return found


if __name__ == "__main__":
    main()
