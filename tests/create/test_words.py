"""Scenes come from a poem's own words, moods from a table, and lengths stay in their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.apps.create.film import LONGEST, SHORTEST, durations, total
from miaobi.apps.create.moods import mood_of, moods
from miaobi.apps.create.pictures import cut_out, scene, seal
from miaobi.apps.create.words import MOST_SCENES, grouped, named, scenes, verses
from miaobi.apps.create.work import Poem, title_of

QUATRAIN = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
BALLAD = """The harbour rocks the leaning masts
and sings them all to sleep;
a cat goes out along the wall
on business with the moon.

A door
opens."""


def test_chinese_words_are_found_longest_first() -> None:
    assert [(picture.en, word) for picture, word in named("孤帆远影碧空尽", "zh")] == [
        ("sailboat", "孤帆"),
        ("sparkles", "影"),
        ("sparkles", "空"),
    ]
    assert [word for _, word in named("夜半钟声到客船", "zh")] == ["夜半", "钟声", "客船"]


def test_a_scene_shows_the_most_visible_thing_that_is_new() -> None:
    found = scenes(verses(QUATRAIN, "zh"), "静夜思", "zh")
    assert [(each.picture.zh, each.word) for each in found] == [("满月", "明月"), ("雪花", "霜"), ("双眼", "望"), ("别墅", "故乡")]
    assert [each.lines for each in found] == [("床前明月光，",), ("疑是地上霜。",), ("举头望明月，",), ("低头思故乡。",)]


def test_english_lines_go_by_two() -> None:
    found = scenes(verses(BALLAD, "en"), "", "en")
    assert [(each.picture.en, each.word) for each in found] == [("sailboat", "harbour"), ("cat", "cat"), ("door", "door")]


def test_a_line_that_shows_nothing_takes_a_word_of_the_brief() -> None:
    [only] = scenes([["but why, and how"]], "two dragons and a dragon", "en")
    assert (only.picture.en, only.word) == ("dragon", "dragon")
    [bare] = scenes([["but why, and how"]], "hm", "en")
    assert bare.word == ""


@pytest.mark.parametrize("count", [1, 4, 8, 9, 16, 17, 40, 100])
def test_a_poem_of_any_length_has_few_scenes_and_loses_no_line(count: int) -> None:
    lines = [[f"line {number}", "and more"] for number in range(count)]
    groups = grouped(lines)
    assert len(groups) <= MOST_SCENES
    assert [line for group in groups for line in group] == [line for pair in lines for line in pair]


def test_moods_are_called_up_by_words() -> None:
    assert mood_of("中秋月夜", "").name == "night"
    assert mood_of("a rainy harbour at night", "").name == "rain"
    assert mood_of("春", "花落春归柳絮飞").name == "spring"
    assert mood_of("xyz", "").name == "calm"


def test_every_mood_is_playable_and_drawable() -> None:
    from miaobi.data.instruments import INSTRUMENTS
    from miaobi.data.scores import MODES

    assert len({mood.name for mood in moods()}) == len(moods()) >= 10
    for mood in moods():
        for language in ("zh", "en"):
            music = mood.music[language]
            assert music["mode"] in MODES
            assert 40 <= music["tempo"] <= 160
            assert set(music["instruments"]) <= INSTRUMENTS.keys()
        assert all(len(colour) == 7 and colour[0] == "#" for colour in (*mood.sky, mood.ink))


def test_the_ground_of_an_opaque_sticker_goes_but_not_its_inside() -> None:
    pixels = np.full((40, 40, 4), 255, np.uint8)
    pixels[10:30, 10:30] = (200, 0, 0, 255)
    pixels[18:22, 18:22] = 255  # white inside the red
    cut = cut_out(pixels)
    assert cut[0, 0, 3] == 0
    assert cut[12, 12, 3] == 255
    assert cut[20, 20, 3] == 255
    assert np.array_equal(cut_out(cut), cut)


def test_the_same_scene_has_the_same_pixels() -> None:
    mood = moods()[0]
    first, again, other = (scene(seal("明月", side=64), mood, (180, 320), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (320, 180, 4)


@pytest.mark.parametrize("num_lines", [2, 4, 8, 16, 30])
@pytest.mark.parametrize("voice", [0.0, 1.0, 3.0, 4.2])
def test_a_film_lasts_fifteen_to_forty_seconds(num_lines: int, voice: float) -> None:
    """Words that are read take their time; only they may make a film longer."""
    text = "\n".join(["千山鸟飞绝，" if number % 2 == 0 else "万径人踪灭。" for number in range(num_lines)])
    poem = Poem(title="江雪", text=text, language="zh", mood=moods()[0], scenes=tuple(scenes(verses(text, "zh"), "", "zh")))
    voices = dict.fromkeys(range(len(poem.scenes) + 1), voice) if voice else {}
    lengths = durations(poem, voices)
    assert total(lengths) >= SHORTEST
    assert total(lengths) <= max(LONGEST, sum(voices.values()) + 1.2 * len(voices)) + 0.1
    assert all(seconds >= voices.get(number, 0) + 0.45 for number, seconds in enumerate(lengths))


def test_titles() -> None:
    assert title_of("a rainy harbour at night") == "A Rainy Harbour at Night"
    assert title_of(" 中秋 月夜\n") == "中秋 月夜"
    assert len(title_of("word " * 50)) <= 60
