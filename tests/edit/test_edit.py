"""Films that exist: cuts, silences, highlights, new voices, words and captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

pytest.importorskip("av")

from miaobi.apps.common import redone
from miaobi.apps.edit import describe, dub, highlight, pieces, subtitle, trim
from miaobi.apps.edit.pieces import Stretch
from miaobi.apps.edit.schema import Describe, Dub, Highlight, Subtitle
from miaobi.apps.edit.shots import places_of
from miaobi.cli.main import main
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError, UsageError
from miaobi.core.language import set_language
from miaobi.core.types import Chunk, Content, Done, Media, Modality, Piece, Request
from miaobi.data import pictures, sounds, videos
from miaobi.data.recordings import Recording
from miaobi.data.sounds import Sound
from miaobi.engine import generate
from miaobi.trust import label
from miaobi.trust.verify import verify

FPS, RATE = 8, 16_000
SRT = """1
00:00:00,200 --> 00:00:01,200
静静的夜里

2
00:00:02,200 --> 00:00:03,500
Now it runs!

3
00:00:04,500 --> 00:00:05,600
它慢慢走远
"""


def heard(*spans: tuple[float, float, float], seconds: float = 6.0) -> Sound:
    """A tone at these levels from when to when, and a little noise all the time."""
    times = np.arange(round(seconds * RATE)) / RATE
    level = np.zeros_like(times)
    for start, end, loud in spans:
        level[(times >= start) & (times < end)] = loud
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(times))
    return Sound((level * np.sin(2 * np.pi * 330 * times) + noise).astype(np.float32), RATE)


@pytest.fixture(scope="module")
def shots() -> bytes:
    """Three shots of two seconds: one stands still, one runs and is loud, one creeps."""
    frames = np.zeros((6 * FPS, 48, 64, 3), np.uint8)
    for number in range(len(frames)):
        shot, at = divmod(number, 2 * FPS)
        frames[number] = ((30, 60, 120), (150, 40, 40), (60, 150, 60))[shot]
        left = (20, (at * 13) % 50, at)[shot]
        frames[number, 16:32, left : left + 12] = (240, 230, 200)
    sound = heard((0.2, 1.2, 0.1), (2.1, 3.8, 0.5), (4.6, 5.7, 0.2))
    return videos.encode(videos.Clip(frames, float(FPS), sound), "video/mp4")


@pytest.fixture
def folder(tmp_path: Path, shots: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    set_language("en")
    Path("shots.mp4").write_bytes(shots)
    Path("words.srt").write_text(SRT, encoding="utf-8")
    return tmp_path


class Reader:
    """Reads a letter in a tenth of a second at speed 1, as a tone."""

    def __init__(self) -> None:
        from miaobi.core.families import family

        self.card = type(
            "Card", (), {"family": "kokoro", "name": "reader", "source": "", "runtime": "", "outputs": family("kokoro").outputs}
        )

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        seconds = 0.1 * len(request.prompt) / request.options["speed"]
        tone = heard((0, seconds, 0.3), seconds=seconds)
        yield Piece(part=Media(modality=Modality.AUDIO, mime="audio/wav", data=sounds.encode(tone)))
        yield Done()


class Loaded:
    """A model as `miaobi.load` gives it."""

    def __init__(self, model: Any) -> None:
        self.model, self.card = model, model.card

    def generate(self, prompt: str = "", *, n: int = 1, seed: int | None = None, image: Any = None, **options: Any) -> list[Content]:
        given = (Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(image)),) if image is not None else ()
        return generate.collect(self.model, Request.of((prompt, *given), seed=seed or 0, **options))


class Describer:
    """Says which colour a picture has most of."""

    def __init__(self) -> None:
        self.card = type("Card", (), {"family": "caption", "name": "describer", "source": "abc", "runtime": "", "outputs": {Modality.TEXT}})

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        (picture,) = (part for part in request.turns[0].parts if isinstance(part, Media))
        red, green, blue = pictures.decode(picture.data)[..., :3].mean(axis=(0, 1))
        words = {"zh": {red: "红", green: "绿", blue: "蓝"}, "en": {red: "red", green: "green", blue: "blue"}}
        yield Piece(part=words[request.options["language"]][max(red, green, blue)])
        yield Done()


class Ears(Loaded):
    """Hears two sentences in whatever language it is said to be, and puts them into English."""

    def __init__(self, language: str) -> None:
        outputs = frozenset({Modality.TEXT})
        self.language, self.model = language, self
        self.card = type("Card", (), {"family": "whisper", "name": "ears", "source": "e", "runtime": "", "outputs": outputs})

    def stream(self, prompt: str = "", *, sound: Media, **options: Any) -> Iterator[Chunk | Content]:
        request = Request.of((prompt, sound), task=options["task"], beams=1)
        yield from generate.run(self, request)  # type: ignore[arg-type]

    def generate(self, request: Request, /) -> Iterator[Chunk]:  # type: ignore[override]
        assert request.options["task"] == "translate"
        yield Piece(part="it runs\nit goes\n")
        yield Done(notes={"language": self.language, "sentences": [("it runs", 0.2, 1.2), ("it goes", 2.2, 3.5)]})


@pytest.fixture
def desk() -> Desk:
    return Desk(load=lambda name: Loaded(Describer() if name == "describer" else Reader()))  # type: ignore[arg-type,return-value]


def test_cuts_are_found_to_the_frame(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scenedetect")
    assert main(["edit", "cuts", "shots.mp4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(shot["start"], shot["end"]) for shot in told["shots"]] == [(0, 2), (2, 4), (4, 6)]
    assert json.loads((folder / "shots.cuts.json").read_text(encoding="utf-8"))["shots"] == told["shots"]


def test_no_shot_is_shorter_than_asked_the_last_one_neither() -> None:
    assert places_of([50, 20, 97], 100, least=5) == [0, 20, 50, 100]
    assert places_of([3, 20, 22], 40, least=5) == [0, 20, 40]
    assert places_of([], 1, least=5) == [0, 1]


def test_silences_are_taken_out_of_films_and_pictures_and_sound_stay_together(folder: Path) -> None:
    assert main(["edit", "trim", "shots.mp4", "--longer", "0.5", "--leave", "0.2", "-q"]) == 0
    clip = videos.decode(folder / "shots.trim.mp4")
    assert clip.sound is not None
    assert clip.seconds == pytest.approx(4.7, abs=0.3)  # 6 s without most of two silences of 0.9 and 0.8 s
    assert clip.sound.seconds == pytest.approx(clip.seconds, abs=0.05)
    kept = trim.audible(Recording.of_sound(heard((0.2, 1.2, 0.1), (2.1, 3.8, 0.5), (4.6, 5.7, 0.2))), below=30, longer=0.5, leave=0.2)
    assert [(each.start, each.end) for each in kept] == [
        (0, pytest.approx(1.3, abs=0.03)),
        (pytest.approx(2.0, abs=0.03), pytest.approx(3.9, abs=0.03)),
        (pytest.approx(4.5, abs=0.03), 6.0),
    ]


def test_short_pauses_stay_and_nothing_but_silence_is_refused(folder: Path) -> None:
    sound = heard((0.2, 1.0, 0.3), (1.4, 2.0, 0.3), seconds=2.2)
    assert trim.audible(Recording.of_sound(sound), below=30, longer=0.7, leave=0.2) == [Stretch(0, 2.2)]
    (folder / "nothing.wav").write_bytes(sounds.encode(Sound(np.zeros(RATE, np.float32), RATE)))
    assert main(["edit", "trim", "nothing.wav", "--out", "out.wav"]) == 3
    assert not (folder / "out.wav").exists()


def test_a_sound_is_cut_as_it_is_played() -> None:
    whole = heard((0.0, 3.0, 0.5), seconds=3.0)
    cut = pieces.sound_in(Recording.of_sound(whole), [Stretch(0.5, 1.0), Stretch(1.0, 1.25), Stretch(2.9, 3.5)])
    made = cut.whole().samples[:, 0]
    assert len(made) == cut.length == round((0.5 + 0.25 + 0.6) * RATE)
    ramp = np.linspace(0, 1, 96, dtype=np.float32)  # six milliseconds
    for first, start, count in ((0, 8000, 8000), (8000, 16000, 4000)):
        wanted = whole.samples[start : start + count, 0].copy()
        wanted[:96] *= ramp
        wanted[-96:] *= ramp[::-1]
        np.testing.assert_array_equal(made[first : first + count], wanted)
    assert not made[12000 + 1600 :].any(), "silence behind its end"


def test_a_highlight_is_as_long_as_wanted_and_takes_what_moves_and_is_loud(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scenedetect")
    assert main(["edit", "highlight", "shots.mp4", "--seconds", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(moment["start"], moment["end"]) for moment in told["moments"]] == [(2, 4)]
    assert videos.decode(folder / "shots.highlight.mp4").seconds == pytest.approx(2)
    assert (
        main(
            ["edit", "highlight", "shots.mp4", "--seconds", "3", "--text", "慢慢走", "--transcript", "words.srt", "--match", "5", "--json"]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (4, 6) in [(moment["start"], moment["end"]) for moment in told["moments"]]
    assert told["seconds"] == 3


def test_ranks_share_places_and_choosing_fills_the_time() -> None:
    assert highlight.rank(np.array([3.0, 1.0, 1.0])).tolist() == [1.0, 0.25, 0.25]
    pieces = [Stretch(0, 4), Stretch(4, 8), Stretch(8, 12)]
    assert highlight.choose(pieces, np.array([0.1, 0.9, 0.5]), 6) == [Stretch(4, 8), Stretch(8, 10)]
    assert highlight.choose(pieces, np.array([0.9, 0.1, 0.1]), 100) == pieces
    assert highlight.pairs("The Moon!") == {"th", "he", "mo", "oo", "on"}


def test_words_alone_are_looked_for_by_the_scorer_that_ships(folder: Path) -> None:
    asked: list[str] = []

    def load(name: str) -> NoReturn:
        asked.append(name)
        raise UsageError("no more is wanted")

    with pytest.raises(UsageError, match="no more is wanted"):
        highlight.run(Highlight(file="shots.mp4", text="月"), folder / "out.mp4", Desk(load=load))
    assert asked == ["scorer"]


def test_a_dub_reads_in_time_faster_where_it_has_to_and_copies_the_pictures(folder: Path, desk: Desk) -> None:
    (folder / "new.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,200\nfive5\n\n2\n00:00:02,000 --> 00:00:03,500\nfour words fit not\n\n"
        "3\n00:00:03,600 --> 00:00:05,000\nend.\n",
        encoding="utf-8",
    )
    told = dub.run(Dub(file="shots.mp4", transcript="new.srt"), folder / "out.mp4", desk)
    rows = told["lines"]
    assert [row["start"] for row in rows] == [0.2, 2.0, 3.6]
    assert rows[0]["speed"] == 1.0
    assert 1.2 < rows[1]["speed"] <= 1.35
    assert rows[1]["end"] <= 3.6
    before, after = (videos.decode(folder / name) for name in ("shots.mp4", "out.mp4"))
    assert np.array_equal(before.frames, after.frames)
    assert after.sound is not None
    assert after.sound.seconds == pytest.approx(6, abs=0.1)
    spoken = after.sound.between(0.3, 0.6).samples
    assert float((spoken**2).mean()) > 10 * float((after.sound.between(1.4, 1.9).samples ** 2).mean())
    made = label.read(folder / "out.mp4")
    assert (made.family, made.model) == ("app", "dub")
    assert set(made.options["files"]) == {"shots.mp4", "new.srt"}


def test_a_dub_without_a_transcript_says_what_was_heard_and_writes_it_down(folder: Path, desk: Desk) -> None:
    listening = Desk(load=lambda name: Ears("zh") if name == "ears" else desk.load(name))  # type: ignore[arg-type,return-value]
    told = dub.run(Dub(file="shots.mp4"), folder / "out.mp4", listening)
    assert [row["start"] for row in told["lines"]] == [0.2, 2.2]
    assert [parent.partition(":")[0] for parent in label.read(folder / "out.mp4").parents] == ["ears", "reader", "reader"]
    found = verify(folder / "out.srt")
    assert found.good
    assert found.label is not None
    assert found.label.model == "ears"
    assert dub.run(Dub(file="shots.mp4", transcript="out.srt"), folder / "again.mp4", desk)["lines"] == told["lines"]
    english = Desk(load=lambda name: Ears("en"))  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="in English already"):
        dub.run(Dub(file="shots.mp4"), folder / "no.mp4", english)


def test_a_dub_beyond_the_end_or_without_words_is_refused(folder: Path, desk: Desk) -> None:
    (folder / "late.srt").write_text("1\n00:00:09,000 --> 00:00:10,000\nlate\n", encoding="utf-8")
    with pytest.raises(DataError, match="after the film's end"):
        dub.run(Dub(file="shots.mp4", transcript="late.srt"), folder / "out.mp4", desk)
    (folder / "none.srt").write_text("nothing", encoding="utf-8")
    with pytest.raises(DataError, match=r"none\.srt"):
        dub.run(Dub(file="shots.mp4", transcript="none.srt"), folder / "out.mp4", desk)
    assert not (folder / "out.mp4").exists()


def test_subtitles_are_burnt_in_at_their_times_and_written_beside(folder: Path, desk: Desk) -> None:
    told = subtitle.run(Subtitle(file="shots.mp4", transcript="words.srt", size=0.2), folder / "out.mp4", desk)
    before, after = (videos.decode(folder / name).frames for name in ("shots.mp4", "out.mp4"))
    gap = np.abs(before[:, 30:].astype(int) - after[:, 30:]).max(axis=(1, 2, 3))
    shown = gap > 90
    assert shown[2:9].all()
    assert not shown[11:17].any()
    assert shown[19:27].all()
    assert Path(told["subtitles"][1]).read_text(encoding="utf-8").startswith("WEBVTT")
    assert len(told["cues"]) == 3


def test_an_edit_keeps_the_label_of_what_was_generated_and_invents_none(folder: Path) -> None:
    assert main(["edit", "trim", "shots.mp4", "-q"]) == 0
    with pytest.raises(UsageError, match="no label"):
        label.read(folder / "shots.trim.mp4")
    (folder / "card.yaml").write_text("size: [64, 48]\nfps: 8\nscenes:\n- card: a\n  seconds: 3\neffects: [{effect: drum, at: 0.5}]\n")
    assert main(["render", "card.yaml", "-q"]) == 0
    assert main(["edit", "trim", "card.mp4", "-q"]) == 0
    assert label.read(folder / "card.trim.mp4").model == "trim"
    assert main(["replay", "card.trim.mp4", "-q"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["cut", "shots.mp4"], 2, "Did you mean 'cuts'"),
        (["trim", "nowhere.mp4"], 2, "nowhere.mp4"),
        (["trim", "words.srt"], 3, "neither a film nor a sound"),
        (["trim", "shots.mp4", "--out", "out.avi"], 2, "film format"),
        (["trim", "shots.mp4", "--out", "shots.mp4"], 2, "over itself"),
        (["trim", "shots.mp4", "--belw", "3"], 2, "--below"),
        (["trim", "broken.mp4"], 3, "broken.mp4"),
        (["describe", "shots.mp4"], 2, "--model"),
        (["subtitle", "shots.mp4", "--transcript", "nowhere.srt"], 2, "nowhere.srt"),
    ],
)
def test_mistakes_are_explained(folder: Path, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.mp4").write_bytes((folder / "shots.mp4").read_bytes()[:300])
    assert main(["edit", *words]) == code
    assert told in capsys.readouterr().err


def test_every_shot_gets_a_caption_of_its_own_picture(folder: Path, desk: Desk) -> None:
    pytest.importorskip("scenedetect")
    told = describe.run(Describe(file="shots.mp4", model="describer", language="zh"), folder / "out.srt", desk)
    assert [(shot["start"], shot["caption"]) for shot in told["shots"]] == [(0, "蓝"), (2, "红"), (4, "绿")]
    assert (folder / "out.srt").read_text(encoding="utf-8").splitlines()[:3] == ["1", "00:00:00,000 --> 00:00:02,000", "蓝"]
    written = label.read(folder / "out.srt")
    assert redone.again(written, folder / "out.srt", desk).identical
    assert (written.model, [parent.partition(":")[0] for parent in written.parents]) == ("describe", ["describer"] * 3)
    (folder / "out.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nmine\n", encoding="utf-8")
    assert verify(folder / "out.srt").intact is False
    with pytest.raises(UsageError, match="takes a model of the family caption"):
        describe.run(Describe(file="shots.mp4", model="reader"), folder / "out.srt", desk)
    describe.run(Describe(file="shots.mp4", model="describer"), folder / "out.json", desk)
    made = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert (made["ai_generated"], made["model"], made["shots"][1]["caption"]) == (True, "describer", "red")
    found = verify(folder / "out.json")
    assert found.good
    assert found.label is not None
    assert found.label.model == "describe"


def test_the_visible_words_come_again_when_the_opening_is_cut_away(folder: Path) -> None:
    pytest.importorskip("scenedetect")
    (folder / "two.yaml").write_text(
        "size: [96, 64]\nfps: 8\nmark: zh\nending: cut\nscenes:\n- background: blue\n  seconds: 4\n- background: red\n  seconds: 4\n"
        "effects: [{effect: rain, at: 4}]\n"
    )
    assert main(["render", "two.yaml", "-q"]) == 0
    assert main(["edit", "highlight", "two.mp4", "--seconds", "4", "--motion", "0", "-q"]) == 0
    frames = videos.decode(folder / "two.highlight.mp4").frames
    assert frames[5, 40, 10, 0] > 200  # the scene that is heard
    assert (frames[:20, 2:8, 60:, 1].max(axis=(1, 2)) > 150).all()  # white letters on a dark plate
    assert frames[24:, 2:8, 60:, 1].max() < 60
    assert label.read(folder / "two.highlight.mp4").mark == label.read(folder / "two.mp4").mark != ""
