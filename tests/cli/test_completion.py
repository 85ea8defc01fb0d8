"""Completion: candidates come from the verb table, the parsers, the models and their options; the scripts work in their shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from miaobi.cli.completion import SCRIPTS, candidates
from miaobi.cli.main import VERBS


def test_candidates(polly: Path) -> None:
    Path("recipes").mkdir()
    Path("recipes/poet.yaml").write_text("version: 1\n", encoding="utf-8")
    assert candidates(["ex"]) == ["export"]
    assert set(VERBS) < set(candidates([""]))
    assert candidates(["generate", "pol"]) == ["polly"]
    assert candidates(["generate", "polly", "--en"]) == ["--ending"]
    assert candidates(["generate", "polly", "--ending", ""]) == ["bang", "none"]
    assert candidates(["generate", "polly", "--ending", "b"]) == ["bang"]
    assert candidates(["generate", "nobody", "--se"]) == ["--seed"]
    assert candidates(["generate", "polly", "--lang", "z"]) == ["zh"]
    assert candidates(["generate", "polly", "--json", ""]) == []  # the shell offers files
    assert candidates(["train", "rec"]) == ["recipes/poet.yaml"]
    assert candidates(["nonsense", ""]) == []


@pytest.fixture
def path_with_miaobi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `miaobi` command of this very source in front of all others."""
    command = tmp_path / "bin" / "miaobi"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m miaobi.cli.main "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")


def ask_shell(shell: str, script: str) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    result = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.split()


def test_bash(polly: Path, path_with_miaobi: None) -> None:
    words = "COMP_WORDS=(miaobi generate polly --ending b); COMP_CWORD=4"
    assert ask_shell("bash", f'{SCRIPTS["bash"]}\n{words}\n_miaobi\nprintf "%s\\n" "${{COMPREPLY[@]}}"') == ["bang"]


def test_zsh(polly: Path, path_with_miaobi: None) -> None:
    stubs = "compdef() { :; }; compadd() { shift; print -l -- ${(P)1}; }; _files() { :; }"
    words = "words=(miaobi generate polly --ending b); CURRENT=5"
    assert ask_shell("zsh", f"{stubs}\n{SCRIPTS['zsh']}\n{words}\n_miaobi") == ["bang"]


def test_fish(polly: Path, path_with_miaobi: None) -> None:
    assert ask_shell("fish", f"{SCRIPTS['fish']}\ncomplete -C 'miaobi generate polly --ending b'") == ["bang"]
