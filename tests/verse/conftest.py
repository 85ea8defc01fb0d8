from __future__ import annotations

import pytest

from miaobi.models.verse import prosody

MARKS = ["，", "。", "！", "？", "、"]


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    """A vocabulary as a poet has one: special tokens, the line break, marks, and the characters of GB 2312 that the 平水韵 knows."""
    book = prosody.book("pingshui")
    characters = []
    for row in range(0xB0, 0xF8):
        for column in range(0xA1, 0xFF):
            try:
                character = bytes([row, column]).decode("gb2312")
            except UnicodeDecodeError:
                continue
            if book.sound(character):
                characters.append(character)
    return ["<空>", "<终>", "\n", *MARKS, *characters]


@pytest.fixture(scope="session")
def end() -> int:
    return 1
