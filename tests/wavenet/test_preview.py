"""While a model of sounds learns, what it makes is kept as labelled files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.families import families
from miaobi.core.recipe import Generate
from miaobi.core.types import Media, Modality, Record
from miaobi.data.sounds import decode, silence
from miaobi.data.sounds import encode as encode_sound
from miaobi.engine.journal import Journal
from miaobi.engine.preview import preview
from miaobi.trust import label


def test_sounds_are_kept_with_their_label(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    kind: Any = families()["wavenet"]
    media = Media(modality=Modality.AUDIO, mime="audio/wav", data=encode_sound(silence(0.2, 4000)))
    model = kind.model_class().create(kind.tiny, [Record(id="1", parts=(media,), meta={"class": "bell"})])
    section = Generate(prompts=["bell", "bell"], options={"seconds": 0.1, "n": 1}, seed=3)
    journal = Journal(tmp_path, 10)
    preview(model, section, [], journal, 5)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(row["step"], row["prompt"], row["file"]) for row in rows] == [
        (5, "bell", "samples/step-000005-1.wav"),
        (5, "bell", "samples/step-000005-2.wav"),
    ]
    data = (tmp_path / rows[1]["file"]).read_bytes()
    assert decode(data).seconds == 0.1
    assert label.read(tmp_path / rows[1]["file"]).seed == 4
    journal.begin(4)
    assert not list((tmp_path / "samples").iterdir()), "a resumed run makes them again"
