"""Scores in and out: MIDI, MusicXML and ABC say the same; what is broken is told, not raised as it is."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("symusic")

from miaobi.core.errors import DataError
from miaobi.core.recipe import Data
from miaobi.data import abc, musicxml, piano_roll, scores
from miaobi.data.prepare import prepare
from miaobi.data.scores import Key, Note, Part, Score, read, read_midi, seconds_at, write_midi

from .conftest import AIR, JIG


def test_an_abc_tune_becomes_bars_with_its_upbeat_and_second_ending(jig: Score) -> None:
    assert (str(jig.key), jig.metre, jig.tempo, jig.kind, jig.title, jig.pickup) == ("G major", (6, 8), 165.0, "jig", "A Small Jig", 12)
    notes = jig.parts[0].notes
    assert [note.pitch for note in notes[:5]] == [62, 67, 71, 74, 71]
    assert [note.duration for note in notes[:3]] == [12, 24, 12]
    assert jig.end == 12 + 7 * 72 + 60, "eight bars behind the upbeat, the last one short by it; the first ending is left out"
    assert notes[-1] == Note(12 + 7 * 72 + 36, 24, 67)


def test_abc_knows_broken_rhythms_triplets_ties_and_accidentals(air: Score) -> None:
    notes = air.parts[0].notes
    assert [(note.duration, note.pitch) for note in notes[:3]] == [(36, 69), (12, 71), (24, 72)]
    assert [note.duration for note in notes[5:8]] == [8, 8, 8]
    tied = next(note for note in notes if note.pitch == 68)
    assert (tied.start, tied.duration) == (3 * 72, 72 + 24), "a tie goes over the bar line, the sharp with it"
    assert air.key == Key(tonic=9, mode="minor")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("K: G", "K: G\nV: 2"), "several voices"),
        (("M: 6/8", "M: 6"), "no metre"),
        (("G2B dBG", "G2B dBG dBG"), "longer than the metre"),
        (("G2B dBG", "[M:9/8] G2B dBG"), "changes its metre"),
        ((JIG[JIG.index("K: G") + 4 :], "\n|]\n"), "no note"),
    ],
)
def test_abc_that_does_not_fit_is_refused_with_the_reason(change: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        abc.read_tune(JIG.replace(*change))


def test_one_bad_tune_leaves_the_others_of_its_file() -> None:
    found = dict(abc.tunes(JIG + "\n" + JIG.replace("X: 7", "X: 9").replace("G2B", "G9B") + "\n" + AIR))
    assert isinstance(found["7"], Score)
    assert isinstance(found["8"], Score)
    assert isinstance(found["9"], DataError)


def test_midi_keeps_notes_metre_tempo_mode_upbeat_title_and_chords(jig: Score) -> None:
    score = replace(jig, key=Key(tonic=2, mode="yu"), title="中秋", chords=((12, "Dm"), (48, "G7")), parts=(*jig.parts, DRUMS))
    back = read_midi(write_midi(score))
    assert back == score
    assert write_midi(back) == write_midi(score)
    assert score.key is not None
    assert score.key.fifths == -1


DRUMS = Part(notes=(Note(0, 12, 36, 100), Note(24, 12, 38, 60)), name="drums", drums=True)


def test_tempos_say_when_a_tick_sounds() -> None:
    score = Score(parts=(Part(notes=(Note(0, 96, 60),)),), tempos=((0, 60.0), (48, 120.0)))
    assert seconds_at(score, [0, 24, 48, 72, 96, 12]) == pytest.approx([0, 1, 2, 2.5, 3, 0.5])
    assert score.seconds == pytest.approx(3)


def test_the_grid_keeps_what_it_can_hold() -> None:
    fine = Score(parts=(Part(notes=(Note(0, 480, 60), Note(480, 160, 62), Note(640, 1, 64))),), ticks=480, pickup=240)
    assert [(note.start, note.duration) for note in fine.on_grid().parts[0].notes] == [(0, 24), (24, 8), (32, 1)]
    assert fine.on_grid().pickup == 12


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["midi", "musicxml", "abc"])
def test_bytes_from_anywhere_are_a_score_or_an_error_of_ours(jig: Score, seed: int, kind: str) -> None:
    whole, rng = {"midi": write_midi(jig), "musicxml": musicxml.write(jig), "abc": JIG.encode()}[kind], random.Random(seed)
    for _ in range(40):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 6)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256) if kind == "midi" else rng.choice(b"0123456789/:-<>abXK|[(")
        try:
            assert read(bytes(data)).num_notes > 0
        except DataError:
            continue


@pytest.mark.parametrize("data", [b"", b"MThd", b"RIFF1234", b"PK\x03\x04", b"<score-partwise><part/></score-partwise>", b"X:1\nK:C\n"])
def test_no_score_is_told(data: bytes) -> None:
    with pytest.raises(DataError):
        read(data)


def test_musicxml_gives_back_every_note(jig: Score, air: Score, choir: Score) -> None:
    for score in (jig, air, choir):
        back = read(musicxml.write(score))
        assert [part.notes for part in back.parts] == [part.notes for part in score.parts]
        assert (back.metres, back.tempo, back.pickup, back.key) == (score.metres, score.tempo, score.pickup, score.key)


def test_musicxml_has_full_bars_ties_dots_and_triplets(air: Score) -> None:
    from xml.etree import ElementTree as ET

    root = ET.fromstring(musicxml.write(air))
    for measure in root.findall("part/measure"):
        assert sum(int(note.findtext("duration") or 0) for note in measure.findall("note")) == 72
    assert len(root.findall(".//time-modification")) == 3
    assert [tie.get("type") for tie in root.findall(".//tie")] == ["start", "stop"]
    assert root.findtext("part/measure/note/type") == "quarter"
    assert root.find("part/measure/note/dot") is not None
    sharp = next(note for note in root.iter("note") if note.findtext("pitch/alter") == "1")
    assert sharp.findtext("pitch/step") == "G", "the leading note of A minor is a G sharp and no A flat"


@pytest.mark.parametrize(("at", "ticks"), [(0, 24), (12, 36), (6, 30), (0, 60), (4, 20), (8, 64), (0, 1), (5, 7)])
def test_lengths_are_cut_into_values_that_add_up(at: int, ticks: int) -> None:
    pieces = list(musicxml.split(at, ticks))
    assert sum(value for _, value in pieces) == ticks
    assert [start for start, _ in pieces] == [at + sum(value for _, value in pieces[:place]) for place in range(len(pieces))]


def test_a_piano_roll_shows_each_note_at_its_place() -> None:
    score = Score(parts=(Part(notes=(Note(0, 24, 60), Note(72, 24, 72))),))
    pixels = piano_roll.draw(score, height=170, width=400)  # 17 semitones of 10 pixels
    blue = (pixels[..., 2].astype(int) - pixels[..., 0] > 40).nonzero()
    columns, rows = blue[1], blue[0]
    assert columns.min() == 0
    assert columns.max() == 398
    assert set(np.unique(columns // 100)) == {0, 3}, "the first and the last quarter"
    assert set(np.unique(rows // 10)) == {2, 14}, "two semitones from the top and from the bottom"


def test_folders_of_scores_become_a_data_set_without_near_copies(tmp_path: Path, jig: Score, choir: Score) -> None:
    folder = tmp_path / "tunes"
    folder.mkdir()
    (folder / "tunes.abc").write_text(JIG + "\n" + AIR + "\n" + JIG.replace("X: 7", "X: 10").replace("G2B", "G9B"), encoding="utf-8")
    (folder / "higher.mid").write_bytes(write_midi(jig.transposed(5)))
    (folder / "choir.musicxml").write_bytes(musicxml.write(choir))
    (folder / "broken.mid").write_bytes(b"MThd nothing")
    data = Data.model_validate(
        {
            "source": {"path": str(folder), "meta": {"program": "40"}},
            "steps": [{"score": {"least_bars": 2}}, {"dedup": {"method": "score", "threshold": 0.9, "group": 0.9}}],
            "split": {"val": 0.0},
        }
    )
    found = prepare(data, tmp_path / "data", workers=1)
    train = list(found.split("train"))
    assert len(train) == 3, "the tune in another key is the same tune"
    assert sorted(record.meta["key"] for record in train) == ["A minor", "C major", "C major"]
    media = [part for record in train for part in record.parts]
    assert all(part.program == 40 for one in media if not isinstance(one, str) for part in read_midi(one.data).parts)
    reasons = {entry["reason"] for entry in found.card["dropped"]}
    assert reasons == {"unreadable_tune", "near_duplicate", "unreadable_file"}


def test_formats_agree(jig: Score) -> None:
    assert read(JIG.encode(), "text/vnd.abc").parts == jig.parts
    assert scores.to_musicxml(write_midi(jig)) == musicxml.write(read_midi(write_midi(jig)))
