"""The routes of media, files, batches and jobs, asked by OpenAI's own client over a real server."""

from __future__ import annotations

import base64
import http.client
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from tests.media.conftest import Serving

from miaobi.data import pictures, sounds
from miaobi.trust import tags
from miaobi.trust.verify import verify

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # OpenAI gives up some routes that others keep

PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="session")
def client(serving: Serving) -> Any:
    """OpenAI's client."""
    return openai.OpenAI(base_url=serving.url, api_key=serving.key, max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def stranger(serving: Serving) -> Any:
    """The client of somebody with another key."""
    return openai.OpenAI(base_url=serving.url, api_key=serving.other, max_retries=0, timeout=60)


def post(client: Any, path: str, **body: Any) -> Any:
    """A route that OpenAI does not have."""
    return client.post(path, body=body, cast_to=object)


def fetch(serving: Serving, path: str, body: Any = None) -> tuple[int, bytes]:
    """The status and the bytes of a path that is sent as it is written; with a body it is a POST."""
    host = urlsplit(serving.url)
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {serving.key}", **({"Content-Type": "application/json"} if body else {})}
        connection.request("POST" if body else "GET", f"{host.path}{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait(look: Callable[[], Any], over: Callable[[Any], bool]) -> Any:
    """Look until it is over."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not over(found := look()):
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found


def is_labelled(data: bytes, path: Path) -> bool:
    """Whether a file of these bytes has a good label."""
    path.write_bytes(data)
    return verify(path).good


def drawn(client: Any, **more: Any) -> bytes:
    """One picture of daub's."""
    made = client.images.generate(model="daub", prompt="red", extra_body={"seed": 3, **more})
    return base64.b64decode(made.data[0].b64_json)


# ---------------------------------------------------------------- pictures


def test_pictures_are_labelled_in_every_format(client: Any, tmp_path: Path) -> None:
    made = client.images.generate(model="daub", prompt="red", n=2, size="32x32", extra_body={"seed": 3, "options": {"steps": 2}})
    first, second = (base64.b64decode(one.b64_json) for one in made.data)
    assert first != second
    assert pictures.decode(first).shape[:2] == (32, 32)
    assert made.aigc["Label"] == made.data[0].aigc["Label"] == "1"
    assert [(one.label["seed"], one.label["index"]) for one in made.data] == [(3, 0), (3, 1)]
    for format in ("png", "jpeg", "webp"):
        one = client.images.generate(model="daub", prompt="red", output_format=format, response_format="url", extra_body={"seed": 3})
        head, data = one.data[0].url.split(",")
        assert head == f"data:image/{format};base64"
        assert is_labelled(base64.b64decode(data), tmp_path / f"x.{'jpg' if format == 'jpeg' else format}")


def test_the_same_seed_gives_the_same_picture(client: Any) -> None:
    pixels = [pictures.decode(drawn(client, options={"steps": 3})) for _ in range(2)]
    assert np.array_equal(*pixels)


def test_a_mask_is_openais_transparent_or_our_white(client: Any) -> None:
    image = drawn(client)
    ours = np.zeros((24, 24, 3), np.uint8)
    ours[:, 12:] = 255
    theirs = np.full((24, 24, 4), 255, np.uint8)
    theirs[:, 12:, 3] = 0
    before = pictures.decode(image)
    results = []
    for mask in (ours, theirs):
        files = {"image": ("i.png", image, "image/png"), "mask": ("m.png", pictures.encode(mask), "image/png")}
        made = client.images.edit(model="daub", prompt="x", **files, extra_body={"seed": 9, "options": {"steps": 20}})
        results.append(pictures.decode(base64.b64decode(made.data[0].b64_json)))
        assert made.data[0].label["parents"][0].startswith("image:")
    assert np.array_equal(*results)
    assert np.array_equal(results[0][:, :12], before[:, :12])
    assert not np.array_equal(results[0][:, 12:], before[:, 12:])


def test_variations_begin_with_the_picture(client: Any) -> None:
    image = drawn(client, options={"size": 40})
    made = client.images.create_variation(model="daub", image=("i.png", image, "image/png"), extra_body={"seed": 1})
    assert pictures.decode(base64.b64decode(made.data[0].b64_json)).shape[:2] == (40, 40)


def test_pictures_are_streamed(client: Any) -> None:
    chosen = {"seed": 3, "options": {"steps": 6}}
    events = list(client.images.generate(model="daub", prompt="red", stream=True, partial_images=2, extra_body=chosen))
    assert [event.type.rpartition(".")[2] for event in events] == ["partial_image", "partial_image", "completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert events[0].aigc["Label"] == events[-1].aigc["Label"] == "1"
    whole = pictures.decode(base64.b64decode(events[-1].b64_json))
    assert np.array_equal(whole, pictures.decode(drawn(client, options={"steps": 6})))


def test_what_is_kept_is_in_the_library(client: Any, serving: Serving) -> None:
    from miaobi.library.store import Library

    made = client.images.generate(model="daub", prompt="kept", extra_body={"seed": 3, "keep": True})
    library = Library.open(serving.home / "library")
    kept = library.get(made.data[0].library_id)
    library.close()
    assert (kept.label.prompt, kept.origin) == ("kept", "serve")
    assert not hasattr(client.images.generate(model="daub", prompt="kept").data[0], "library_id")


WRONG_PICTURES: list[tuple[int, str, dict[str, Any]]] = [
    (404, "model", {"model": "../daub"}),
    (400, "model", {"model": "poet"}),
    (400, "size", {"size": "12x30"}),
    (400, "size", {"size": "99999x99999"}),
    (400, "size", {"size": "big"}),
    (400, "n", {"n": 10**9}),
    (400, "style", {"extra_body": {"style": "ink"}}),
    (400, "steps", {"extra_body": {"options": {"steps": 10**9}}}),
    (400, "steps", {"extra_body": {"options": {"steps": True}}}),
    (400, "seed", {"extra_body": {"options": {"seed": 1}}}),
    (400, "n", {"extra_body": {"options": {"n": 2}}}),
    (400, "wrong", {"extra_body": {"wrong": 1}}),
    (400, "n", {"n": 2, "stream": True}),
    (400, "seed", {"extra_body": {"seed": -1}}),
]


@pytest.mark.parametrize(("status", "names", "words"), WRONG_PICTURES)
def test_wrong_requests_for_pictures(client: Any, status: int, names: str, words: dict[str, Any]) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(**{"model": "daub", "prompt": "x", **words})
    assert caught.value.status_code == status
    assert names in (caught.value.body["param"] or "") + caught.value.body["message"]


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1"])
def test_what_is_no_picture_is_refused_at_once(client: Any, data: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(openai.BadRequestError):
        client.images.edit(model="daub", prompt="x", image=("x.png", data, "image/png"))
    assert time.monotonic() - began < 5


# ---------------------------------------------------------------- sounds


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac"])
def test_a_sound_is_sent_whole_with_its_label(client: Any, format: str, tmp_path: Path) -> None:
    chosen = {"seed": 1, "options": {"seconds": 0.5, "loudness": -23}}
    made = client.audio.speech.create(model="effects", voice="", input="rain", response_format=format, extra_body=chosen)
    assert is_labelled(made.content, tmp_path / f"x.{format}")
    assert json.loads(made.response.headers["x-aigc"])["Label"] == "1"
    assert sounds.decode(made.content).seconds == pytest.approx(0.5, abs=0.06)


def test_bare_samples(client: Any) -> None:
    chosen = {"seed": 1, "options": {"seconds": 0.5, "rate": 24000}}
    made = client.audio.speech.create(model="effects", voice="", input="rain", response_format="pcm", extra_body=chosen)
    assert len(made.content) == 2 * 12_000
    assert np.frombuffer(made.content, "<i2").any()


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac"])
def test_sentences_are_sent_as_they_are_spoken(client: Any, format: str) -> None:
    text = "The rain falls all night. The wind blows all day. A bell rings."
    chosen = {"seed": 1, "stream_format": "audio", "options": {"seconds": 0.5}}
    with client.audio.speech.with_streaming_response.create(
        model="effects", voice="", input=text, response_format=format, extra_body=chosen
    ) as answer:
        pieces = list(answer.iter_bytes())
    data = b"".join(pieces)
    mime = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac"}[format]
    assert json.loads(tags.read(data, mime)["AIGC"][0])["Label"] == "1"
    assert sounds.decode(data).seconds == pytest.approx(3 * 0.5 + 2 * 0.3, abs=0.15)
    assert format != "wav" or len(pieces) >= 3


def test_speech_as_events(serving: Serving) -> None:
    body = {"model": "effects", "input": "rain", "stream_format": "sse", "response_format": "pcm", "options": {"seconds": 0.5}, "voice": ""}
    status, answer = fetch(serving, "/audio/speech", body)
    assert status == 200
    events = [json.loads(line[6:]) for line in answer.decode().splitlines() if line.startswith("data: {")]
    assert events[0]["aigc"]["Label"] == events[-1]["aigc"]["Label"] == "1"
    assert events[-1]["type"] == "speech.audio.done"
    assert len(b"".join(base64.b64decode(event["audio"]) for event in events[:-1])) > 1000


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, {"speed": 2.0}),
        (400, {"extra_body": {"options": {"n": 2}}}),
        (400, {"extra_body": {"options": {"seed": 2}}}),
        (400, {"extra_body": {"options": {"model": "x", "turns": []}}}),
        (400, {"input": ""}),
        (400, {"response_format": "aac"}),
        (400, {"input": "nothing that makes a sound"}),
        (404, {"model": "tts-1"}),
        (400, {"model": "daub"}),
    ],
)
def test_wrong_requests_for_speech(client: Any, status: int, words: dict[str, Any]) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.speech.create(**{"model": "effects", "voice": "", "input": "rain", **words})
    assert caught.value.status_code == status


@pytest.mark.slow
def test_what_is_said_is_heard(client: Any) -> None:
    chosen = {"model": "narrator", "voice": "alloy", "input": "The moon is out tonight.", "response_format": "wav"}  # a voice of OpenAI's
    said = client.audio.speech.create(**chosen).content
    heard = client.audio.transcriptions.create(model="ears", file=("x.wav", said), response_format="verbose_json", language="en",
                                               timestamp_granularities=["word"])  # fmt: skip
    assert "moon" in heard.text.lower()
    assert heard.words[0].end <= heard.duration
    assert "-->" in client.audio.transcriptions.create(model="ears", file=("x.wav", said), response_format="srt")
    events = list(client.audio.transcriptions.create(model="ears", file=("x.wav", said), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text.strip() == "".join(event.delta for event in events[:-1]).strip()


def test_what_is_no_sound_is_refused(client: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model="ears", file=("x.wav", b"RIFF\0\0\0\0WAVE"))


# ---------------------------------------------------------------- music


def test_a_tune_as_a_score_and_as_it_sounds(client: Any, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"model": "composer", "prompt": "moon", "seed": 1, "options": {"bars": 4, "candidates": 1}}
    made = post(client, "/music/generations", **chosen)
    score = base64.b64decode(made["data"][0]["b64_json"])
    assert score.startswith(b"MThd")
    assert made["data"][0]["aigc"]["Label"] == "1"
    again = post(client, "/music/generations", **chosen, output_format="flac")
    sound = base64.b64decode(again["data"][0]["b64_json"])
    assert is_labelled(sound, tmp_path / "x.flac")
    assert again["data"][0]["label"]["content_sha256"] == made["data"][0]["label"]["content_sha256"]
    url = "data:audio/midi;base64," + base64.b64encode(score).decode()
    longer = chosen | {"options": {"bars": 8, "candidates": 1}}
    more = post(client, "/music/generations", **longer, music=url, response_format="url", output_format="musicxml")
    assert more["data"][0]["url"].startswith("data:application/vnd.recordare.musicxml+xml;base64,")
    assert more["data"][0]["label"]["parents"][0].startswith("music:")
    for wrong in ({"music": "http://127.0.0.1/x.mid"}, {"music": "data:audio/midi;base64,AAAA"}, {"n": 2, "response_format": "file"}):
        with pytest.raises(openai.BadRequestError):
            post(client, "/music/generations", **{**chosen, **wrong})


# ---------------------------------------------------------------- files and batches


def test_a_file_is_its_owners_alone(client: Any, stranger: Any) -> None:
    file = client.files.create(file=("../../a b.html", b"<script>1</script>"), purpose="user_data")
    assert (file.filename, file.bytes, file.purpose) == ("a b.html", 18, "user_data")
    answer = client.files.content(file.id)
    assert answer.content == b"<script>1</script>"
    headers = answer.response.headers
    assert headers["content-disposition"].startswith("attachment")
    assert (headers["content-type"], headers["x-content-type-options"]) == ("application/octet-stream", "nosniff")
    assert file.id in [one.id for one in client.files.list()]
    assert file.id not in [one.id for one in stranger.files.list()]
    for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete, client.files.retrieve):
        with pytest.raises(openai.NotFoundError):
            ask(file.id if ask != client.files.retrieve else file.id[:10])
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_files_go_when_their_time_is_over(client: Any) -> None:
    file = client.files.create(file=("x", b"x"), purpose="vision", expires_after={"anchor": "created_at", "seconds": 1})
    assert file.expires_at == file.created_at + 1
    time.sleep(1.1)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("x", b"x"), purpose="vision", expires_after={"anchor": "now", "seconds": 1})


def test_files_are_listed_in_pages(stranger: Any) -> None:
    made = [stranger.files.create(file=(f"{number}", b"x"), purpose="evals").id for number in range(5)]
    found = [file.id for file in stranger.files.list(purpose="evals", limit=2, order="asc")]  # the client turns the pages
    assert found == made


def requests_of(*lines: dict[str, Any]) -> io.BytesIO:
    """A file of requests."""
    return io.BytesIO("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())


def line(name: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": "/v1/images/generations", "body": body}


def test_a_batch_answers_every_line(client: Any, stranger: Any) -> None:
    good = [line(f"n{number}", model="daub", prompt="月", seed=number) for number in range(5)]
    bad = [line("b1", model="nobody", prompt="x"), line("b2", model="daub")]
    file = client.files.create(file=requests_of(*good, *bad), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h", metadata={"for": "tests"}
    )
    assert batch.request_counts.total == 7
    ended = wait(lambda: client.batches.retrieve(batch.id), lambda found: found.status in ("completed", "failed"))
    assert ended.status == "completed", ended
    assert (ended.request_counts.completed, ended.request_counts.failed, ended.metadata) == (5, 2, {"for": "tests"})
    answers = [json.loads(row) for row in client.files.content(ended.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["n0", "n1", "n2", "n3", "n4"]
    again = client.images.generate(model="daub", prompt="月", extra_body={"seed": 4})
    pixels = [
        pictures.decode(base64.b64decode(data)) for data in (answers[4]["response"]["body"]["data"][0]["b64_json"], again.data[0].b64_json)
    ]
    assert np.array_equal(*pixels)
    errors = [json.loads(row) for row in client.files.content(ended.error_file_id).text.splitlines()]
    assert [(error["custom_id"], error["response"]["status_code"]) for error in errors] == [("b1", 404), ("b2", 400)]
    assert ended.id in [one.id for one in client.batches.list()]
    with pytest.raises(openai.NotFoundError):
        stranger.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        stranger.files.content(ended.output_file_id)


def test_a_batch_that_is_cancelled_hands_over_what_is_answered(client: Any) -> None:
    rows = [line(f"n{number}", model="daub", prompt="月", seed=number, options={"steps": 60, "size": 192}) for number in range(60)]
    file = client.files.create(file=requests_of(*rows), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h")
    wait(lambda: client.batches.retrieve(batch.id), lambda found: found.request_counts.completed)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    ended = wait(lambda: client.batches.retrieve(batch.id), lambda found: found.status != "in_progress")
    assert ended.status == "cancelled"
    answers = [json.loads(row) for row in client.files.content(ended.output_file_id).text.splitlines()]
    assert 0 < len(answers) == ended.request_counts.completed < 60
    assert all(answer["response"]["body"]["data"][0]["b64_json"] for answer in answers)
    client.files.delete(ended.output_file_id)
    assert client.batches.retrieve(batch.id).output_file_id == ended.output_file_id
    with pytest.raises(openai.NotFoundError):  # it is not written again
        client.files.content(ended.output_file_id)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"", "no requests"),
        (b"not json", "not JSON"),
        (b"[1]", "line 1"),
        (json.dumps({**line("a"), "url": "/v1/embeddings"}).encode(), "embeddings"),
        (json.dumps({**line("a"), "method": "GET"}).encode(), "method"),
        (json.dumps(line("a", stream=True)).encode(), "stream"),
        ((json.dumps(line("a")) + "\n").encode() * 2, "another line"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_wrong_file_of_requests_is_told_at_once(client: Any, wrong: bytes, says: str) -> None:
    file = client.files.create(file=("x.jsonl", wrong or b"\n"), purpose="batch")
    with pytest.raises(openai.BadRequestError, match=says):
        client.batches.create(input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h")


def test_a_batch_of_nothing_and_for_nowhere(client: Any, stranger: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id="file-none", endpoint="/v1/images/generations", completion_window="24h")
    file = stranger.files.create(file=requests_of(line("a", model="daub", prompt="x")), purpose="batch")
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        stranger.batches.create(input_file_id=file.id, endpoint="/v1/files", completion_window="24h")


# ---------------------------------------------------------------- works


def test_a_work_is_made_fetched_and_removed(client: Any, stranger: Any, serving: Serving) -> None:
    poem = client.files.create(file=("mine.txt", "床前明月光\n疑是地上霜\n".encode()), purpose="user_data")
    chosen = {"brief": "月夜", "only": ["poem", "scenes"], "seed": 1, "replace": {"poem": poem.id}}
    work = post(client, "/create", **chosen)
    path = f"/create/{work['id']}"
    ended = wait(lambda: client.get(path, cast_to=object), lambda found: found["status"] in ("completed", "failed"))
    assert ended["status"] == "completed", ended["error"]
    assert ended["poem"].startswith("床前明月光")
    names = [file["name"] for file in ended["files"]]
    assert "poem.txt" in names
    status, text = fetch(serving, f"{path}/files/poem.txt")
    assert (status, "疑是地上霜" in text.decode()) == (200, True)
    for name in ("../../../keys.json", "..%2f..%2fkeys.json", "%2e%2e/keys.json", "manifest.json/", "none.txt", "/etc/passwd"):
        assert fetch(serving, f"{path}/files/{name}")[0] in (400, 404), name
    with pytest.raises(openai.NotFoundError):
        stranger.get(path, cast_to=object)
    assert work["id"] in [one["id"] for one in client.get("/create", cast_to=object)["data"]]
    assert client.delete(path, cast_to=object)["deleted"]
    assert not list((serving.home / "works").glob("*"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, {"brief": " "}),
        (400, {}),
        (404, {"brief": "x", "text_model": "/etc"}),
        (404, {"brief": "x", "image_model": "../daub"}),
        (404, {"brief": "x", "replace": {"picture": "/etc/passwd"}}),
        (400, {"brief": "x", "out": "/tmp/x"}),
        (400, {"brief": "x", "seed": -1}),
    ],
)
def test_wrong_orders(client: Any, status: int, words: dict[str, Any]) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        post(client, "/create", **words)
    assert caught.value.status_code == status


# ---------------------------------------------------------------- films


def test_films_need_a_model_that_makes_them(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="daub"):
        client.videos.create(prompt="x", model="daub")
    with pytest.raises(openai.NotFoundError):
        client.videos.create(prompt="x", model="sora-2")
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve("video_0123456789ab")


@pytest.mark.slow
def test_a_film_is_made_shown_remixed_and_removed(client: Any, stranger: Any, tmp_path: Path) -> None:
    picture = ("i.png", drawn(client, options={"size": 64}), "image/png")
    film = client.videos.create(prompt="a cat", input_reference=picture, extra_body={"seed": 1, "options": {"steps": 2, "smooth": 1}})
    assert (film.model, film.status) == ("animator", "queued")
    ended = wait(lambda: client.videos.retrieve(film.id), lambda found: found.status in ("completed", "failed"))
    assert (ended.status, ended.progress) == ("completed", 100), ended.error
    data = client.videos.download_content(film.id).content
    assert is_labelled(data, tmp_path / "x.mp4")
    sheet = client.videos.download_content(film.id, variant="spritesheet").content
    assert is_labelled(sheet, tmp_path / "x.jpg")
    assert is_labelled(client.videos.download_content(film.id, variant="thumbnail").content, tmp_path / "x.webp")
    other = client.videos.remix(film.id, prompt="a dog")
    assert (other.remixed_from_video_id, other.seed) == (film.id, 1)
    assert film.id in [one.id for one in client.videos.list()]
    assert not list(stranger.videos.list())
    for id in (film.id, other.id):
        assert client.videos.delete(id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(film.id)


# ---------------------------------------------------------------- other clients


def test_litellm_draws_speaks_and_hands_over_files(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    litellm = pytest.importorskip("litellm")
    where = {"api_base": serving.url, "api_key": serving.key}
    made = litellm.image_generation(model="openai/daub", prompt="red", n=2, size="32x32", **where)
    assert [pictures.decode(base64.b64decode(one.b64_json)).shape[:2] for one in made.data] == [(32, 32)] * 2
    sound = litellm.speech(model="openai/effects", input="rain", voice="", response_format="wav", **where)
    assert sounds.decode(sound.content).seconds > 0
    file = litellm.create_file(file=("x.jsonl", b"{}"), purpose="batch", custom_llm_provider="openai", **where)
    assert file.id.startswith("file-")
