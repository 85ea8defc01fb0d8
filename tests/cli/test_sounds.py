"""`miaobi generate`, `show`, `verify` and `replay` with the built-in model of sound effects and with scores that are played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miaobi.cli.main import main
from miaobi.trust import label

QUICK = ("--seconds", "0.4", "--rate", "16000", "--seed", "3")


def out_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints; it must succeed."""
    assert main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a"])
def test_a_sound_in_every_format_is_labelled_and_made_again(workplace: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    if suffix != ".wav":
        for package in ("av", "mutagen", "soxr"):
            pytest.importorskip(package)
    name = f"rain{suffix}"
    assert out_of(capsys, "generate", "effects", "大雨", *QUICK, "--out", name) == f"{name}\n"
    shown = json.loads(out_of(capsys, "show", name, "--json"))
    assert shown["prompt"] == "大雨"
    rate, mime = (48000, "audio/ogg") if suffix in (".ogg", ".opus") else (16000, label.read_marked(Path(name)).mime)  # type: ignore[union-attr]
    assert shown["audio"] == f"0.40 s, {rate} Hz, 2 channels {mime}"
    assert json.loads(out_of(capsys, "verify", name, "--json"))["good"]
    assert out_of(capsys, "replay", name, "--out", f"again{suffix}") == "The same, sample for sample.\n"
    assert Path(f"again{suffix}").read_bytes() == Path(name).read_bytes()


@pytest.mark.parametrize("model", ["effects", "composer"])
def test_a_sound_or_score_can_be_looked_at(workplace: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    if model == "composer":
        pytest.importorskip("symusic")
    words = ("大雨", *QUICK) if model == "effects" else ("--bars", "4", "--seed", "3")
    out_of(capsys, "generate", model, *words, "--out", "seen.png")
    verdict = json.loads(out_of(capsys, "verify", "seen.png", "--json"))
    assert verdict["good"]
    assert verdict["label"]["encoded_sha256"], "the label tells the sound and its picture apart"
    assert json.loads(out_of(capsys, "replay", "seen.png", "--json"))["identical"]
    from PIL import Image

    with Image.open("seen.png") as picture:
        assert len(picture.convert("L").getcolors(256) or []) > 2, "something is drawn"
    forged = verdict["label"]["encoded_sha256"]
    from miaobi.trust import pictures

    there, other = label.read(Path("seen.png")), "0" * len(forged)
    wrong = label.to_dict(there) | {"encoded_sha256": other}
    Path("seen.png").write_bytes(pictures.embed(Path("seen.png").read_bytes(), label.implicit(there), wrong))
    assert main(["replay", "seen.png"]) == 1
    assert "its conversion to image/png gives another file" in capsys.readouterr().out


def test_without_out_sounds_are_wav_and_a_folder_has_no_sheet(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "generate", "effects", "click", *QUICK) == "click-3.wav\n"
    assert out_of(capsys, "generate", "effects", "click", *QUICK) == "click-3.2.wav\n"
    printed = out_of(capsys, "generate", "effects", "click", *QUICK, "--n", "2", "--out", "clicks/").split()
    assert printed == ["clicks/01.wav", "clicks/02.wav"]
    assert [label.read(Path(name)).index for name in printed] == [0, 1]


def test_marks_are_chosen_and_told(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "effects", "rain", "--rate", "16000", "--seconds", "5", "--mark", "zh", "--watermark", "sound", "--out", "a.wav")
    out_of(capsys, *words)
    verdict = json.loads(out_of(capsys, "verify", "a.wav", "--json"))
    assert verdict["visible"] == "短长 短短 start"
    assert verdict["watermark"]["found"]
    assert out_of(capsys, "replay", "a.wav") == "The same, sample for sample.\n"
    assert "放入听不见的水印" in _help(capsys, "generate", "effects", "--help", "--lang", "zh")


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(words)
    return "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rain", "--out", "a.jpg"), "Known: .flac, .m4a, .mp3"),
        (("rain", "--out", "rain"), "Write rain.wav for a file, rain/ for a folder"),
        (("白日依山尽远上寒",), "Known: bell, birds, click"),
        ((), "which sound? Name one or several"),
        (("rain", "--kind", "bel"), "Did you mean 'bell'?"),
        (("rain", "--seconds", "3600"), "at most 120"),
        (("rain", "--watermark", "image"), "image"),
        (("rain", "--n", "0"), "0"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(workplace: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert main(["generate", "effects", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert list(workplace.iterdir()) == []


def test_files_that_are_broken_are_said_to_be(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    for name in ("a.wav", "a.mp3", "a.mp4", "a.webm", "a.flac", "a.ogg"):
        for data in (b"", b"not a sound", b"RIFF\0\0\0\0WAVE", b"\x1aE\xdf\xa3" + bytes(9)):
            Path(name).write_bytes(data)
            for verb in ("verify", "show", "replay"):
                assert main([verb, name]) in (1, 2, 3)
                error = capsys.readouterr().err
                assert "Traceback" not in error
                assert "Unexpected" not in error


def test_a_score_is_played_when_a_sound_is_wanted(tmp_path: Path) -> None:
    pytest.importorskip("symusic")
    from miaobi.core.types import Media, Modality, Request
    from miaobi.data.sounds import decode
    from miaobi.engine import convert
    from miaobi.engine.generate import assembled
    from miaobi.trust.verify import verify

    notes = bytes.fromhex("4d546864000000060000000100604d54726b0000000c00903c4060803c4000ff2f00")
    score = Media(modality=Modality.MUSIC, mime="audio/midi", data=notes)
    content = assembled((score,), (), app="test", request=Request.of("x", seed=1))
    convert.write(content, tmp_path / "a.wav")
    sound = decode((tmp_path / "a.wav").read_bytes())
    assert 0.3 < sound.seconds < 10
    assert abs(sound.samples).max() > 0.05
    assert verify(tmp_path / "a.wav").good
    assert label.read(tmp_path / "a.wav").content_sha256 == content.label.content_sha256
    convert.write(content, tmp_path / "a.musicxml")
    assert verify(tmp_path / "a.musicxml").good
    assert b"<step>C</step>" in (tmp_path / "a.musicxml").read_bytes()
