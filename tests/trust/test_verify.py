"""A verdict tells a whole file from a changed one, and an unlabelled file from another producer's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from miaobi.core.types import Content
from miaobi.trust import label
from miaobi.trust.formats import FORMATS
from miaobi.trust.verify import verify

MakeContent = Callable[[str], Content]
POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_written_file_is_good_and_a_changed_one_is_not(tmp_path: Path, content: MakeContent, suffix: str) -> None:
    path = tmp_path / f"poem{suffix}"
    label.write(content(POEM), path)
    verdict = verify(path)
    assert verdict.good
    assert verdict.replayable
    assert verdict.label is not None
    assert (verdict.label.model, verdict.label.seed) == ("echo", 7)
    source = path.read_text(encoding="utf-8")
    before, mark, after = source.rpartition("举头")
    path.write_text(f"{before}抬头{after}" if mark else source, encoding="utf-8")
    changed = verify(path)
    assert changed.labelled
    assert changed.intact is False
    assert "CHANGED" in str(changed)


def test_a_changed_prompt_or_seed_shows(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.md"
    label.write(content(POEM), path)
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 7', '"seed": 8'), encoding="utf-8")
    verdict = verify(path)
    assert verdict.intact
    assert not verdict.replayable


def test_an_unlabelled_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_text("---\ntitle: mine\n---\nI wrote this.\n", encoding="utf-8")
    verdict = verify(path)
    assert (verdict.labelled, verdict.intact, verdict.good) == (False, None, False)
    assert "no label" in str(verdict)


def test_a_file_of_another_producer(tmp_path: Path) -> None:
    path = tmp_path / "theirs.md"
    front = "AIGC:\n  Label: '1'\n  ContentProducer: Other\n  ProduceID: x9\n  ReservedCode1: ''\n"
    path.write_text(f"---\n{front}  ContentPropagator: Other\n  PropagateID: x9\n  ReservedCode2: ''\n---\nText\n", encoding="utf-8")
    verdict = verify(path)
    assert (verdict.labelled, verdict.intact, verdict.label) == (True, None, None)
    assert "'Other'" in str(verdict)
    path.write_text(f"---\n{front}---\nText\n", encoding="utf-8")
    assert "ContentPropagator" in str(verify(path))


def test_a_damaged_label_is_not_intact(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.md"
    label.write(content(POEM), path)
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 7', '"seed": "?"'), encoding="utf-8")
    verdict = verify(path)
    assert verdict.intact is False
    assert "damaged" in str(verdict)


def test_what_is_missing_is_named(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.md"
    label.write(content(POEM), path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("\n\n本内容由人工智能生成\n", ""), encoding="utf-8")
    assert "words that tell a reader" in str(verify(path))
    path.write_text("\n".join(line for line in whole.split("\n") if not line.startswith("AIGC")), encoding="utf-8")
    assert "implicit label" in str(verify(path))
    path.write_bytes(whole.replace("\n", "\r\n").encode())
    assert "line breaks" in str(verify(path))
    path.write_text(whole, encoding="utf-8")
    label.write(content("another"), tmp_path / "other.md")
    other = (tmp_path / "other.md").read_text(encoding="utf-8").split("\n")[1]
    lines = whole.split("\n")
    path.write_text("\n".join([lines[0], other, *lines[2:]]), encoding="utf-8")
    assert "different contents" in str(verify(path))


def test_a_lost_sidecar_is_an_unlabelled_text(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.txt"
    label.write(content(POEM), path)
    label.sidecar(path).unlink()
    assert not verify(path).labelled


def test_hostile_files_are_judged_in_no_time(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "hostile.md"
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    label.write(content(POEM), path)
    miaobi = path.read_text(encoding="utf-8").split("\n")[2]
    for front in (
        f"{bomb}AIGC: {{Label: *a11}}",
        f"{bomb}AIGC: {{Label: '1'}}\nmiaobi:\n  schema: miaobi.label/1\n  options: *a11",
        "AIGC: " + "[" * 50_000,
        "miaobi: {" + '"a":{' * 50_000 + "}" * 50_000,
        "AIGC: {}\nmiaobi: 7",
        "miaobi: !!python/object/apply:os.system [true]",
        "seed: " + "9" * 5000,
        miaobi.replace('"n": 1', '"n": ' + '{"a":' * 900 + "1" + "}" * 900),
        miaobi.replace('"seed": 7', '"seed": ' + "9" * 4000),
    ):
        path.write_text(f"---\n{front}\n---\n\ntext", encoding="utf-8")
        assert not verify(path).good
        assert len(str(verify(path))) < 6000


def test_a_damaged_line_leaves_the_other_standing(tmp_path: Path, content: MakeContent) -> None:
    path = tmp_path / "poem.md"
    label.write(content(POEM), path)
    path.write_text(path.read_text(encoding="utf-8").replace('"miaobi.label/1",', '"miaobi.label/1'), encoding="utf-8")
    verdict = verify(path)
    assert (verdict.labelled, verdict.intact) == (True, None)
    assert "'miaobi'" in str(verdict)
