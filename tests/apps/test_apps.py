"""Apps are found, named and refused in words that help; they are light until they run, and strangers to each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import miaobi
from miaobi.core.apps import App, Desk, app, apps
from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Modality

SOURCE = Path(miaobi.__file__).parent
HEAVY = {"torch", "numpy", "pydantic", "onnxruntime", "PIL", "av", "soundfile", "yaml"}
PLUGIN = """
from miaobi.core.apps import App
from miaobi.core.schema import Schema
from miaobi.core.types import Modality


class Inputs(Schema):
    words: str = "hello"


def run(inputs, out, desk):
    out.write_text(inputs.words, encoding="utf-8")
    desk.news("written: {path}", path=out)
    return {"files": [str(out)]}


ECHO = App(name="echo", summary="writes words", outputs=frozenset({Modality.TEXT}), schema=lambda: Inputs, run="miaobi_echo:run")
"""


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_LANG", "en")


def test_every_app_is_known_by_its_name() -> None:
    known = apps()
    assert list(known) == sorted(known)
    for name, found in known.items():
        assert app(name) is found
        assert found.name == name
        assert found.summary
        assert found.outputs
        assert issubclass(found.schema(), Schema)
        module, _, function = found.run.partition(":")
        assert function.isidentifier()
        assert (SOURCE / Path(*module.split(".")[1:])).with_suffix(".py").is_file()


def test_an_unknown_app_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown app 'crate'\. .*Known: "):
        app("crate")


def test_a_missing_extra_is_named_with_the_command() -> None:
    lacking = App(
        name="lacking",
        summary="needs what is not there",
        outputs=frozenset({Modality.VIDEO}),
        schema=lambda: Schema,
        run="json:dumps",
        extra="create",
        packages=("no_such_package_anywhere",),
    )
    with pytest.raises(MissingExtra, match=r"app 'lacking' needs the package no_such_package_anywhere.*pip install 'miaobi\[create\]'"):
        lacking.runner()


def test_a_third_party_adds_an_app_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "miaobi_echo.py").write_text(PLUGIN, encoding="utf-8")
    info = tmp_path / "miaobi_echo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: miaobi-echo\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[miaobi.apps]\necho = miaobi_echo:ECHO\n", encoding="utf-8")
    out = tmp_path / "out.txt"
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from miaobi.core.apps import Desk, app
echo = app("echo")
heard = []
desk = Desk(load=lambda name: None, news=lambda template, **values: heard.append(template.format(**values)))
print(echo.runner()(echo.schema()(words="你好"), Path({str(out)!r}), desk), heard)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == "你好"
    assert "written: " in done.stdout


def test_a_desk_is_silent_until_someone_listens() -> None:
    desk = Desk(load=lambda name: pytest.fail(name))
    desk.tick("drawing", 1, 2)
    desk.news("written: {path}", path="x")


def test_naming_apps_loads_nothing_heavy() -> None:
    modules = [f"miaobi.apps.{path.parent.name}.app" for path in sorted(SOURCE.glob("apps/*/app.py"))]
    code = "import sys\nfrom miaobi.core.apps import apps\napps()\n" + "".join(f"import {name}\n" for name in modules)
    done = subprocess.run([sys.executable, "-c", code + "print(*sys.modules)"], capture_output=True, text=True, timeout=60, check=True)
    assert not set(done.stdout.split()) & HEAVY


def test_every_app_is_in_the_independence_contract() -> None:
    text = (SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert "apps never import each other" in text
    for path in SOURCE.glob("apps/*/app.py"):
        assert f'"miaobi.apps.{path.parent.name}"' in text, "add it to the import-linter contract"
