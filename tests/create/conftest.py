"""A working folder with a small band of models: a grammar that writes, and families from outside that doodle, hum and mumble."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from miaobi.core import families
from miaobi.core.artifact import new_folder, seal
from miaobi.core.language import set_language

PLUGIN = Path(__file__).parent / "plugin"
GRAMMAR = """
grammar: 1
forms: {long: long, short: short}
rules:
  long: ["明月照{place}，\\n{who}{deed}。\\n秋风吹落叶，\\n灯火{end}。"]
  short: ["明月照{place}，{who}{deed}。"]
  place: [江楼, 空山, 小桥]
  who: [渔翁, 归雁, 孤帆]
  deed: [入梦来, 向天涯]
  end: [到天明, 照人归]
"""
Create = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder with the models `writer`, `doodle`, `hummer`, `mumbler` and `absent`, whose package is missing."""
    home = tmp_path_factory.mktemp("band")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(PLUGIN)
    import miaobi_band

    with new_folder(home / "models" / "writer") as new:
        (new / "grammar.yaml").write_text(GRAMMAR, encoding="utf-8")
        seal(new, family="rules", name="writer")
    for name, kind in (("doodle", "Doodle"), ("hummer", "Hummer"), ("mumbler", "Mumbler")):
        for tone, suffix in ((220.0, ""), (330.0, "-2")):
            with new_folder(home / "models" / (name + suffix)) as new:
                getattr(miaobi_band, kind)(tone).save(new)
                seal(new, family=name, name=name + suffix)
    shutil.copytree(home / "models" / "mumbler", home / "models" / "absent")
    (home / "models" / "absent" / "miaobi.json").unlink()
    seal(home / "models" / "absent", family="absent", name="absent")
    patch.undo()  # other tests are not to meet these families
    return home


@pytest.fixture
def stage(band: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder in which the band is known."""
    _enter(band, tmp_path, monkeypatch)
    yield tmp_path
    families.families.cache_clear()
    set_language(None)


def _enter(band: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.syspath_prepend(PLUGIN)
    patch.setenv("PYTHONPATH", str(PLUGIN))
    patch.setenv("MIAOBI_HOME", str(band))
    patch.setenv("MIAOBI_LANG", "en")
    patch.delenv("MIAOBI_DEBUG", raising=False)
    patch.delenv("BAND_STOP", raising=False)
    patch.chdir(folder)
    families.families.cache_clear()


BAND = {"text_model": "writer", "image_model": "doodle", "music_model": "hummer", "voice_model": "mumbler"}
QUICK = {**BAND, "size": "square", "draft": True, "seed": 5}


@pytest.fixture
def create(stage: Path) -> Create:
    """`create("中秋", style="line")` in the folder `work`: what `miaobi create` tells of it."""
    return _create


def _create(brief: str = "", out: str = "work", **inputs: Any) -> dict[str, Any]:
    from miaobi import api

    return dict(api.create(brief, out=Path(out), **inputs))


@pytest.fixture(scope="session")
def whole(band: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole work, made once; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("whole")
    patch = pytest.MonkeyPatch()
    _enter(band, folder, patch)
    _create("中秋月夜", out=str(folder / "work"), **QUICK)
    patch.undo()
    families.families.cache_clear()
    return folder / "work"


@pytest.fixture
def copy(whole: Path, stage: Path) -> Path:
    """The whole work in `work`, to be changed."""
    return Path(shutil.copytree(whole, stage / "work"))
