"""The studio without a browser: generations that outlive their pages, files that are sent, timelines, pairs, languages."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import re
import signal
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient
from PIL import Image

from miaobi.core import families
from miaobi.core.choices import choices_of
from miaobi.core.errors import UsageError
from miaobi.core.language import language, speaking, tr
from miaobi.core.types import Media, Modality, Turn
from miaobi.data.scores import Note, Part, Score
from miaobi.library.queue import State as JobState
from miaobi.library.store import Library, Stored
from miaobi.serve import child
from miaobi.serve.http.plan import Plan
from miaobi.serve.http.settings import Settings
from miaobi.serve.http.state import State
from miaobi.serve.pool import Ask, Pool
from miaobi.studio import cards, finding, judging, pairs, runs, timelines, works
from miaobi.studio.early import Early
from miaobi.studio.frame import spoken
from miaobi.studio.given import Inputs
from miaobi.studio.media import router
from miaobi.studio.roll import picture, times
from miaobi.studio.room import Making, Room

from .conftest import PLUGIN, small_models

CODE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def room(polly: Path, daub: Path, workplace: Path) -> Iterator[Room]:
    """A room over a pool that is not started yet."""
    settings = Settings(workers=1, threads=1)
    library = Library.open()
    yield Room(State(settings, pool=Pool(settings), library=library, plan=Plan(())))
    library.close()


def ask(model: str, prompt: str, **options: object) -> Ask:
    return Ask(model=model, turns=(Turn(role="user", parts=(prompt,)),), options=options, seed=7)


async def made(room: Room, *asks: Ask) -> list[Making]:
    """Everything that is asked, one after the other, in a pool that runs meanwhile."""
    await room.state.pool.start()
    try:
        found = []
        for each in asks:
            making = room.make(each, prompt=str(each.turns[0].parts[0]))
            async for _ in making.watch(every=0.01):
                pass
            found.append(making)
        return found
    finally:
        await room.close()
        await room.state.pool.close()


@dataclasses.dataclass(frozen=True)
class Gallery:
    """A room in which something was made: the processes of its pool began once for all tests that look at it."""

    room: Room
    pair: Making
    wrong: Making
    unknown: Making
    picture: Making
    code: Making

    @property
    def client(self) -> TestClient:
        """Who asks for files."""
        app = FastAPI()
        app.include_router(router(self.room))
        return TestClient(app)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """Two poems, a picture, a text that looks like code, and two mistakes."""
    folder = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        for name, value in (("PYTHONPATH", str(PLUGIN)), ("MIAOBI_HOME", str(folder / "home")), ("MIAOBI_LANG", "en")):
            patch.setenv(name, value)
        patch.chdir(folder)
        families.families.cache_clear()
        small_models(folder / "artifacts")
        settings = Settings(workers=1, threads=1)
        library = Library.open()
        room = Room(State(settings, pool=Pool(settings), library=library, plan=Plan(())))
        asked = (ask("polly", "诗", n=2), ask("polly", "诗", lines=1000), ask("nobody", "诗"), ask("daub", "red"), ask("polly", CODE))
        yield Gallery(room, *asyncio.run(made(room, *asked)))
        library.close()
    families.families.cache_clear()


def test_what_is_made_is_kept_and_mistakes_are_told(gallery: Gallery) -> None:
    room, fine, wrong, unknown = gallery.room, gallery.pair, gallery.wrong, gallery.unknown
    assert len(fine.kept) == 2
    assert not fine.problem
    assert {room.library.get(id).origin for id in fine.kept} == {"studio"}
    assert "lines" in wrong.problem
    assert "nobody" in unknown.problem
    assert [each.over for each in (fine, wrong, unknown)] == [True] * 3


def test_a_generation_outlives_who_looks_on_and_can_be_stopped(room: Room) -> None:
    async def story() -> tuple[Making, Making]:
        await room.state.pool.start()
        first = room.make(ask("polly", "久", lines=100, n=8), prompt="久")
        watched = first.watch(every=0.001)
        await anext(watched)
        await watched.aclose()  # type: ignore[attr-defined]  # the page is closed
        async for _ in first.watch(every=0.01):
            pass
        second = room.make(ask("polly", "止", lines=100, n=500), prompt="止")
        async for now in second.watch(every=0.001):
            if now.kept:
                room.stop(second.id)
        await room.close()
        await room.state.pool.close()
        return first, second

    first, second = asyncio.run(story())
    assert len(first.kept) == 8
    assert second.over
    assert 0 < len(second.kept) < 500


def test_files_are_sent_by_id_and_nothing_else(gallery: Gallery) -> None:
    client, text, id = gallery.client, gallery.pair, gallery.picture.kept[0]
    whole = client.get(f"/studio/content/{id}/0")
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["x-content-type-options"] == "nosniff"
    small = client.get(f"/studio/content/{id}/0?width=64")
    assert Image.open(io.BytesIO(small.content)).format == "WEBP"
    saved = client.get(f"/studio/content/{text.kept[0]}/as.md")
    assert saved.headers["content-disposition"].startswith("attachment")
    assert "诗" in saved.text
    assert "AIGC" in saved.text
    for path in (
        f"content/{id}/9", "content/0000000000000000/0", "content/..%2f..%2fetc/0", f"content/{id}/as.exe", f"content/{id}/0/roll",
        "works/..%2f..%2fetc/passwd", "works/none/manifest.json", "works/%00/x", "runs/none/x.png", "runs/..%2f/x.png", "making/none/1",
    ):  # fmt: skip
        assert client.get(f"/studio/{path}").status_code in (404, 422), path
    assert not client.get("/studio/works/C:/x").is_success


def test_a_page_begins_with_the_script_and_all_else_stays_as_it_is() -> None:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=1)
    app.add_api_route("/page", lambda: HTMLResponse("<html><head><title>x</title></head></html>"))
    app.add_api_route("/data", lambda: {"said": "<head>"})
    client = TestClient(Early(app, "<script>1</script>"))
    page = client.get("/page", headers={"accept": "text/html,*/*"})
    assert page.text == "<html><head><script>1</script><title>x</title></head></html>"
    assert int(page.headers["content-length"]) == len(page.content)
    assert client.get("/data", headers={"accept": "text/html,*/*"}).json() == {"said": "<head>"}
    assert "script" not in client.get("/page").text, "what is not opened as a page is passed on, compressed too"


def test_only_what_a_manifest_names_is_sent_of_a_work(room: Room) -> None:
    folder = room.works / "20261123-moon-aaaa"
    (folder / "parts").mkdir(parents=True)
    (folder / "secret.txt").write_text("mine")
    (folder / "poem.md").write_text("月")
    (folder / "manifest.json").write_text(
        '{"order": {"brief": "moon"}, "parts": {"poem": {"stage": "poem", "files": {"poem.md": "ab", "../x": "cd"}}}}'
    )
    (room.works / "x").write_text("outside")
    found = works.files_of(room, folder.name)
    assert "poem.md" in found
    assert not {"secret.txt", "../x"} & set(found)
    assert works.works(room) == [("moon · 20261123-moon-aaaa", "20261123-moon-aaaa")]
    with pytest.raises(UsageError):
        works.folder_of(room, "../etc")


def test_a_finished_work_has_its_page_in_a_sandbox_and_all_in_one_file(room: Room) -> None:
    folder = room.works / "20261123-moon-bbbb"
    folder.mkdir(parents=True)
    parts = {name.partition(".")[0]: {"stage": name.partition(".")[0], "files": {name: "ab"}} for name in ("index.html", "film.mp4")}
    for name in ("index.html", "film.mp4", "secret.txt"):
        (folder / name).write_text(name)
    (folder / "manifest.json").write_text(json.dumps({"parts": parts}))
    app = FastAPI()
    app.include_router(router(room))
    client = TestClient(app)
    page = client.get(f"/studio/works/{folder.name}/index.html")
    assert page.headers["content-type"].startswith("text/html")
    rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == rules["form-action"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules["script-src"]), "one script, the template's, and no other"
    assert "allow-forms" not in rules["sandbox"]
    whole = client.get(f"/studio/works/{folder.name}/all.zip")
    assert set(zipfile.ZipFile(io.BytesIO(whole.content)).namelist()) == {"index.html", "film.mp4", "manifest.json"}
    links = works.ways(room, folder.name)
    assert all(f"../works/{folder.name}/{name}" in links for name in ("index.html", "film.mp4", "all.zip"))
    assert works.ways(room, "nothing") == ""


def test_a_judgement_changes_its_card_only(gallery: Gallery) -> None:
    room, making = gallery.room, gallery.pair
    one, other = making.kept
    shown = [cards.card(room.library.get(id), better=True) for id in making.kept]
    rated = judging.act(room, shown, {"act": "rate", "id": one, "value": "5"})
    assert rated[1] == shown[1]
    assert room.library.get(one).rating == 5
    assert pairs.pick(room.library) is not None
    chosen = judging.act(room, rated, {"act": "better", "id": other})
    assert "mb-chosen" in chosen[1]["html"]
    assert "mb-chosen" not in chosen[0]["html"]
    assert pairs.pick(room.library) is None
    for what in ({"act": "rate", "id": one, "value": "9"}, {"act": "rate", "id": one, "value": "x"}, {"act": "fly", "id": one}, {}):
        with pytest.raises(UsageError):
            judging.act(room, shown, what)


def test_what_a_model_wrote_is_never_code(gallery: Gallery) -> None:
    code = cards.card(gallery.room.library.get(gallery.code.kept[0]))["html"]
    assert "<img src=x" not in code
    assert "&lt;img src=x" in code


def test_a_handler_speaks_its_page_s_language_at_every_step() -> None:
    async def steps() -> AsyncIterator[str]:
        yield language()
        await asyncio.sleep(0)
        yield tr("seed")

    async def said() -> list[str]:
        return [word async for word in spoken(steps, "zh")()]

    before = language()
    assert asyncio.run(said()) == ["zh", "种子"]
    assert spoken(lambda: tr("seed"), "zh")() == "种子"
    assert list(spoken(lambda: None, "en").__name__) == list("<lambda>")
    assert language() == before


def address(image: Image.Image) -> str:
    """A picture as the page sends it."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def test_a_mask_is_what_was_painted(room: Room) -> None:
    ground, empty = address(Image.new("RGB", (64, 48), "white")), address(Image.new("RGBA", (64, 48), (0, 0, 0, 0)))
    painted = Image.new("RGBA", (128, 96), (0, 0, 0, 0))
    painted.paste((200, 40, 30, 255), (0, 0, 64, 48))
    inputs = Inputs(frozenset({"image", "mask"}), room, {})
    given = inputs.read([{"picture": ground, "mask": address(painted)}])
    mask = Image.open(io.BytesIO(given["mask"]))
    assert mask.size == (64, 48)
    assert (mask.getpixel((5, 5)), mask.getpixel((60, 40))) == (255, 0)
    assert set(inputs.read([{"picture": ground, "mask": empty}])) == {"image"}
    assert inputs.read([None]) == inputs.read([{"picture": "", "mask": address(painted)}]) == {}


def test_a_picture_of_the_library_is_started_from(gallery: Gallery) -> None:
    room, id = gallery.room, gallery.picture.kept[0]
    inputs = Inputs(frozenset({"image", "mask"}), room, {"image": id})
    value = {"picture": f"content/{id}/0", "mask": ""}
    stored = room.library.get(id).parts[0]
    assert isinstance(stored, Stored)
    assert inputs.read([value]) == {"image": room.library.part(stored).data}
    assert inputs.parents([value, None]) == (id,)
    for wrong in (f"content/{id}/9", "content/0000000000000000/0", "data:image/png;base64,%"):
        with pytest.raises(UsageError):
            inputs.read([{"picture": wrong, "mask": ""}])


def test_a_timeline_keeps_what_the_table_does_not_show() -> None:
    text = """version: 1
scenes:
- picture: {model: painter, prompt: moon, seed: 3}
  move: {kind: zoom-in, amount: 0.3}
- card: 中秋
  seconds: 3
music: {file: a.mp3, volume: -4}
"""
    table = timelines.rows(text)
    assert [row[timelines.COLUMNS.index("card")] for row in table] == ["", "中秋"]
    table[0][timelines.COLUMNS.index("move")] = "pan-left"
    table[1][timelines.COLUMNS.index("seconds")] = "4.5"
    table.append(["b.mp4", "", "说话", "", "", "", "fade"])
    values = timelines.parsed(timelines.written(text, table))
    assert values["scenes"][0] == {
        "picture": {"model": "painter", "prompt": "moon", "seed": 3},
        "move": {"kind": "pan-left", "amount": 0.3},
    }
    assert values["scenes"][1] == {"card": "中秋", "seconds": 4.5}
    assert values["scenes"][2] == {"clip": "b.mp4", "narration": "说话", "transition": "fade"}
    assert values["music"] == {"file": "a.mp3", "volume": -4}
    with pytest.raises(UsageError):
        timelines.written(text, [["", "x", "", "", "long", "", ""]])


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("version: 1\nsize: square\nscenes:\n- picture: a.png\n  narration: {text: 月出, voice: x}\n- card: {text: 中秋}\n", "中秋"),
        ("version: 1\nscenes:\n- {picture: a.png, caption: over it}\n- narration: said\n", "over it"),
        ("scenes:\n- picture: {model: painter, prompt: a moon}\n", "a moon"),
        ("scenes:\n- picture: a.png\n", ""),
        ("scenes: 3\n", ""),
        ("雪夜归人", "雪夜归人"),
    ],
)
def test_a_film_is_called_by_its_first_words(text: str, title: str) -> None:
    assert timelines.title_of(text) == title


def test_a_job_speaks_the_language_of_its_page_and_computes_where_the_server_does(room: Room) -> None:
    room.hands.close()  # nobody else takes the job
    with speaking("zh"):
        id = room.enqueue("app", {"app": "film", "inputs": {"timeline": "none.yaml"}, "out": "film.mp4"}, name="x")
    assert room.queue.claim("me") is not None
    before = signal.getsignal(signal.SIGTERM)
    try:
        child.main("", id, "me")
    finally:
        signal.signal(signal.SIGTERM, before)
    job = room.queue.get(id)
    assert job.state is JobState.FAILED
    assert (job.spec["device"], job.spec["threads"]) == ("cpu", 1)
    assert re.search("[\u4e00-\u9fff]", job.error), job.error


def test_the_library_is_searched_by_words_and_says_what_it_lacks(gallery: Gallery) -> None:
    settings = Settings(workers=1, threads=1, models=("polly", "daub"))
    room = Room(State(settings, pool=Pool(settings), library=gallery.room.library, plan=Plan(())))

    async def looked(**wanted: Any) -> tuple[list[str], int | None]:
        kept, total = await asyncio.to_thread(finding.found, room, finding.Wanted(**wanted), 9, asyncio.get_running_loop())
        return [each.id for each in kept], total

    assert asyncio.run(looked(text="诗")) == (gallery.pair.kept[::-1], 2)
    assert asyncio.run(looked())[1] == 4
    for wanted in ({"text": "red", "how": "seen"}, {"picture": f"content/{gallery.picture.kept[0]}/0"}):
        with pytest.raises(UsageError, match="image-text scorer"):
            asyncio.run(looked(**wanted))


@pytest.mark.slow
def test_pictures_are_looked_for_by_a_picture_and_by_words(gallery: Gallery) -> None:
    async def looked(**wanted: Any) -> list[str]:
        kept, total = await asyncio.to_thread(finding.found, gallery.room, finding.Wanted(**wanted), 9, asyncio.get_running_loop())
        assert total is None
        return [each.id for each in kept]

    async def story() -> tuple[str, list[str], list[str], list[str]]:
        await gallery.room.state.pool.start()
        blue = gallery.room.make(ask("daub", "blue"), prompt="blue")
        async for _ in blue.watch(every=0.01):
            pass
        address = f"content/{gallery.picture.kept[0]}/0"
        try:
            return (
                blue.kept[0],
                await looked(picture=address),
                await looked(picture=address, text="blue"),
                await looked(text="x", how="seen"),
            )
        finally:
            await gallery.room.close()
            await gallery.room.state.pool.close()

    blue, alike, narrowed, seen = asyncio.run(story())
    assert set(alike) == set(seen) == {blue, gallery.picture.kept[0]}, "pictures and no texts"
    assert narrowed == [blue]


def test_notes_are_drawn_where_they_sound() -> None:
    score = Score(parts=(Part(notes=(Note(0, 96, 60), Note(96, 96, 72))),), ticks=96, metres=((0, (2, 4)),))
    drawn = picture(score)
    left = drawn.crop((0, 0, drawn.width // 2 - 4, drawn.height)).getbbox()
    assert left is not None
    low, high = drawn.getpixel((drawn.width // 4, drawn.height - 12)), drawn.getpixel((3 * drawn.width // 4, 12))
    assert low[3] > 200  # type: ignore[index]
    assert high[3] > 200  # type: ignore[index]
    assert picture(Score(parts=())).width == drawn.width
    (begin, left_end), (slower, middle), (end, right_end) = times(dataclasses.replace(score, tempos=((0, 120.0), (96, 60.0))))
    assert (begin, slower, end) == (0, 0.5, 1.5), "half a second at 120, a second at 60"
    assert 0 < left_end < middle < right_end < 1
    assert middle == pytest.approx(0.5)


def test_choices_come_from_a_model_s_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"styles": ["flat", "3d"], "width": 3, "heads": [1, 2]}')
    (tmp_path / "voices.safetensors").write_bytes(b"\x22\x00\x00\x00\x00\x00\x00\x00" + b'{"b":{},"a":{},"__metadata__":{} }')
    assert dict(choices_of(tmp_path)) == {"style": ["flat", "3d"], "voice": ["a", "b"]}
    (tmp_path / "config.json").write_text("not json")
    (tmp_path / "voices.safetensors").write_bytes(b"\xff" * 40)
    assert dict(choices_of(tmp_path)) == {}


def test_a_run_is_shown_as_far_as_it_is(room: Room) -> None:
    folder = room.folder / "runs" / "tiny"
    (folder / "samples").mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"kind": "step", "step": 1, "loss": 3.0}\n{"kind": "step", "step": 2, "loss": 2.5}\n{"kind": "st')
    (folder / "samples.jsonl").write_text('{"step": 2, "prompt": "春", "text": "<b>花</b>"}\n{"st')
    assert runs.runs(room) == ["tiny"]
    assert "<svg" in runs.curve(room, "tiny")
    [sample] = runs.samples(room, "tiny")
    assert "&lt;b&gt;花" in sample["html"]
    assert runs.curve(room, "../tiny") == ""
    assert runs.sample_file(room, "tiny", "../log.jsonl") is None


def test_music_is_played_and_drawn(room: Room) -> None:
    from miaobi.core.types import Request
    from miaobi.data.scores import write_midi
    from miaobi.engine.generate import assembled

    score = Score(parts=(Part(notes=(Note(0, 24, 60), Note(24, 24, 64))),))
    part = Media(modality=Modality.MUSIC, mime="audio/midi", data=write_midi(score))
    id = room.library.keep(assembled((part,), [], app="test", request=Request.of("tune")))
    app = FastAPI()
    app.include_router(router(room))
    client = TestClient(app)
    assert Image.open(io.BytesIO(client.get(f"/studio/content/{id}/0/roll").content)).format == "PNG"
    assert client.get(f"/studio/content/{id}/0").headers["content-disposition"].startswith("attachment")
    assert f"../content/{id}/0/roll" in cards.card(room.library.get(id))["html"]


def test_a_form_writes_into_its_section_only() -> None:
    from miaobi.core.recipe import Recipe
    from miaobi.core.recipe import Train as TrainSection
    from miaobi.models.ngram.schema import Config
    from miaobi.studio import forms
    from miaobi.studio.pages.train import kind_of, parsed, written

    text = "name: a\nmodel: {family: ngram, config: {order: 3}}\ntrain: {steps: 5, batch: 4}\ngenerate: {prompts: [春]}\n"
    found = parsed(written(text, "train", forms.fields_of(TrainSection), {"steps": 9}))
    assert found == {**parsed(text), "train": {"steps": 9}}
    found = parsed(written(text, "model", forms.fields_of(Config), {"order": 4}))
    assert found == {**parsed(text), "model": {"family": "ngram", "config": {"order": 4}}}
    assert kind_of(Recipe.of(parsed(text))) == "train"
    assert kind_of(Recipe.of({"name": "b", "model": {"base": "poet"}, "adapt": {}})) == "adapt"
    for wrong in ("just words", "a: [", "- list"):
        with pytest.raises(UsageError):
            parsed(wrong)


@pytest.mark.parametrize("source", ["/etc", "../model", "http://127.0.0.1/x#y", "file:///etc", ""])
def test_a_page_makes_nothing_of_paths_and_addresses(room: Room, source: str) -> None:
    from miaobi.studio.pages.models import Models

    with pytest.raises(UsageError, match="hf:"):
        next(Models(room, "en")._pull(source))
