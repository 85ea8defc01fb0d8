"""A text read aloud into one file: times, chapters, labels; interrupted and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from miaobi.apps.common.redone import again
from miaobi.apps.narrate.run import run
from miaobi.apps.narrate.schema import Inputs
from miaobi.core.apps import Desk
from miaobi.core.errors import Unreadable, UsageError, unknown
from miaobi.core.schema import Schema
from miaobi.core.types import Card, Chunk, Content, Done, Media, Modality, Piece, Request, Verb
from miaobi.data import sounds, subtitles
from miaobi.data.sounds import Sound
from miaobi.engine import generate
from miaobi.trust import label, rhythm, wav
from miaobi.trust.safety import Refused
from miaobi.trust.verify import verify

RATE = 8000
BOOK = """Before all.

# One

First sentence here. Second sentence there.

第二段是中文的，有一句话。

# Two

Last words.
"""


class Options(Schema):
    """Who reads."""

    voice: str = ""
    speed: float = 1.0


class Reader:
    """A model that hums a text: fifty milliseconds a letter, higher for Chinese; it cannot read Russian."""

    card = Card(family="reader", name="reader", outputs=frozenset({Modality.AUDIO}), verbs=frozenset({Verb.GENERATE}), source="ab12")

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        options = Options.model_validate(dict(request.options))
        if options.voice not in ("", "deep", "high"):
            raise unknown("voice", options.voice, ["deep", "high"])
        text = "".join(letter for letter in request.prompt if not "а" <= letter.casefold() <= "я")
        if not any(map(str.isalnum, text)):
            raise Unreadable("there is nothing to say: the prompt has no words")
        count = round(0.05 * RATE * len(text) / options.speed)
        voice = options.voice or ("high" if any("\u4e00" <= letter <= "\u9fff" for letter in text) else "deep")
        samples = 0.2 * np.sin(2 * np.pi * {"deep": 200, "high": 400}[voice] * np.arange(count) / RATE)
        data = sounds.encode(Sound(samples.astype(np.float32), RATE))
        yield Piece(part=Media(modality=Modality.AUDIO, mime="audio/wav", data=data))
        unread = "".join(sorted(set(request.prompt) - set(text)))
        yield Done(notes={"voice": voice, "sentences": [[text, 0.0, count / RATE]]} | ({"unread": unread} if unread else {}))


class Loaded:
    """The model as an app is handed it, and the texts that it was asked to read; after `most` of them somebody presses Ctrl-C."""

    def __init__(self, most: int = 1000) -> None:
        self.card, self.asked, self.most = Reader.card, list[tuple[str, str]](), most

    def generate(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> list[Content]:
        if len(self.asked) == self.most:
            raise KeyboardInterrupt
        self.asked.append((prompt, str(options.get("voice", ""))))
        return generate.collect(Reader(), Request.of(prompt, seed=seed or 0, **options), schema=Options)

    def stream(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> Iterator[Chunk | Content]:
        return generate.run(Reader(), Request.of(prompt, seed=seed or 0, **options), schema=Options)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small book in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_LANG", "en")
    path = tmp_path / "book.md"
    path.write_text(BOOK, encoding="utf-8")
    return path


def narrate(book: Path, out: Path, model: Loaded | None = None, **inputs: Any) -> tuple[dict[str, Any], list[str]]:
    """What the app tells of what it made, and its news."""
    told: list[str] = []
    reader = model or Loaded()
    desk = Desk(load=lambda name: reader, news=lambda template, **values: told.append(template.format(**values)))
    return dict(run(Inputs(file=str(book), **inputs), out, desk)), told


def test_everything_is_heard_at_its_time(book: Path, tmp_path: Path) -> None:
    model = Loaded()
    made, _ = narrate(book, tmp_path / "book.wav", model, pause=1.0)
    texts = [text for text, _ in model.asked]
    assert texts == [
        "Before all.",
        "One",
        "First sentence here. Second sentence there.",
        "第二段是中文的，有一句话。",
        "Two",
        "Last words.",
    ]
    assert {voice for _, voice in model.asked[1:]} == {"deep"}, "an English book has one reader, whatever it quotes"
    sound = sounds.decode((tmp_path / "book.wav").read_bytes())
    spoken = sum(len(text) * 0.05 for text in texts)
    assert sound.seconds == pytest.approx(made["seconds"], abs=1e-3)
    assert sound.seconds == pytest.approx(rhythm.SECONDS + spoken + 2.0 * 4 + 1.0, abs=0.01)
    assert rhythm.heard(sound.samples, sound.rate)
    cues = subtitles.parse((tmp_path / "book.srt").read_text(encoding="utf-8"))
    assert cues == subtitles.parse((tmp_path / "book.vtt").read_text(encoding="utf-8"))
    last = next(cue for cue in cues if cue.text == "Last words.")
    assert np.abs(sound.between(last.start - 1.9, last.start - 0.1).samples).max() == 0
    assert np.abs(sound.between(last.start, last.start + 0.1).samples).max() > 0.15


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".ogg", ".m4a"])
def test_every_format_has_chapters_and_a_label(book: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"book{suffix}"
    made, _ = narrate(book, out)
    assert [chapter["title"] for chapter in made["chapters"]] == ["book", "One", "Two"]
    assert made["chapters"][0]["start"] == 0
    if suffix == ".wav":
        (cue,) = wav.bodies(out.read_bytes(), b"cue ")
        places = np.frombuffer(cue[4:], "<u4").reshape(-1, 6)
        assert [place / RATE for place in places[:, 5]] == pytest.approx([chapter["start"] for chapter in made["chapters"]], abs=1e-3)
        assert b"One\0" in wav.bodies(out.read_bytes(), b"LIST")[0]
    else:
        import av

        with av.open(str(out)) as container:
            told = sorted(container.chapters(), key=lambda chapter: chapter["start"])  # those of ID3 have their order in a table
        found = [(each["metadata"]["title"], float(each["start"] * (each["time_base"] or 1))) for each in told]
        assert [title for title, _ in found] == ["book", "One", "Two"]
        assert [start for _, start in found] == pytest.approx([chapter["start"] for chapter in made["chapters"]], abs=2e-3)
    verdict = verify(out)
    assert verdict.good, verdict.problems
    assert verdict.label is not None
    assert verdict.label.model == "narrate"
    assert [title for title, _ in verdict.label.notes["chapters"]] == ["book", "One", "Two"]
    assert sounds.decode(out.read_bytes()).seconds == pytest.approx(made["seconds"], abs=0.06)
    assert not list(tmp_path.glob("*.parts"))


def test_it_goes_on_where_it_was_interrupted(book: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.flac", tmp_path / "book.flac"
    narrate(book, whole)
    with pytest.raises(KeyboardInterrupt):
        narrate(book, out, Loaded(most=3))
    assert not out.exists()
    assert (tmp_path / "book.flac.parts").is_dir()
    model = Loaded()
    _, told = narrate(book, out, model)
    assert [text for text, _ in model.asked] == ["第二段是中文的，有一句话。", "Two", "Last words."]
    assert told == ["going on: 3 of 6 passages are there already"]
    assert label.read(out).content_sha256 == label.read(whole).content_sha256
    assert not (tmp_path / "book.flac.parts").exists()


def test_another_voice_is_read_anew(book: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        narrate(book, tmp_path / "book.wav", Loaded(most=3))
    model = Loaded()
    narrate(book, tmp_path / "book.wav", model, voice="high", speed=2)
    assert [voice for _, voice in model.asked] == ["high"] * 6


def test_what_nobody_can_read_is_left_out_and_told(book: Path, tmp_path: Path) -> None:
    book.write_text("Hello.\n\nПривет.\n\nGood day Мир.", encoding="utf-8")
    made, told = narrate(book, tmp_path / "book.wav")
    assert made["passages"] == 2
    assert set(made["unread"]) == set("ПриветМ")
    assert label.read(tmp_path / "book.wav").notes["unread"] == made["unread"]
    assert told[0].startswith("left out, since this voice cannot read it: ")
    book.write_text("Привет.", encoding="utf-8")
    with pytest.raises(UsageError, match=r"nothing in .*book\.md to read"):
        narrate(book, tmp_path / "other.wav")


def test_mistakes_are_told_before_anything_is_read(book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Loaded()
    with pytest.raises(UsageError, match="unknown sound format"):
        narrate(book, tmp_path / "book.aiff", model)
    words = tmp_path / "words.tsv"
    words.write_text("secret\tblock\tquagga\n", encoding="utf-8")
    monkeypatch.setenv("MIAOBI_WORDLIST", str(words))
    book.write_text("Good.\n\nA quagga.", encoding="utf-8")
    with pytest.raises(Refused, match="secret"):
        narrate(book, tmp_path / "book.wav", model)
    assert not model.asked
    book.write_text("Good.", encoding="utf-8")
    with pytest.raises(UsageError, match=r"unknown voice 'dep'.*deep"):
        narrate(book, tmp_path / "book.wav", model, voice="dep")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".parts"] == []


def test_it_is_made_again_from_its_label(book: Path, tmp_path: Path) -> None:
    out = tmp_path / "book.ogg"
    narrate(book, out, mark="none", subtitles="none")
    desk = Desk(load=lambda name: Loaded())
    assert again(label.read(out), out, desk).identical
    book.write_text(BOOK + "More.", encoding="utf-8")
    with pytest.raises(UsageError, match=r"another book\.md"):
        again(label.read(out), out, desk)
