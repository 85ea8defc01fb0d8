"""Kinds of jobs behind the routes and the tools: a batch that is torn away, a film's request, and models that are changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.errors import UsageError
from miaobi.library.queue import Job, Queue, State
from miaobi.library.store import Library
from miaobi.library.uploads import Missing, Uploads
from miaobi.serve import requests
from miaobi.serve.kinds import Task, checked, perform
from miaobi.serve.worker import work

TEXTS = [f"the {colour} {animal} sat on the mat" for colour in ("red", "blue", "wild", "grey") for animal in ("cat", "fox", "bee", "owl")]


def batch(library: Library, count: int, **options: Any) -> dict[str, Any]:
    """The checked spec of a batch of pictures."""
    body = {"model": "daub", "prompt": "月", "options": options}
    common = {"method": "POST", "url": "/v1/images/generations"}
    seeds: list[dict[str, int]] = [{"seed": number} if number % 2 else {} for number in range(count)]
    rows = [{"custom_id": f"n{number}", **common, "body": {**body, **seed}} for number, seed in enumerate(seeds)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    upload = Uploads(library).add(data, name="x.jsonl", purpose="batch", owner="me")
    assert [line.custom_id for line in requests.lines(data, "/v1/images/generations")] == [f"n{number}" for number in range(count)]
    spec = {"folder": str(Path.cwd()), "endpoint": "/v1/images/generations", "file": upload.id, "sha256": upload.sha256}
    return checked("requests", {**spec, "lines": count, "owner": "me", "threads": 1})


def output(library: Library, result: Mapping[str, Any]) -> bytes:
    """The answers of a batch."""
    return Uploads(library).data(Uploads(library).get(result["output"], owner="me"))


def unbroken(library: Library, job: Job) -> bytes:
    """The answers of a batch that is done in this process from its beginning to its end."""
    task = Task(job=job, report=lambda progress: None, record=lambda place, result: None, done={}, library=library)
    return output(library, perform(task))


def test_a_batch_that_is_killed_answers_every_line_once_and_as_if_it_had_not_been(daub: Path) -> None:
    library = Library.open()
    queue = Queue(library.database)
    job = queue.claim("first", only=queue.add("requests", batch(library, 8, steps=60, size=192)))
    assert job is not None
    child = subprocess.Popen([sys.executable, "-m", "miaobi.serve.child", "", job.id, "first"], start_new_session=True)
    until = time.monotonic() + 60
    while not len(before := queue.items(job.id)) >= 2 and time.monotonic() < until:
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    before = queue.items(job.id)
    assert 2 <= len(before) < 8, "it should be killed in the middle"
    queue.release(job.id, "first", died=True)
    work("", only=job.id)
    ended, after = queue.get(job.id), queue.items(job.id)
    assert ended.state is State.DONE, ended.error
    assert {place: after[place] for place in before} == before
    assert (ended.result["requests"], ended.result["failed"]) == (8, 0)
    torn = output(library, ended.result)
    assert [json.loads(line)["custom_id"] for line in torn.splitlines()] == [f"n{number}" for number in range(8)]
    assert unbroken(library, ended) == torn, "pictures, labels, times and seeds that nobody gave"
    with pytest.raises(Missing):
        Uploads(library).get(ended.result["output"], owner="somebody")
    library.close()


def test_ids_times_and_seeds_of_a_batch_follow_from_its_job(polly: Path) -> None:
    library = Library.open()
    queue = Queue(library.database)
    asked = [{"role": "user", "content": "春"}]
    for route, body in (("/v1/chat/completions", {"messages": asked, "n": 2}), ("/v1/responses", {"input": asked})):
        lines = [{"custom_id": id, "method": "POST", "url": route, "body": {"model": "polly", **body}} for id in "ab"]
        upload = Uploads(library).add("\n".join(map(json.dumps, lines)).encode(), name="x", purpose="batch", owner="me")
        spec = {"folder": str(Path.cwd()), "endpoint": route, "file": upload.id, "sha256": upload.sha256, "lines": 2, "threads": 1}
        job = queue.get(queue.add("requests", checked("requests", spec | {"owner": "me"})))
        first, again = unbroken(library, job), unbroken(library, job)
        assert first == again
        rows = [json.loads(line)["response"]["body"] for line in first.splitlines()]
        assert rows[0]["id"] != rows[1]["id"]
        assert all(abs(row.get("created", row.get("created_at")) - time.time()) < 60 for row in rows)
    library.close()


def test_what_a_request_makes_is_in_the_library(daub: Path, polly: Path) -> None:
    library = Library.open()
    queue = Queue(library.database)
    picture = library.files.put(_picture())
    spec = {"folder": str(Path.cwd()), "model": "daub", "prompt": "red", "seed": 7, "options": {"steps": 3}, "given": {"image": picture}}
    id = queue.add("generate", checked("generate", spec))
    work("", only=id)
    job = queue.get(id)
    assert job.state is State.DONE, job.error
    [kept] = job.result["contents"]
    label = library.get(kept).label
    assert (label.prompt, label.seed, label.parents) == ("red", 7, (f"image:{picture}",))
    with pytest.raises(UsageError, match="steps"):
        checked("generate", {**spec, "options": {"steps": 0}})
    library.close()


def _picture() -> bytes:
    import numpy as np

    from miaobi.data import pictures

    return pictures.encode(np.full((24, 24, 3), 200, np.uint8))


def test_uploads_live_as_long_as_they_are_needed(workplace: Path) -> None:
    library = Library.open()
    uploads = Uploads(library)
    kept, gone = (uploads.add(text, name="x", purpose="batch", seconds=seconds) for text, seconds in ((b"kept", 0), (b"gone", 1e-6)))
    assert uploads.data(kept) == b"kept"
    with pytest.raises(Missing):
        uploads.get(gone.id)
    assert [one.id for one in uploads.list()] == [kept.id]
    assert uploads.expire() == 1
    given = library.files.put(b"the picture of a film that waits")
    Queue(library.database).add("generate", {"folder": ".", "model": "x", "given": {"image": given}})
    for sha256 in (kept.sha256, gone.sha256, given):
        os.utime(library.files.path(sha256), (0, 0))
    library.prune(0)
    assert library.files.path(kept.sha256).exists()
    assert library.files.path(given).exists()
    assert not library.files.path(gone.sha256).exists()
    replaced = uploads.add(b"new", name="y", purpose="batch", id=kept.id)
    assert (replaced.id, uploads.data(uploads.get(kept.id))) == (kept.id, b"new")
    uploads.remove(kept.id)
    with pytest.raises(Missing):
        uploads.remove(kept.id)
    library.close()


# ---------------------------------------------------------------- models that learn


def do(kind: str, spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The result of a job that is done here, and its progress."""
    told: list[Mapping[str, Any]] = []
    job = Job(id="x", kind=kind, name="", spec=checked(kind, {"folder": str(Path.cwd()), "threads": 1, **spec}), state=State.RUNNING,
              priority=0, attempts=1, worker="", progress={}, result={}, error="", created="", started="", ended="", items=0)  # fmt: skip
    return perform(Task(job=job, report=told.append, record=lambda place, result: None, done={})), told


def training(name: str, **more: Any) -> dict[str, Any]:
    """A recipe of a few steps."""
    train = {"steps": 8, "batch": 8, "evaluate_every": 4, "checkpoint_every": 8, "schedule": {"name": "constant", "warmup": 1}}
    return {"name": name, "data": {"source": "texts.jsonl", "split": {"val": 0.25}}, "train": train, **more}


@pytest.mark.slow
def test_models_are_adapted_distilled_and_tuned_by_jobs(workplace: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("optuna")
    (workplace / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    tiny = {"family": "gpt", "config": {"width": 16, "layers": 1, "heads": 2, "context": 32}}
    result, told = do("train", {"recipe": training("base", model=tiny)})
    assert Path(result["artifact"]).is_dir()
    assert [one["done"] for one in told if one["phase"] == "training"][-1] == 8
    changed = training("changed", model={"base": "base"}, adapt={"method": "lora", "rank": 2, "records": 4})
    result, told = do("adapt", {"recipe": changed})
    assert result["report"]["bits_per_character"]["own"]["after"]["value"] > 0
    assert any(one["phase"] == "training" for one in told)
    pupil = training("pupil", model=tiny, distill={"teacher": "base", "logits": 1.0})
    result, _ = do("distill", {"recipe": pupil})
    assert Path(result["artifact"]).is_dir()
    assert result["report"]
    search = {"recipe": training("search", model=tiny), "parameters": ["train.optimizer.lr=log(1e-4,1e-2)"], "trials": 2}
    result, told = do("tune", search)
    assert result["trials"] == 2
    assert result["best"]["values"]
    assert [one["done"] for one in told if one["phase"] == "tuning"] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("adapt", {}, "adapt"),
        ("distill", {}, "teacher"),
        ("tune", {"parameters": []}, "parameters"),
        ("tune", {"parameters": ["train.steps=log(1)"]}, "train.steps"),
        ("tune", {"parameters": ["train.steps=int(1,2)"], "trials": 0}, "trials"),
    ],
)
def test_a_wrong_recipe_is_told_when_it_is_put_in_line(workplace: Path, kind: str, more: dict[str, Any], says: str) -> None:
    recipe = training("x", model={"family": "gpt"})
    with pytest.raises(UsageError, match=says):
        checked(kind, {"folder": ".", "recipe": recipe, **more})
