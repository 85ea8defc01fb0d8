"""A working folder with one small model in it, of a family that is installed as a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from miaobi.core import families
from miaobi.core.artifact import new_folder, seal
from miaobi.core.language import set_language

LONGEST = ("tests/house/test_readme.py", "tests/serve/test_schemathesis.py")  # begun first, so that no worker waits for another with them
LINES = ["春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少"]
PLUGIN = Path(__file__).parent / "api" / "plugin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder with a home of its own, English messages, and the family `parrot` installed."""
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MIAOBI_LANG", "en")
    monkeypatch.delenv("MIAOBI_DEBUG", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    families.families.cache_clear()
    yield folder
    families.families.cache_clear()
    set_language(None)


@pytest.fixture
def polly(workplace: Path) -> Path:
    """The model `artifacts/polly`."""
    from miaobi_parrot import Parrot

    folder = workplace / "artifacts" / "polly"
    with new_folder(folder) as new:
        Parrot(LINES).save(new)
        seal(new, family="parrot", name="polly", licence="CC0-1.0")
    return folder


@pytest.fixture
def daub(workplace: Path) -> Path:
    """The model `artifacts/daub`, which makes pictures."""
    from miaobi_dauber import Dauber

    folder = workplace / "artifacts" / "daub"
    with new_folder(folder) as new:
        Dauber().save(new)
        seal(new, family="dauber", name="daub", licence="CC0-1.0")
    return folder
