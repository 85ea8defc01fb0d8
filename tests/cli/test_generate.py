"""`miaobi generate`: what it prints, where it writes, how options are read off the model's schema."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from miaobi.cli.main import main
from miaobi.cli.options import options_of
from miaobi.core.families import family
from miaobi.core.language import CATALOGUES
from miaobi.trust import label


def out_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints; it must succeed."""
    assert main(words) == 0
    return capsys.readouterr().out


def test_stdout_ends_with_the_visible_words(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = out_of(capsys, "generate", "polly", "题目", "--seed", "1", "--lines", "1", "--n", "2")
    first, second, words = shown.rstrip("\n").split("\n\n")
    assert first.startswith("题目\n")
    assert second.startswith("题目\n")
    assert words == "本内容由人工智能生成"


def test_the_same_seed_gives_the_same_and_none_gives_another(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "polly", "--lines", "30")
    assert out_of(capsys, *words, "--seed", "1") == out_of(capsys, *words, "--seed", "1")
    assert out_of(capsys, *words) != out_of(capsys, *words)


def test_options_come_from_the_schema(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = out_of(capsys, "generate", "polly", "--help")
    for piece in (
        "--lines N",
        "How many lines, 100 % remembered. Default: 2.",
        "--loud, --no-loud",
        "One of: bang, none.",
        "options of polly",
    ):
        assert piece in " ".join(shown.split())
    text = out_of(capsys, "generate", "polly", "abc", "--loud", "--ending", "bang", "--lines", "1", "--seed", "1")
    assert text.startswith("ABC\n")
    assert text.split("\n\n")[0].endswith("!")


def test_words_and_options_may_be_mixed(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = out_of(capsys, "generate", "polly", "题目", "--lines", "3", "--seed", "1")
    assert out_of(capsys, "generate", "--lines", "3", "polly", "--seed", "1", "题目") == expected
    assert out_of(capsys, "generate", "polly", "--lines", "3", "题目", "--seed", "1") == expected


def test_json_carries_text_label_and_the_implicit_label(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (content,) = json.loads(out_of(capsys, "generate", "polly", "--seed", "5", "--json"))["contents"]
    assert content["label"]["seed"] == 5
    assert content["aigc"]["Label"] == "1"
    assert content["text"]


def test_one_file_several_files_and_a_folder(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_of(capsys, "generate", "polly", "--out", "one.md")
    assert label.read(Path("one.md")).model == "polly"
    out_of(capsys, "generate", "polly", "--out", "many.txt", "--n", "3")
    assert sorted(path.name for path in Path().glob("many*.txt")) == ["many-1.txt", "many-2.txt", "many-3.txt"]
    assert [label.read(Path(f"many-{number}.txt")).index for number in (1, 2, 3)] == [0, 1, 2]
    out_of(capsys, "generate", "polly", "--out", "folder/", "--n", "2")
    assert sorted(path.name for path in Path("folder").iterdir()) == ["1.md", "2.md"]


def test_the_prompt_may_come_from_stdin(polly: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("题目\n"))
    assert out_of(capsys, "generate", "polly", "-", "--seed", "1").startswith("题目\n")


def test_a_prompt_that_is_not_text_is_refused(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "polly", os.fsdecode(b"\xff\xfe")]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_nothing_is_written_where_writing_is_impossible(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("occupied").write_text("a file", encoding="utf-8")
    assert main(["generate", "polly", "--out", "occupied/poem.md"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert Path("occupied").read_text(encoding="utf-8") == "a file"


def test_a_terminal_sees_the_text_as_it_is_written_and_only_once(polly: Path) -> None:
    command = [sys.executable, "-m", "miaobi.cli.main", "generate", "polly", "题目", "--n", "2", "--seed", "1", "--lines", "1"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    main_side, terminal = pty.openpty()
    live = subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    seen = b""
    try:
        while block := os.read(main_side, 4096):
            seen += block
    except OSError:  # Linux says EIO when the other side is gone
        pass
    assert live.wait(timeout=30) == 0
    assert seen.decode().replace("\r\n", "\n") == plain.stdout
    os.close(main_side)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (CATALOGUES.parents[2] / "models").glob("*/family.py")))
def test_every_option_of_the_families_is_explained_in_both_languages(name: str) -> None:
    catalogue = {key for path in CATALOGUES.glob("*.json") for key in json.loads(path.read_text(encoding="utf-8"))}
    kind = family(name)
    assert kind.summary in catalogue
    for option in options_of(kind.schemas()[1]):
        assert option.text, f"{name}: --{option.name} has no documentation"
        assert option.text in catalogue, f"{name}: --{option.name} has no Chinese in core/messages/zh/options.json: {option.text}"
