"""Records arrive in another process as they left: from a data set's shards, and from memory."""

from __future__ import annotations

import json
from pathlib import Path

from miaobi.core.recipe import Data
from miaobi.core.types import Media, Modality, Record
from miaobi.data.dataset import Dataset
from miaobi.data.handover import hand, take
from miaobi.data.prepare import prepare


def test_records_in_memory(tmp_path: Path) -> None:
    picture = Media(modality=Modality.IMAGE, mime="image/png", data=b"\x89PNG", name="one.png")
    sound = Media(modality=Modality.AUDIO, mime="audio/wav", data=b"RIFF", name="")
    records = [
        Record(id="1", parts=("一行\u2028两行", picture, sound), meta={"style": "noto", "caption": {"zh": ["猫"]}}),
        Record(id="2", parts=("only text",)),
        Record(id="3", parts=(sound,), meta={"n": 3}),
    ]
    assert list(take(json.loads(json.dumps(hand(records, tmp_path, "train"))))) == records
    assert list(take(hand([], tmp_path, "none"))) == []


def test_the_side_of_a_data_set_stays_where_it_is(tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"poem {number}"}) + "\n" for number in range(20)), encoding="utf-8")
    section = Data.model_validate({"source": {"path": str(text), "licence": "MIT"}, "split": {"val": 0.2}})
    dataset = prepare(section, tmp_path / "set", name="poems")
    before = sorted(tmp_path.rglob("*"))
    for name in ("train", "val"):
        assert list(take(json.loads(json.dumps(hand(dataset.split(name), tmp_path, name))))) == list(
            Dataset.open(dataset.folder).split(name)
        )
    assert sorted(tmp_path.rglob("*")) == before
