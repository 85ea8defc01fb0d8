"""Sounds, films and scores carry both labels in their own format: written, read back, verified, changed, made again."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Card, Chunk, Content, Done, Media, Modality, Piece, Request, Verb
from miaobi.engine import convert
from miaobi.engine.generate import assembled, collect
from miaobi.engine.replay import replay
from miaobi.trust import label, media, rhythm, stored, tags, wav
from miaobi.trust.marking import Marking
from miaobi.trust.media import MIDI, MUSICXML
from miaobi.trust.verify import verify

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
FILMS = (".mp4", ".webm", ".gif", ".webp")
PROMPT = '雨 & <b>"thunder"</b> \\ 😀'
NOTES = bytes.fromhex("4d546864000000060000000100604d54726b0000000c00903c4060803c4000ff2f00")
SCORE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">
<score-partwise version="4.0">
  <part-list><score-part id="P1"><part-name>Flute</part-name></score-part></part-list>
  <part id="P1"><measure number="1"/></part>
</score-partwise>
"""


class PlayOptions(Schema):
    """What is played."""

    hertz: float = 440.0


class Play:
    """A model whose content is a tone, a film or a score, as its name says."""

    def __init__(self, kind: str = "tone", *, out_of_tune: float = 0.0) -> None:
        outputs = {"tone": Modality.AUDIO, "notes": Modality.MUSIC, "score": Modality.MUSIC}.get(kind, Modality.VIDEO)
        self.kind, self.out_of_tune = kind, out_of_tune
        self.card = Card(family="play", name=kind, outputs=frozenset({outputs}), verbs=frozenset({Verb.GENERATE}), source="c0" * 32)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        modality = next(iter(self.card.outputs))
        mime = {"tone": "audio/wav", "notes": MIDI, "score": MUSICXML}.get(self.kind, self.kind)
        yield Piece(part=Media(modality=modality, mime=mime, data=self._data(request)))
        yield Done(notes={"hertz": 440})

    def _data(self, request: Request) -> bytes:
        if self.kind == "notes":
            return NOTES
        if self.kind == "score":
            return SCORE.encode()
        time = np.arange(3 * 16000) / 16000
        tone = 0.3 * np.sin(2 * np.pi * (request.options["hertz"] + self.out_of_tune) * time)
        tone += 0.1 * np.random.default_rng(request.seed).normal(size=len(time))
        if self.kind == "tone":
            return wav.encode(tone[:, None], 16000)
        from miaobi.data.videos import Clip, encode

        grain = np.random.default_rng(request.seed).integers(0, 255, (15, 4, 4, 3), np.uint8)
        return encode(Clip(np.kron(grain, np.ones((1, 8, 8, 1), np.uint8)), 5.0), self.kind)


def make(kind: str = "tone", **more: Any) -> Content:
    """A labelled content of that kind."""
    return collect(Play(kind), Request.of(PROMPT, seed=7), schema=PlayOptions, **more)[0]


def needs(suffix: str) -> None:
    """Skip where the extra `sound` is not installed and the format needs it."""
    if suffix not in (".wav", ".gif", ".webp", ".mid", ".musicxml"):
        pytest.importorskip("av")
        pytest.importorskip("mutagen")
        pytest.importorskip("soxr")


def kind_of(suffix: str) -> str:
    return "tone" if suffix in SOUNDS else {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"}[suffix]


@pytest.mark.parametrize("suffix", [*SOUNDS, *FILMS])
def test_every_format_carries_both_labels_and_is_made_again(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    content, path = make(kind_of(suffix)), tmp_path / f"a{suffix}"
    convert.write(content, path)
    found = label.read(path)
    assert (found.prompt, found.seed, found.model) == (PROMPT, 7, kind_of(suffix))
    marked = label.read_marked(path)
    assert marked.implicit == label.implicit(found)  # type: ignore[union-attr]
    assert list(marked.implicit) == list(label.implicit(found))  # type: ignore[union-attr]
    assert marked.count == 1  # type: ignore[union-attr]
    verdict = verify(path)
    assert verdict.good
    assert verdict.replayable
    assert "as it was made" in str(verdict) or "as they were made" in str(verdict)
    again = replay(found, lambda name: Play(kind_of(suffix)), original=marked, schema=PlayOptions)
    assert (again.identical, again.difference) == (True, "")
    convert.write(again.content, tmp_path / f"b{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".webm"])
def test_a_file_is_labelled_block_by_block_as_its_bytes_are(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(suffix)
    monkeypatch.setattr(stored, "BLOCK", 1000)
    content, path = make(kind_of(suffix)), tmp_path / f"a{suffix}"
    convert.write(content, path)
    bare, again = tmp_path / "bare", tmp_path / f"b{suffix}"
    bare.write_bytes(label.embed(make(kind_of(suffix)).parts[0] if suffix in FILMS else media_of(path), label.read(path)).data)
    label.write_stored(bare, again, label.read(path), media.SUFFIXES[suffix])
    assert again.read_bytes() == path.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}", "bare"]
    with pytest.raises(MiaobiError, match="read back"):
        label.write_stored(bare, again, make("notes").label, media.SUFFIXES[suffix])
    assert verify(again).good, "the file that is there stays"


def media_of(path: Path) -> Media:
    return Media(modality=Modality.AUDIO, mime=media.SUFFIXES[path.suffix], data=path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".wav", ".mp4"])
def test_400_megabytes_are_labelled_and_verified_in_little_memory(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    bare = large(tmp_path / f"large{suffix}")
    assert bare.stat().st_size > 400 << 20
    code = (
        "import resource, sys; from pathlib import Path; from miaobi.core.types import Request; from miaobi.engine import generate;"
        "from miaobi.trust import label, verify, media; bare, out = map(Path, sys.argv[1:]); mime = media.SUFFIXES[out.suffix];"
        "import av; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "made = generate.assembled_file(bare, [], mime=mime, app='film', request=Request.of('long'));"
        "label.write_stored(bare, out, made, mime); assert verify.verify(out).good; bare.unlink();"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    out = tmp_path / f"out{suffix}"
    done = subprocess.run([sys.executable, "-c", code, str(bare), str(out)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120, "megabytes of memory that it takes"
    assert label.read(out).prompt == "long"


def large(path: Path) -> Path:
    """A sound or a film of more than 400 MiB: noise, and the packets of a few frames over and over."""
    if path.suffix == ".wav":
        block = np.random.default_rng(0).integers(-3000, 3000, 1 << 20, np.int16).tobytes()
        with path.open("wb") as file:
            file.write(wav.header(201 << 20, 1, 48000))
            for _ in range(201):
                file.write(block)
        return path
    import av

    from miaobi.data.videos import Clip, encode

    grain = np.random.default_rng(0).integers(0, 255, (24, 720, 1280, 3), np.uint8)
    source = encode(Clip(grain, 24), "video/mp4", quality=99)
    with av.open(io.BytesIO(source)) as given, av.open(str(path), "w", options={"movflags": "+faststart"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        kept = [(packet, packet.pts, packet.dts) for packet in given.demux(video=0) if packet.dts is not None]
        step = 24 * kept[0][0].duration
        for turn in range((402 << 20) // len(source) + 1):
            for packet, pts, dts in kept:
                packet.stream, packet.pts, packet.dts = stream, pts + turn * step, dts + turn * step
                made.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".webm"])
def test_a_label_is_replaced_and_never_appended_and_nothing_else_changes(suffix: str) -> None:
    needs(suffix)
    part = convert.converted(make(kind_of(suffix)).parts[0], media.SUFFIXES[suffix])  # type: ignore[arg-type]
    first, second = make(), make("notes")
    once = label.embed(part, first.label)
    twice = label.embed(once, second.label)
    found = media.read(twice.data, part.mime)
    assert found.count == 1
    assert found.label["model"] == "notes"
    assert found.sha256 == media.sha256(part.data, part.mime) == media.sha256(once.data, part.mime)
    assert label.embed(twice, first.label).data == once.data
    np.testing.assert_array_equal(*(_decoded(one.data, suffix) for one in (part, twice)))


def _decoded(data: bytes, suffix: str) -> Any:
    if suffix in SOUNDS:
        return media.decode(data)[0]
    from miaobi.data.videos import decode

    return decode(data).frames


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".mp4", ".gif"])
def test_a_changed_file_shows(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    mine, other = make(kind_of(suffix)), collect(Play(kind_of(suffix)), Request.of("x", seed=8), schema=PlayOptions)[0]
    convert.write(mine, path)
    own = label.read(path)
    part = convert.fitting(other, suffix) or other.parts[0]
    path.write_bytes(label.embed(part, own).data)  # type: ignore[arg-type]
    verdict = verify(path)
    assert verdict.labelled
    assert verdict.intact is False
    assert "CHANGED" in str(verdict)


def test_a_flac_or_a_copy_in_wav_is_the_same_sound(tmp_path: Path) -> None:
    needs(".flac")
    content = make()
    convert.write(content, tmp_path / "a.flac")
    found = label.read(tmp_path / "a.flac")
    assert (found.content_sha256, found.encoded_sha256) == (content.label.content_sha256, "")
    convert.write(content, tmp_path / "a.mp3")
    found = label.read(tmp_path / "a.mp3")
    assert found.content_sha256 == content.label.content_sha256 != found.encoded_sha256


@pytest.mark.parametrize(("kind", "suffix"), [("notes", ".mid"), ("notes", ".midi"), ("score", ".musicxml")])
def test_scores_carry_their_label_inside_or_beside(tmp_path: Path, kind: str, suffix: str) -> None:
    content, path = make(kind), tmp_path / f"tune{suffix}"
    convert.write(content, path)
    beside = tmp_path / f"tune{suffix}.aigc.json"
    assert beside.is_file() == (kind == "notes")
    assert verify(path).good
    assert verify(path).kind == "score"
    marked = label.read_marked(path)
    again = replay(label.read(path), lambda name: Play(kind), original=marked, schema=PlayOptions)  # type: ignore[arg-type]
    assert again.identical
    if kind == "notes":
        assert path.read_bytes() == NOTES
        path.write_bytes(NOTES.replace(b"\x3c", b"\x3d"))
    else:
        text = path.read_text(encoding="utf-8")
        assert '<miscellaneous-field name="AIGC">' in text
        assert text.index("identification") < text.index("part-list")
        path.write_text(text.replace("Flute", "Horn"), encoding="utf-8")
    assert verify(path).intact is False


def test_a_score_without_its_sidecar_is_unlabelled(tmp_path: Path) -> None:
    path = tmp_path / "tune.mid"
    convert.write(make("notes"), path)
    (tmp_path / "tune.mid.aigc.json").unlink()
    assert not verify(path).labelled
    with pytest.raises(UsageError, match="no label"):
        label.read(path)


def test_titles_and_covers_of_others_stay() -> None:
    needs(".mp3")
    from mutagen import File, id3

    data = convert.converted(make().parts[0], "audio/mpeg").data  # type: ignore[arg-type]
    buffer = io.BytesIO(data)
    given = id3.ID3()
    given.add(id3.TIT2(encoding=3, text=["雨"]))
    given.add(id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=b"\x89PNG..."))
    given.save(buffer, v1=0)
    part = Media(modality=Modality.AUDIO, mime="audio/mpeg", data=buffer.getvalue())
    labelled = label.embed(part, make().label)
    assert media.sha256(labelled.data, "audio/mpeg") == media.sha256(data, "audio/mpeg"), "a title is not heard"
    kept = File(io.BytesIO(labelled.data)).tags
    assert str(kept["TIT2"]) == "雨"
    assert kept["APIC:"].data == b"\x89PNG..."
    assert kept["TXXX:AIGC"].text == [tags.read(labelled.data, "audio/mpeg")["AIGC"][0]]


def test_vorbis_comments_are_read_in_any_case() -> None:
    needs(".ogg")
    from mutagen.oggopus import OggOpus

    buffer = io.BytesIO(convert.converted(make().parts[0], "audio/ogg").data)  # type: ignore[arg-type]
    file = OggOpus(buffer)
    file["aigc"] = ['{"Label":"1","ContentProducer":"Other"}']
    file["TITLE"] = ["rain"]
    file.save(buffer)
    found = media.read(buffer.getvalue(), "audio/ogg")
    assert found.implicit == {"Label": "1", "ContentProducer": "Other"}
    again = label.embed(Media(modality=Modality.AUDIO, mime="audio/ogg", data=buffer.getvalue()), make().label)
    assert OggOpus(io.BytesIO(again.data))["title"] == ["rain"]
    assert media.read(again.data, "audio/ogg").count == 1


def test_a_film_whose_index_comes_first_plays_on(tmp_path: Path) -> None:
    """With `faststart` every offset of a frame is after the label that grows."""
    av = pytest.importorskip("av")
    from miaobi.data.videos import decode

    source = make("video/mp4").parts[0].data  # type: ignore[union-attr]
    path = tmp_path / "first.mp4"
    with av.open(io.BytesIO(source)) as container, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(container.streams[0])
        target.metadata["title"] = "mine"
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    labelled = label.embed(Media(modality=Modality.VIDEO, mime="video/mp4", data=data), make().label)
    np.testing.assert_array_equal(decode(labelled.data).frames, decode(source).frames)
    assert media.read(labelled.data, "video/mp4").label["prompt"] == PROMPT
    with av.open(io.BytesIO(labelled.data)) as container:
        assert container.metadata["title"] == "mine", "what another program said of the film stays"
        assert container.metadata["AIGC"] == tags.read(labelled.data, "video/mp4")["AIGC"][0], "ffmpeg reads it where the standard says"


def test_a_film_in_fragments_is_refused() -> None:
    box = lambda kind, *parts: struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)  # noqa: E731
    data = box(b"ftyp", b"isom", bytes(4)) + box(b"moov") + box(b"moof") + box(b"mdat", b"x")
    with pytest.raises(DataError, match="fragments"):
        tags.write(data, "video/mp4", {"AIGC": "{}"})


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".webm", ".mid", ".musicxml"])
def test_broken_and_empty_files_are_data_errors(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"")
    with pytest.raises(DataError):
        verify(path)
    if suffix in (".mid", ".musicxml"):
        return
    whole = label.embed(convert.converted(make(kind_of(suffix)).parts[0], media.SUFFIXES[suffix]), make().label).data  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for attempt in range(6):
        broken = bytearray(whole[: len(whole) // 3] if attempt % 3 == 0 else whole)
        for place in rng.integers(0, min(len(broken), 4000), 12):
            broken[place] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            str(verify(path))
        except MiaobiError as error:
            assert error.exit_code in (2, 3)  # noqa: PT017


def test_hostile_boxes_take_no_time() -> None:
    deep = b"ftyp"
    for _ in range(2000):
        deep = struct.pack(">I", 8 + len(deep)) + b"moov" + deep
    assert tags.read(deep, "video/mp4") == {}
    for data in (b"\0\0\0\1ftyp" + b"\xff" * 8, b"\0\0\0\0ftyp" * 50_000, b"\0\0\0\x08ftyp" + b"\0\0\0\0moov" + b"\xff" * 64):
        with pytest.raises(DataError):
            tags.read(data, "video/mp4")


@pytest.mark.parametrize("suffix", [".jpg", ".md", ".xyz", ".mid"])
def test_a_suffix_that_does_not_go_with_the_content_is_said(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError) as problem:
        convert.write(make(), tmp_path / f"a{suffix}")
    assert suffix in str(problem.value)
    assert list(tmp_path.iterdir()) == []


def test_a_content_of_a_sound_and_a_picture_goes_into_either(tmp_path: Path) -> None:
    from miaobi.trust import pictures

    plot = Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(np.full((8, 8, 4), 255, np.uint8), "image/png"))
    content = assembled((make().parts[0], plot), (make(),), app="talk", request=Request.of("x", seed=1))
    convert.write(content, tmp_path / "a.wav")
    convert.write(content, tmp_path / "a.png")
    for name in ("a.wav", "a.png"):
        found = verify(tmp_path / name)
        assert found.good
        assert found.label is not None
        assert found.label.parents == (f"tone:{make().label.content_sha256}",)
        assert not found.replayable, "an app put it together"
    assert label.read_marked(tmp_path / "a.png").sha256 == pictures.sha256(plot.data), "its own picture, not the sound's spectrum"


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg"])
def test_the_rhythm_and_the_watermark_are_heard_in_the_file(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    content = make(marking=Marking.of("zh", "sound"))
    assert content.label.mark == rhythm.describe()
    assert content.label.watermark.startswith("spread-1:")
    path = tmp_path / f"a{suffix}"
    convert.write(content, path)
    verdict = verify(path)
    assert verdict.good, verdict.problems
    assert verdict.watermark is not None
    assert verdict.watermark.found
    assert "Its samples carry" in str(verdict)
    again = replay(label.read(path), lambda name: Play(), original=label.read_marked(path), schema=PlayOptions)
    assert again.identical


def test_a_mark_that_is_claimed_and_not_there_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    marked, plain = make(marking=Marking.of("zh", "sound")), make()
    path.write_bytes(label.embed(plain.parts[0], marked.label).data)  # type: ignore[arg-type]
    problems = " ".join(verify(path).problems)
    assert "rhythm" in problems
    assert "not found in the samples" in problems


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_has_the_words_in_its_opening(tmp_path: Path, suffix: str) -> None:
    needs(suffix)
    from miaobi.data.videos import decode

    plain, marked = make(kind_of(suffix)), make(kind_of(suffix), marking=Marking.of("zh"))
    assert marked.label.mark == "AI生成 bottom-right"
    before, after = (decode(one.parts[0].data).frames.astype(int) for one in (plain, marked))  # type: ignore[union-attr]
    corner = np.abs(before - after)[:, -6:, -20:].mean(axis=(1, 2, 3))
    assert corner[:10].min() > 25, "for two seconds"
    assert corner[10:].max() < 20
    convert.write(marked, tmp_path / f"a{suffix}")
    assert verify(tmp_path / f"a{suffix}").good
    with pytest.raises(UsageError, match="no watermark for films"):
        make(kind_of(suffix), marking=Marking.of("zh", "image"))


def test_a_replay_names_the_first_stage_that_differs(tmp_path: Path) -> None:
    needs(".mp3")
    path = tmp_path / "a.mp3"
    convert.write(make(), path)
    other = replay(label.read(path), lambda name: Play(out_of_tune=1.0), original=label.read_marked(path), schema=PlayOptions)
    assert not other.identical
    assert "SHA-256" in other.difference
    convert.write(make(), tmp_path / "a.wav")
    original = label.read_marked(tmp_path / "a.wav")
    other = replay(label.read(tmp_path / "a.wav"), lambda name: Play(out_of_tune=1.0), original=original, schema=PlayOptions)
    assert "samples differ, the first at 0.000 seconds" in other.difference
    import dataclasses

    coded = dataclasses.replace(label.read(path), encoded_sha256="0" * 64)
    other = replay(coded, lambda name: Play(), original=label.read_marked(path), schema=PlayOptions)
    assert "conversion to audio/mpeg" in other.difference


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MiaobiError, match="disk is full"):
        convert.write(make(), tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []


def test_the_test_model_is_one() -> None:
    """What the other tests rest on: a content of a sound is in the door's hands as any other."""
    content = make()
    assert isinstance(content.parts[0], Media)
    assert media.read(content.parts[0].data, "audio/wav").label["prompt"] == PROMPT, "the bytes that leave are labelled already"
    maker: Callable[..., Content] = make
    assert maker("notes").parts[0].data == NOTES  # type: ignore[union-attr]
