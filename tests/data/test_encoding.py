"""Encodings are told from bytes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from miaobi.core.errors import DataError, UsageError
from miaobi.core.recipe import Source
from miaobi.data.readers import read
from miaobi.data.readers.encoding import encoding_of
from miaobi.data.records import Dropped

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n"
TRADITIONAL = "國破山河在，城春草木深。感時花濺淚，恨別鳥驚心。烽火連三月，家書抵萬金。白頭搔更短，渾欲不勝簪。\n" * 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk"])
def test_chinese_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((POEM * 20).encode(encoding))
    [record] = read(Source(path=str(path)))
    assert record.text == (POEM * 20).strip()


@pytest.mark.parametrize("encoding", ["big5", "shift_jis"])
def test_other_east_asian_encodings(tmp_path: Path, encoding: str) -> None:
    text = (
        TRADITIONAL
        if encoding == "big5"
        else "春はあけぼの。やうやう白くなりゆく山ぎは、すこしあかりて、紫だちたる雲のほそくたなびきたる。\n" * 4
    )
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    [record] = read(Source(path=str(tmp_path / "a.txt")))
    assert record.text == text.strip()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_zeros_on_either_side_are_still_chinese(tmp_path: Path, encoding: str) -> None:
    """一 is U+4E00; a line break U+000A."""
    path = tmp_path / "a.txt"
    for text in ("欲穷千里目，更上一层楼。\n", "更上一层楼", "一片冰心\n在玉壶\n"):
        path.write_bytes(text.encode(encoding))
        assert encoding_of(path) == encoding
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(DataError, match="not a text file"):
        encoding_of(path)


def test_late_chinese_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain ASCII text\n" * 40_000 + POEM.encode("gb18030"))
    assert encoding_of(path) == "gb18030"


def test_named_encoding_wins_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é".encode("latin-1"))
    [record] = read(Source(path=str(tmp_path / "a.txt"), encoding="latin-1"))
    assert record.text == "é"
    with pytest.raises(UsageError, match="no encoding 'gb18031'"):
        list(read(Source(path=str(tmp_path / "a.txt"), encoding="gb18031")))


def test_mis_encoded_lines_are_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    good = "".join(f'{{"text": "第{number}句明月"}}\n' for number in range(200)).encode()
    (tmp_path / "a.jsonl").write_bytes(good + b'{"text": "\xff\xfe\xb0"}\n')
    lost: list[Dropped] = []
    assert len(list(read(Source(path=str(tmp_path / "a.jsonl")), on_dropped=lost.append))) == 200
    assert [(row.reason, row.id) for row in lost] == [("mis_encoded", "a.jsonl#201")]


def test_mis_encoded_whole_file_names_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes((POEM * 50).encode() + b"\xff")
    with pytest.raises(DataError, match=f"byte {len((POEM * 50).encode())} does not decode"):
        list(read(Source(path=str(tmp_path / "a.md"))))


def test_noise_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(range(1, 256)) * 50)
    with pytest.raises(DataError, match=r"not a text file|cannot be told"):
        list(read(Source(path=str(tmp_path / "a.txt"))))
