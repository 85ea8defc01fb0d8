"""`miaobi serve` in a process of its own, over the models that ship and one that daubs; and OpenAI's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "api" / "plugin"
MODELS = ("daub", "effects", "composer", "poet", "ears", "narrator", "animator", "painter")


@dataclass(frozen=True)
class Serving:
    """Where the server is, what opens it, and its home folder."""

    url: str
    key: str
    other: str
    home: Path


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with two keys."""
    home = tmp_path_factory.mktemp("home")
    names = {"MIAOBI_HOME": str(home), "MIAOBI_LANG": "en", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PLUGIN), "PYTHONUNBUFFERED": "1"}
    environment = {**os.environ, **names}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        patch.setenv("MIAOBI_HOME", str(home))
        _daub(home / "models" / "daub")
        from miaobi.serve.http.keys import Keys

        key, other = Keys().add("one")[1], Keys().add("two")[1]
    command = [sys.executable, "-m", "miaobi.cli.main", "serve", "--port", "0", "--json", "--threads", "1", "--log", "off"]
    for name in MODELS:
        command += ["--model", name]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the server ended before it was ready"
            told += line
        yield Serving(json.loads(told)["url"], key, other, home)
        process.terminate()
        assert process.wait(60) in (0, -15)


def _daub(folder: Path) -> None:
    from miaobi_dauber import Dauber

    from miaobi.core.artifact import new_folder, seal

    with new_folder(folder) as new:
        Dauber().save(new)
        seal(new, family="dauber", name="daub", licence="CC0-1.0")
