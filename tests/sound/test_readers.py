"""Sounds in sources: folders, LJSpeech, metadata, columns; the step `sound`; what is bad is dropped with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import DataError, UsageError
from miaobi.core.recipe import Data, Source
from miaobi.core.types import Media, Modality, Record
from miaobi.data.looks import listened, marks
from miaobi.data.loudness import integrated
from miaobi.data.prepare import prepare
from miaobi.data.readers import read
from miaobi.data.records import Dropped
from miaobi.data.sounds import Sound, decode, encode
from miaobi.data.steps.sound import SoundOptions, build_sound


def burst(seed: int = 0, *, rate: int = 16000, before: float = 0.5, seconds: float = 0.6, channels: int = 1) -> Sound:
    """Noise between two silences."""
    rng = np.random.default_rng(seed)
    samples = np.zeros((round((2 * before + seconds) * rate), channels), np.float32)
    samples[round(before * rate) : round((before + seconds) * rate)] = rng.normal(0, 0.1, (round(seconds * rate), channels))
    return Sound(samples, rate)


def all_of(source: Source) -> tuple[list[Record], list[Dropped]]:
    dropped: list[Dropped] = []
    return list(read(source, on_dropped=dropped.append)), dropped


@pytest.fixture
def ljspeech(tmp_path: Path) -> Path:
    """Three sounds and six lines, three of which are bad."""
    folder = tmp_path / "fable"
    (folder / "wavs").mkdir(parents=True)
    for number in range(3):
        (folder / "wavs" / f"a{number}.wav").write_bytes(encode(burst(number)))
    rows = ["\ufeffa0|Mr. 0 says “hi”.|Mister zero says hi.", "a1|一加一|", "a2.wav|two", "gone|x|x", "../../secret|x|x", "alone", ""]
    (folder / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def test_ljspeech_has_a_sound_and_what_is_said(ljspeech: Path) -> None:
    records, dropped = all_of(Source(path=str(ljspeech)))
    assert [record.id for record in records] == ["a0", "a1", "a2.wav"]
    assert [record.text for record in records] == ["Mister zero says hi.", "一加一", "two"]
    assert records[0].meta["transcript"] == "Mr. 0 says “hi”."
    sound = records[0].parts[0]
    assert isinstance(sound, Media)
    assert (sound.modality, sound.mime, sound.name) == (Modality.AUDIO, "audio/wav", "wavs/a0.wav")
    assert [one.reason for one in dropped] == ["unreadable_file", "outside_of_folder", "too_few_fields"]


def test_a_folder_of_sounds_has_a_class_each_and_metadata_says_more(tmp_path: Path) -> None:
    for kind in ("rain", "wind"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        (tmp_path / "set" / kind / "1.wav").write_bytes(encode(burst()))
    (tmp_path / "set" / "rain" / "text.wav").write_bytes(b"this is text")
    (tmp_path / "set" / "rain" / "nothing.wav").write_bytes(b"")
    records, dropped = all_of(Source(path=str(tmp_path / "set")))
    assert [(record.id, record.meta["class"]) for record in records] == [("rain/1.wav#1", "rain"), ("wind/1.wav#1", "wind")]
    assert sorted(one.reason for one in dropped) == ["empty", "not_a_sound"]
    rows: list[Mapping[str, Any]] = [{"file_name": "rain/1.wav", "transcription": "滴答", "speaker": "a"}, {"file_name": "../x.wav"}]
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    records, dropped = all_of(Source(path=str(tmp_path / "set")))
    assert ("滴答", "a") in [(record.text, record.meta.get("speaker")) for record in records]
    assert "outside_of_folder" in [one.reason for one in dropped]


def test_columns_of_parquet_hold_sounds(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"audio": {"bytes": encode(burst(number)), "path": "x.wav"}, "sentence": f"say {number}", "age": 30} for number in range(3)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    records, _ = all_of(Source(path=str(tmp_path / "a.parquet")))
    assert [(record.text, record.meta["age"]) for record in records] == [("say 0", 30), ("say 1", 30), ("say 2", 30)]
    chosen, _ = all_of(Source(path=str(tmp_path / "a.parquet"), fields={"sound": "audio", "text": "sentence"}))
    assert [record.text for record in chosen] == ["say 0", "say 1", "say 2"]
    assert "age" not in chosen[0].meta
    dropped: list[Dropped] = []
    with pytest.raises(DataError, match="no record"):
        list(read(Source(path=str(tmp_path / "a.parquet"), fields={"sound": "audoi"}), on_dropped=dropped.append))
    assert [one.reason for one in dropped] == ["no_sound"] * 3
    assert "audio" in dropped[0].detail


def step_of(**options: Any) -> Any:
    return build_sound(SoundOptions(**options))


def record_of(sound: Sound | bytes) -> Record:
    data = sound if isinstance(sound, bytes) else encode(sound)
    return Record(id="1", parts=(Media(modality=Modality.AUDIO, mime="audio/wav", data=data), "said"))


def test_the_step_cuts_silence_and_sets_loudness_and_channels() -> None:
    changed = step_of(rate=0, loudness=-23.0)(record_of(burst(channels=2)))
    assert changed.parts[1] == "said"
    sound = decode(changed.parts[0].data)
    assert sound.seconds == pytest.approx(0.6 + 2 * 0.05, abs=0.03)
    assert sound.channels == 1
    assert integrated(sound) == pytest.approx(-23, abs=0.5)
    untouched = decode(step_of(rate=0, trim=0, loudness=0, channels=0)(record_of(burst(channels=2))).parts[0].data)
    np.testing.assert_array_equal(untouched.samples, decode(encode(burst(channels=2))).samples)


def test_the_step_changes_the_rate() -> None:
    pytest.importorskip("soxr")
    assert decode(step_of(rate=22050)(record_of(burst())).parts[0].data).rate == 22050


@pytest.mark.parametrize(
    ("sound", "options", "reason"),
    [
        (b"RIFF", {}, "unreadable"),
        (b"", {}, "unreadable"),
        (Sound(np.zeros(16000), 16000), {}, "silent"),
        (burst(seconds=0.02), {"least": 0.5}, "too_short"),
        (burst(seconds=2.0), {"most": 1.0}, "too_long"),
    ],
)
def test_what_is_no_use_is_dropped_with_its_reason(sound: Sound | bytes, options: dict[str, Any], reason: str) -> None:
    found = step_of(rate=0, **options)(record_of(sound))
    assert isinstance(found, Dropped)
    assert found.reason == reason
    assert step_of()(Record(id="1", parts=("text",))).reason == "no_sound"


def test_a_dataset_of_sounds_is_prepared_and_wrong_options_are_named(ljspeech: Path, tmp_path: Path) -> None:
    values = {"source": {"path": str(ljspeech)}, "steps": [{"sound": {"rate": 16000, "loudness": -20}}], "split": {"val": 0.34}}
    dataset = prepare(Data.model_validate(values), tmp_path / "set", name="fable", workers=1)
    records = [record for split in ("train", "val") for record in dataset.split(split)]
    assert sorted(record.text for record in records) == ["Mister zero says hi.", "two", "一加一"]
    assert all(decode(record.parts[0].data).rate == 16000 for record in records)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="loudness"):
        prepare(Data.model_validate(values | {"steps": [{"sound": {"loudnes": 1}}]}), tmp_path / "other", name="x", workers=1)


def test_equal_sounds_have_equal_marks_whatever_their_level_and_others_do_not() -> None:
    rng = np.random.default_rng(5)
    one, two = (Sound(np.cumsum(rng.normal(size=16000 * 6)) * 1e-3, 16000) for _ in range(2))
    first, softer, other = (marks(listened(sound)) for sound in (one, Sound(one.samples * 0.3, 16000), two))
    assert len(first & softer) / len(first | softer) > 0.9
    assert len(first & other) / len(first | other) < 0.1
    assert marks(listened(one.between(0, 0.1)))
