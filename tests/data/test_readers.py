"""Every format becomes records; what cannot be read is an error or a counted loss, never a traceback or a silence."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.core.recipe import Source
from miaobi.core.types import Record
from miaobi.data import readers
from miaobi.data.readers import read
from miaobi.data.readers.formats import Piece
from miaobi.data.records import Dropped

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"


def texts(path: Path | str, **source: Any) -> list[str]:
    return [record.text for record in read(Source(path=str(path), **source))]


def test_jsonl_keeps_meta_and_numbers_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "一", "title": "甲", "n": 3}\n\n"二"\n', encoding="utf-8")
    first, second = read(Source(path=str(tmp_path / "a.jsonl"), meta={"era": "唐"}, licence="MIT"))
    assert (first.id, first.text) == ("a.jsonl#1", "一")
    assert first.meta == {"source": str(tmp_path / "a.jsonl"), "licence": "MIT", "era": "唐", "title": "甲", "n": 3}
    assert (second.id, second.text) == ("a.jsonl#3", "二")


def test_fields_choose_text_and_meta(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps([{"id": "x1", "paragraphs": ["甲。", "乙。"], "title": "题", "other": 1}]), encoding="utf-8"
    )
    [record] = read(Source(path=str(tmp_path / "a.json"), fields={"text": "paragraphs", "name": "title"}))
    assert (record.id, record.text) == ("x1", "甲。\n乙。")
    assert record.meta["name"] == "题"
    assert "other" not in record.meta


@pytest.mark.parametrize(
    ("content", "expected"),
    [('[{"text": "a"}, "b"]', ["a", "b"]), ('{"data": [{"text": "a"}], "n": 1}', ["a"]), ('{"text": "a", "rows": []}', ["a"])],
)
def test_json_shapes(tmp_path: Path, content: str, expected: list[str]) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert texts(tmp_path / "a.json") == expected


def test_csv_and_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('title,text\n甲,"一行\n二行, 三"\n乙,丙\n', encoding="utf-8-sig")
    (tmp_path / "b.csv").write_text("title;text\n甲;一,二\n", encoding="utf-8")
    (tmp_path / "c.tsv").write_text("text\ttitle\n一, 二\t甲\n", encoding="utf-8")
    assert texts(tmp_path / "a.csv") == ["一行\n二行, 三", "丙"]
    assert texts(tmp_path / "b.csv") == ["一,二"]
    [record] = read(Source(path=str(tmp_path / "c.tsv")))
    assert (record.text, record.meta["title"]) == ("一, 二", "甲")


def test_csv_rows_of_the_wrong_width_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\n一,1\n二\n三,3,4\n四,4\n", encoding="utf-8")
    lost: list[Dropped] = []
    kept = [record.text for record in read(Source(path=str(tmp_path / "a.csv")), on_dropped=lost.append)]
    assert kept == ["一", "四"]
    assert [row.reason for row in lost] == ["too_few_fields", "too_many_fields"]


def test_txt_by_paragraph_line_and_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("一\n二\r\n\r\n  \r\n三".encode())
    assert texts(tmp_path / "a.txt") == ["一\n二", "三"]
    assert texts(tmp_path / "a.txt", fields={"text": "line"}) == ["一", "二", "三"]
    assert texts(tmp_path / "a.txt", fields={"text": "file"}) == ["一\n二\n\n  \n三"]
    with pytest.raises(UsageError, match="paragraph, line and file"):
        texts(tmp_path / "a.txt", fields={"text": "lines"})


def test_markdown_front_matter_and_title(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nauthor: 李白\n---\n# 静夜思\n\n床前明月光", encoding="utf-8")
    [record] = read(Source(path=str(tmp_path / "a.md")))
    assert record.text == "# 静夜思\n\n床前明月光"
    assert (record.meta["author"], record.meta["title"]) == ("李白", "静夜思")


def test_html_text_without_menus_and_scripts(tmp_path: Path) -> None:
    page = (
        "<html><head><title>静夜思 &amp; 诗</title><style>p{}</style></head><body><nav>首页</nav><script>var a='<p>x</p>'</script>"
        "<h1>静夜思</h1><p>床前<b>明月</b>光<br>疑是地上霜</p><footer>版权</footer></body></html>"
    )
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    [record] = read(Source(path=str(tmp_path / "a.html")))
    assert record.text == "静夜思\n床前明月光\n疑是地上霜"
    assert record.meta["title"] == "静夜思 & 诗"


def test_html_declared_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(f"<meta charset=gb2312><p>{POEM}</p>".encode("gb18030"))
    assert "明月" in texts(tmp_path / "a.html")[0]


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": ["一", "二", "三"], "n": [1, 2, 3]}), tmp_path / "a.parquet", row_group_size=2)
    assert texts(tmp_path / "a.parquet") == ["一", "二", "三"]
    pieces, _ = readers.cut(Piece(source=0, name="a.parquet", file=tmp_path / "a.parquet"))
    assert [(piece.start, piece.stop, piece.row) for piece in pieces] == [(0, 1, 1), (1, 2, 3)]
    ids = [row.id for piece in pieces for row in readers.records(piece, Source(path="a.parquet"))]
    assert ids == ["a.parquet#1", "a.parquet#2", "a.parquet#3"]


def test_gz_and_zst(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    line = '{"text": "一"}\n'.encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(line) + zstandard.compress(line))  # two frames are one file
    assert texts(tmp_path / "a.jsonl.gz") == ["一"]
    assert texts(tmp_path / "b.jsonl.zst") == ["一", "一"]


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(MissingExtra, match=r"zstandard.*miaobi\[data\]"):
        texts(tmp_path / "a.jsonl.zst")


def test_folder_glob_and_archive(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("乙", encoding="utf-8")
    (folder / "a.txt").write_text("甲", encoding="utf-8")
    (folder / "sub" / "c.jsonl").write_text('{"text": "丙"}', encoding="utf-8")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / ".hidden.txt").write_text("隐", encoding="utf-8")
    assert texts(folder) == ["甲", "乙", "丙"]
    assert texts(folder, files="sub/*") == ["丙"]
    assert texts(folder / "*.txt") == ["甲", "乙"]
    assert readers.locate(Source(path=str(folder))).skipped == ["photo.jpg"]
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as packed:
        packed.write(folder / "a.txt", "inner/a.txt")
    assert texts(tmp_path / "corpus.zip") == ["甲"]


def test_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../../evil.txt", "x")
    with pytest.raises(DataError, match="refused"):
        texts(tmp_path / "evil.zip")
    assert not (tmp_path / "evil.txt").exists()


def test_cut_gives_the_same_records_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PIECE_BYTES", 300)
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": f"第{number}行" * (number % 7 + 1)}, ensure_ascii=False) for number in range(100)), encoding="utf-8"
    )
    pieces, _ = readers.cut(Piece(source=0, name="a.jsonl", file=path))
    assert len(pieces) > 10
    source = Source(path=str(path))
    assert [row for piece in pieces for row in readers.records(piece, source)] == list(
        readers.records(Piece(source=0, name="a.jsonl", file=path), source)
    )


# Bad input


def test_missing_file_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "poems.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"nothing at .*poem\.jsonl\. Did you mean 'poems\.jsonl'"):
        texts(tmp_path / "poem.jsonl")


def test_unknown_format_lists_the_known(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match=r"unknown format '\.docx'\. Known: .*\.jsonl"):
        texts(tmp_path / "a.docx")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.json.gz"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    with pytest.raises(DataError, match=r"holds no record|is not JSON"):
        texts(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.md", "a.html", "a.json"])
def test_binary_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    with pytest.raises(DataError, match=r"is not a text file \(PNG\)"):
        texts(tmp_path / name)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_truncated_compressed_file(tmp_path: Path, suffix: str) -> None:
    data = "".join(f'{{"text": "{os.urandom(20).hex()}"}}\n' for _ in range(20000)).encode()
    packed = gzip.compress(data) if suffix == "gz" else pytest.importorskip("zstandard").compress(data)
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        texts(path)


def test_truncated_json_and_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "一"}, {"te', encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        texts(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text('{"text": "一"}\n{"te', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl#2 cannot be used: not_json"):
        texts(tmp_path / "a.jsonl")


def test_truncated_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(DataError, match="not a readable parquet"):
        texts(tmp_path / "a.parquet")


def test_deep_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match="is not JSON"):
        texts(tmp_path / "a.json")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no user ids here")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("一", encoding="utf-8")
    (tmp_path / "a.txt").chmod(0)
    was = os.geteuid()
    if was == 0:
        for folder in (tmp_path, *tmp_path.parents):  # root may read everything, so for a while we are nobody, who must get here
            folder.chmod(folder.stat().st_mode | 0o111)
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match="no permission to read"):
            texts(tmp_path / "a.txt")
    finally:
        os.seteuid(was)


def test_line_of_ten_megabytes(tmp_path: Path) -> None:
    long = "长" * (10 << 20)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": long}, ensure_ascii=False) + '\n{"text": "短"}\n', encoding="utf-8")
    assert [len(text) for text in texts(tmp_path / "a.jsonl")] == [10 << 20, 1]


def test_endless_line_is_skipped_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miaobi.data.readers.encoding.LINE_BYTES", 1000)
    (tmp_path / "a.jsonl").write_text('{"text": "' + "x" * 5000 + '"}\n{"text": "短"}\n', encoding="utf-8")
    lost: list[Dropped] = []
    assert [record.text for record in read(Source(path=str(tmp_path / "a.jsonl")), on_dropped=lost.append)] == ["短"]
    assert [(row.reason, row.id) for row in lost] == [("line_too_long", "a.jsonl#1")]


def test_no_text_field_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"texts": "一", "n": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="no text in 'text'; did you mean 'texts'"):
        texts(tmp_path / "a.jsonl")


def test_damaged_file_in_a_folder_is_counted_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('["一"]', encoding="utf-8")
    (tmp_path / "bad.json").write_text("[", encoding="utf-8")
    piece = Piece(source=0, name="bad.json", file=tmp_path / "bad.json")
    [lost] = list(readers.records(piece, Source(path=str(tmp_path)), explicit=False))
    assert isinstance(lost, Dropped)
    assert (lost.reason, lost.id) == ("unreadable_file", "bad.json")
    [kept] = list(
        readers.records(Piece(source=0, name="good.json", file=tmp_path / "good.json"), Source(path=str(tmp_path)), explicit=False)
    )
    assert isinstance(kept, Record)
