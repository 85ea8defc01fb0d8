"""Whatever a verb makes can be kept: every one that makes contents has `--keep`, and the library then holds the very file."""

from __future__ import annotations

from pathlib import Path

import pytest

from miaobi.cli.main import main, verb_parser
from miaobi.core.types import Modality
from miaobi.library.store import Library

MAKERS = {
    "generate": ["rhymer"],
    "chat": ["rhymer"],
    "create": [],
    "batch": [],
    "edit": ["trim"],
    "render": [],
    "narrate": [],
    "transcribe": [],
}


@pytest.mark.parametrize("verb", MAKERS)
def test_every_verb_that_makes_something_keeps_it_if_wanted(verb: str) -> None:
    told = verb_parser(verb, MAKERS[verb]).format_help()
    assert "--keep" in told
    assert "--library" in told


def test_a_film_is_kept_with_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    Path("film.yaml").write_text("size: [160, 90]\nscenes: [{card: {text: 你好}, seconds: 0.5}]\n", encoding="utf-8")
    assert main(["render", "film.yaml", "--draft", "--keep", "--json"]) == 0
    library = Library.open()
    [kept] = library.each()
    library.close()
    assert (kept.modality, kept.origin, kept.label.model) == (Modality.VIDEO, "film", "film")
    assert library.part(kept.media[0]).data == Path("film.mp4").read_bytes()
