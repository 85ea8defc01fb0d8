"""Texts as people have them: headings found, lines at a margin joined, signs of Markdown taken away, sentences kept whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from miaobi.apps.narrate import text
from miaobi.apps.narrate.passages import MOST, first_in, main_language, passages
from miaobi.apps.narrate.text import Block, blocks
from miaobi.core.errors import DataError, UsageError
from miaobi.data.subtitles import width_of

MARKDOWN = """---
title: not read
---
# The *first* [chapter](https://example.org)

One **bold** word, `code` and <b>HTML</b>.

```python
not_read()
```

- [x] a point
- another

| name | age |
|---|---|
| Ann | 7 |

Second
------

> quoted![a moon](moon.png)

***
"""
WRAPPED = """CHAPTER I.
Down the Rabbit-Hole

Alice was beginning to get very tired of sitting by her sister on the
bank, and of having nothing to do: once or twice she had peeped into the
book her sister was reading, but it had no pictures or conver-
sations in it.

   How doth the little crocodile
     Improve his shining tail,

"""
NOVEL = "\n".join(
    ["第一回 甄士隐梦幻识通灵", *(f"　　此开卷第{each}段也，说了许多话。" for each in range(6)), "第二回　贾夫人", *["　　却说封肃。"] * 6]
)


def test_markdown_is_read_without_its_signs() -> None:
    found = list(blocks(MARKDOWN, markdown=True))
    assert [block.text for block in found if block.heading] == ["The first chapter", "Second"]
    assert [block.text for block in found if not block.heading] == [
        "One bold word, code and HTML.",
        "a point",
        "another",
        "name, age",
        "Ann, 7",
        "quoteda moon",
    ]


def test_lines_that_a_margin_cut_are_one_paragraph_and_those_of_a_poem_are_not() -> None:
    heading, paragraph, *verse = blocks(WRAPPED)
    assert heading == Block("CHAPTER I. Down the Rabbit-Hole", heading=True)
    assert paragraph.text.startswith("Alice was beginning to get very tired of sitting by her sister on the bank, and")
    assert paragraph.text.endswith("no pictures or conversations in it.")
    assert [(line.text, line.ends) for line in verse] == [("How doth the little crocodile", False), ("Improve his shining tail,", True)]


def test_chinese_lines_are_paragraphs_and_wrapped_ones_are_joined_without_spaces() -> None:
    found = list(blocks(NOVEL))
    assert [block.text for block in found if block.heading] == ["第一回 甄士隐梦幻识通灵", "第二回　贾夫人"]
    assert all(block.ends for block in found)
    assert len(found) == 14
    cut = "他慢慢地走到了河边看着远处的灯火一盏一盏地亮了起来心\n里想着很多年以前的那个夜晚也是这样的月亮也是这样的风\n可是人已经不在了。"
    assert [block.text for block in blocks(cut)] == [cut.replace("\n", "")]


@pytest.mark.parametrize(
    "line",
    [
        "第一章",
        "第十二回：风雪山神庙",
        "卷三 本纪",
        "楔子",
        "Chapter 3",
        "CHAPTER XIV. The End",
        "Part One",
        "Epilogue",
        "ACT II: Elsinore",
    ],
)
def test_numbered_lines_are_headings(line: str) -> None:
    assert [block.heading for block in blocks(f"{line}\n\nText.")] == [True, False]


@pytest.mark.parametrize(
    "line", ["第一章讲的是什么，他已经忘了。", "Part of the answer", "第二天他来了", "#1 of them", "Actually, no.", "序幕拉开了。"]
)
def test_other_lines_are_not(line: str) -> None:
    assert not any(block.heading for block in blocks(f"{line}\n\nText."))


def test_a_table_of_contents_is_no_row_of_chapters() -> None:
    contents = "CHAPTER I. Down\nCHAPTER II. Pool\nCHAPTER III. Race\n\nCHAPTER I.\n\nAlice."
    assert [block.text for block in blocks(contents) if block.heading] == ["CHAPTER I."]


def test_passages_hold_whole_sentences_and_lose_nothing() -> None:
    words = " ".join(f"This is sentence number {number}, by Dr. Who." for number in range(30))
    given = [Block("One", heading=True), Block(words), Block("a" * 1000), Block("床前明月光，" * 60 + "疑是地上霜。")]
    found = list(passages(given))
    assert [(each.text, each.behind) for each in found if each.heading] == [("One", "rest")]
    assert all(width_of(each.text) <= 2 * MOST for each in found)
    inside = [each for each in found if each.text.startswith("This")]
    assert all(each.text.endswith("Who.") for each in inside)
    assert {each.behind for each in inside[:-1]} == {"breath"}
    assert inside[-1].behind == "pause"
    assert "".join(each.text for each in found).replace(" ", "") == "".join(block.text for block in given).replace(" ", "")


def test_there_is_a_rest_before_a_heading_too() -> None:
    found = list(passages(blocks("End.\n\n# New\n\nMore.")))
    assert [each.behind for each in found] == ["rest", "rest", "pause"]


def test_the_main_language_is_that_of_most_of_the_time() -> None:
    english = list(passages([Block("He said 你好 and went away, and nobody ever saw him again in that town.")]))
    assert main_language(english) == "en"
    chinese = list(passages([Block("OpenAI"), Block("今天发布了新的模型。")]))
    assert main_language(chinese) == "zh"
    assert first_in(chinese, "zh") is chinese[1]


def test_files_of_other_kinds_are_refused_and_old_encodings_read(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("第一章\r\n\r\n春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。".encode("gb18030"))
    assert [block.text for block in text.read(tmp_path / "old.txt")] == ["第一章", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"]
    (tmp_path / "page.html").write_text("<head><title>t</title></head><body><p>One <b>two</b>.</p><script>x()</script></body>")
    assert [block.text for block in text.read(tmp_path / "page.html")] == ["One two."]
    for name, data in {"a.pdf": b"%PDF-1.4\n" + bytes(range(256)), "empty.txt": b"", "signs.txt": b"... --- !!!"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises((DataError, UsageError), match=name):
            text.read(tmp_path / name)
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        text.read(tmp_path / "nowhere.txt")
