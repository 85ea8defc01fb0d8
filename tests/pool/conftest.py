"""Real models for real processes: a tiny decoder as a graph and in torch, and a family that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from miaobi.core import families
from miaobi.core.artifact import new_folder, seal
from miaobi.core.types import Record

PLUGIN = Path(__file__).parent / "plugin"
TEXT = "the quick brown fox jumps over the lazy dog while seven wizards brew black potions of jade and quartz"


@pytest.fixture(scope="session")
def scribe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gpt of two layers with random weights, as `model.safetensors` and as an int8 graph."""
    import torch

    from miaobi.models.gpt.model import GPT

    torch.manual_seed(0)
    model = GPT.create({"width": 64, "layers": 2, "heads": 2, "context": 1024}, [Record(id="0", parts=(TEXT,))], seed=3)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("scribe") / "scribe"
    with new_folder(folder) as new:
        model.save(new)
        model.export(new, formats=("int8",))
        seal(new, family="gpt", name="scribe", licence="CC0-1.0")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scribe: Path) -> Iterator[Path]:
    """A home with the models `scribe`, `moody` and `moody2`, seen by this process and by those that it starts."""
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MIAOBI_LANG", "en")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    (models / "scribe").symlink_to(scribe)
    for name in ("moody", "moody2"):
        with new_folder(models / name) as new:
            (new / "mood.txt").write_text("good", encoding="utf-8")
            seal(new, family="moody", name=name, licence="CC0-1.0")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    families.families.cache_clear()
    yield tmp_path / "home"
    families.families.cache_clear()
