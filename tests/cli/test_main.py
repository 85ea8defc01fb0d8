"""The entry point: verbs, exit codes, languages, interruptions, and that it starts light."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from miaobi.cli import main as entry
from miaobi.cli.main import VERBS, main
from miaobi.cli.parser import width, wrap


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`miaobi WORDS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "miaobi", *words], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )


@pytest.mark.parametrize("words", ["['--help']", "['models']", "['--lang', 'zh', '--help']", "['completion', 'words', '--', 'gen']"])
def test_the_light_verbs_import_nothing_heavy(words: str, workplace: Path) -> None:
    code = (
        "import sys\nfrom miaobi.cli.main import main\n"
        f"main({words})\n"
        "print(*(name for name in ('torch', 'numpy', 'pydantic', 'tqdm', 'yaml', 'onnxruntime') if name in sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == ""


def test_help_names_every_verb_and_the_exit_codes(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in VERBS)
    assert "130 interrupted" in shown
    assert main([]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_verb_has_help_in_both_languages(verb: str, language: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help", "--lang", language]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"用法：miaobi {verb}" if language == "zh" else f"usage: miaobi {verb}")
    assert "--json" in shown
    english = [line for line in shown.splitlines() if language == "zh" and "the " in line]
    assert english == []


def test_version(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import miaobi

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"miaobi {miaobi.__version__}"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["generat"], 2, "unknown verb 'generat'. Did you mean 'generate'?"),
        (["--lung", "zh"], 2, "unknown option '--lung'. Did you mean '--lang'?"),
        (["generate"], 2, "the following arguments are required: MODEL"),
        (["generate", "polly", "--line", "2"], 2, "unknown option '--line'. Did you mean '--lines'?"),
        (["generate", "polly", "--ending", "bank"], 2, "unknown ending 'bank'. Did you mean 'bang'?"),
        (["generate", "polly", "--lines", "0"], 2, "'lines' is 0: it should be at least 1"),
        (["generate", "polly", "--seed", "-1"], 2, "'-1' is not a whole number from 0"),
        (["generate", "polly", "a", "b"], 2, "one word too many: 'b'"),
        (["generate", "polly", "--out", "poem.pdf"], 2, "unknown file ending '.pdf'"),
        (["generate", "./nowhere"], 4, "there is no model folder"),
        (["generate", "polly", "--device", "cdua"], 2, "unknown device 'cdua'. Did you mean 'cuda'?"),
        (["generate", "polly", "--device", "cuda:99"], 2, "this machine has no device cuda:99"),
        (["prepare", "nowhere.yaml"], 2, "there is no recipe at nowhere.yaml"),
        (["show", "nothing"], 2, "unknown model 'nothing'"),
        (["verify", "poem.md"], 2, "there is no file at poem.md"),
        (["verify", "poems/01.md"], 2, "there is no file at poems/01.md"),
        (["export", "poet"], 2, "poet ships with miaobi and stays as it is"),
        (["train", "r.yaml"], 2, "names no source"),
        (["train", "r.yaml", "--set", "train.step=3"], 2, "unknown key 'train.step'. Did you mean 'steps'?"),
        (["train", "r.yaml", "--set", "nonsense"], 2, "--set takes key.path=value"),
        (["train", "r.yaml", "--preset", "gpu"], 2, "unknown preset 'gpu'"),
        (["evaluate", "r.yaml"], 4, "has no finished model"),
        (["completion", "tcsh"], 2, "invalid choice: 'tcsh'"),
    ],
)
def test_bad_input_is_explained(words: list[str], code: int, message: str, polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text("version: 1\nname: r\nmodel: {family: parrot}\n", encoding="utf-8")
    assert main(words) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert main([*words, "--json"]) == code
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["exit_code"] == code
    assert message in error["message"]


def test_several_files_are_verified_at_once(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "polly", "one", "--seed", "1", "--out", "one.md"]) == 0
    assert main(["generate", "polly", "two", "--seed", "2", "--out", "two.md"]) == 0
    capsys.readouterr()
    assert main(["verify", "one.md", "two.md"]) == 0
    assert capsys.readouterr().out.strip().endswith("2 of 2 are good.")
    changed = Path("two.md").read_text(encoding="utf-8").replace("two", "2", 1)
    Path("two.md").write_text(changed + "more\n", encoding="utf-8")
    assert main(["verify", "one.md", "two.md", "lost.md", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(thing["thing"], thing["good"]) for thing in found["things"]] == [("one.md", True), ("two.md", False), ("lost.md", False)]


def test_debug_shows_the_traceback(polly: Path) -> None:
    result = run("generate", "nobody", MIAOBI_DEBUG="1")
    assert "Traceback" in result.stderr


def test_an_unexpected_error_leaves_a_log(polly: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(arguments: object, output: object) -> int:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(entry.module("models"), "run", broken)
    assert main(["models"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    (log,) = (Path(os.environ["MIAOBI_HOME"]) / "log").glob("*.log")
    assert str(log) in message
    text = log.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "a bug of ours" in text
    assert "miaobi models" in text


def test_ctrl_c_says_how_to_go_on(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(arguments: object, output: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry.module("train"), "run", interrupted)
    monkeypatch.setattr(entry.module("generate"), "run", interrupted)
    assert main(["train", "r.yaml", "--set", "name=a b"]) == 130
    assert "Go on with: miaobi train r.yaml --set 'name=a b' --resume" in capsys.readouterr().err
    assert main(["generate", "--seed", "1", "x"]) == 130
    assert "Nothing half-written" in capsys.readouterr().err


def wait_until_it_reads(pid: int) -> None:
    """Until the process has slept for half a second, as it does at its input; on a busy machine a fixed wait is too short."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.is_file():
        time.sleep(3.0)
        return
    asleep = 0
    for _ in range(600):
        asleep = asleep + 1 if stat.read_text().rpartition(")")[2].split()[0] == "S" else 0
        if asleep == 10:
            return
        time.sleep(0.05)


def test_a_real_ctrl_c_ends_quietly(polly: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "miaobi", "generate", "polly", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell starts background jobs with it ignored
    )
    wait_until_it_reads(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_closed_pipe_is_silent(polly: Path) -> None:
    command = f"{sys.executable} -m miaobi generate polly --seed 1 | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.stdout == "141\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"LANG": "zh_CN.UTF-8"}, "用法"), ({"LANG": "de_DE.UTF-8"}, "usage"), ({"LANG": "C", "MIAOBI_LANG": "zh"}, "用法")],
)
def test_the_language_follows_the_locale(environment: dict[str, str], expected: str, workplace: Path) -> None:
    quiet = {"LC_ALL": "", "LC_MESSAGES": "", "MIAOBI_LANG": ""}
    assert run("--help", **{**quiet, **environment}).stdout.startswith(expected)


def test_a_terminal_without_chinese_letters_gets_codes_instead_of_an_error(polly: Path) -> None:
    result = run("generate", "polly", "--seed", "1", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "\\u" in result.stdout


def test_lines_wrap_by_columns() -> None:
    lines = wrap("从头做起，不接着做了一半的 dataset 数据集", 10)
    assert all(width(line) <= 10 for line in lines)
    assert "".join(lines).replace(" ", "") == "从头做起，不接着做了一半的dataset数据集"
    assert not any(line.startswith("，") for line in lines)
    assert wrap("", 10) == [""]
