"""Jobs survive what kills their workers: every piece once, and the same bytes in the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from miaobi.cli.main import main
from miaobi.core.errors import DataError, UsageError
from miaobi.core.language import speaking
from miaobi.library.database import Away
from miaobi.library.queue import Job, Queue, State
from miaobi.library.store import Library
from miaobi.serve import batch, child, requests, worker
from miaobi.serve.kinds import Task, checked, perform


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a library of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def queue(folder: Path) -> Queue:
    """The queue of that library."""
    return Queue(Library.open().database)


def write_requests(path: Path, count: int) -> Path:
    """Requests to the built-in verse."""
    rows: list[dict[str, Any]] = [{"prompt": f"a rainy harbour {number}"} for number in range(count)]
    rows[1] |= {"id": "mine", "seed": 9, "n": 2}
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def batch_spec(folder: Path, out: str, *, count: int = 6, **more: Any) -> dict[str, Any]:
    """A checked batch."""
    requests = write_requests(folder / "requests.jsonl", count)
    return checked("batch", batch.spec_for(requests, model="rhymer", out=folder / out, seed=5, **more))


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_batch(folder: Path, queue: Queue) -> None:
    id = queue.add("batch", batch_spec(folder, "out.jsonl", keep=True))
    seen: list[Job] = []
    assert worker.work("", drain=True, on_job=seen.append) == 1
    job = queue.get(id)
    assert (job.state, job.items, job.result["requests"], job.result["failed"]) == (State.DONE, 6, 6, 0), job.error
    assert seen[-1].state is State.DONE
    rows = answers(folder / "out.jsonl")
    assert [row["id"] for row in rows] == ["1", "mine", "3", "4", "5", "6"]
    assert [content["label"]["seed"] for content in rows[0]["contents"]] == [5]
    assert len(rows[1]["contents"]) == 2
    assert rows[1]["contents"][0]["label"]["seed"] == 9
    assert rows[2]["contents"][0]["aigc"]["Label"] == "1"
    assert len({row["contents"][0]["text"] for row in rows}) > 3
    assert Library.open().count() == 7


def killed_when(queue: Queue, id: str, items: int, kill: Callable[[Job], None]) -> threading.Thread:
    """A thread that kills as soon as so many pieces are done."""

    def watch() -> None:
        latest = time.monotonic() + 120
        while (job := queue.get(id)).items < items:
            assert job.state in (State.QUEUED, State.RUNNING), job
            assert time.monotonic() < latest, job
            time.sleep(0.002)
        kill(queue.get(id))

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_killed_children_and_an_unbroken_run_give_the_same_bytes(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of the process that does the job, twice; the third attempt ends it. Then the same batch without any of that."""
    spec = batch_spec(folder, "out.jsonl", count=40)
    id = queue.add("batch", spec)
    pids: list[int] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **more: Any) -> Any:
        child = start(*arguments, **more)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(worker.subprocess, "Popen", noted)

    def kill(job: Job) -> None:
        os.kill(pids[-1], signal.SIGKILL)

    def twice() -> None:
        killed_when(queue, id, 3, kill).join()
        while len(pids) < 2:
            time.sleep(0.002)
        killed_when(queue, id, 20, kill).join()

    killer = threading.Thread(target=twice)
    killer.start()
    worker.work("", drain=True)
    killer.join()
    job = queue.get(id)
    assert (job.state, job.items) == (State.DONE, 40), job.error
    assert len(pids) >= 2
    torn = (folder / "out.jsonl").read_bytes()
    created = answers(folder / "out.jsonl")[0]["contents"][0]["label"]["created"]
    (folder / "out.jsonl").unlink()
    other = queue.add("batch", spec)
    worker.work("", only=other)
    whole = (folder / "out.jsonl").read_bytes()
    again = answers(folder / "out.jsonl")[0]["contents"][0]["label"]["created"]
    assert torn.replace(created.encode(), again.encode()) == whole


def test_a_killed_worker_s_job_goes_on_elsewhere(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker and its child are killed; the job is lost, and another worker ends it."""
    from miaobi.library import queue as queues

    id = queue.add("batch", batch_spec(folder, "out.jsonl", count=80))
    command = [sys.executable, "-m", "miaobi.cli.main", "jobs", "work", "--drain"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(job: Job) -> None:
        process.kill()
        for words in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if job.id.encode() in words.read_bytes():
                    os.kill(int(words.parent.name), signal.SIGKILL)

    killed_when(queue, id, 2, kill).join()
    process.wait()
    assert queue.get(id).state in (State.RUNNING, State.LOST)
    assert queue.claim("too early") is None
    monkeypatch.setattr(queues, "SILENT_SECONDS", 0.0)
    time.sleep(0.05)
    assert queue.get(id).state is State.LOST
    assert worker.work("", only=id) == 1
    job = queue.get(id)
    assert (job.state, job.attempts) == (State.DONE, 2), job.error
    assert len(answers(folder / "out.jsonl")) == 80


def test_paused_and_resumed(folder: Path, queue: Queue) -> None:
    id = queue.add("batch", batch_spec(folder, "out.jsonl", count=150))
    pause = killed_when(queue, id, 2, lambda job: queue.ask(id, "pause") and None)  # type: ignore[func-returns-value]
    worker.work("", only=id)
    pause.join()
    job = queue.get(id)
    assert job.state is State.PAUSED
    assert 0 < job.items < 150
    assert not (folder / "out.jsonl").exists()
    queue.ask(id, "resume")
    worker.work("", only=id)
    assert queue.get(id).state is State.DONE
    assert len(answers(folder / "out.jsonl")) == 150


TINY = {
    "version": 1,
    "name": "tiny",
    "data": {"source": "text.txt", "split": {"val": 0.0}},
    "model": {"family": "ngram", "config": {"order": 2}},
}


def test_a_training(folder: Path, queue: Queue) -> None:
    (folder / "text.txt").write_text("\n\n".join(f"the cat number {number} sat on the mat" for number in range(30)), encoding="utf-8")
    from miaobi.core.recipe import Recipe

    spec = checked("train", {"folder": str(folder), "recipe": Recipe.of(TINY).model_dump(mode="json")})
    id = queue.add("train", spec, name="tiny")
    worker.work("", drain=True)
    job = queue.get(id)
    assert job.state is State.DONE, job.error
    assert (folder / "artifacts" / "tiny" / "miaobi.json").is_file()


def test_what_fails_says_why_in_the_language_of_who_asked(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    with speaking("zh"):
        id = queue.add("batch", batch_spec(folder, "out.jsonl"))
    (folder / "requests.jsonl").write_text('{"prompt": "other"}\n', encoding="utf-8")
    gone = queue.add("train", {"folder": str(folder / "gone"), "recipe": TINY})
    monkeypatch.setenv("MIAOBI_LANG", "en")
    worker.work("", drain=True)
    assert queue.get(id).state is State.FAILED
    assert "在批处理排队之后被改动过" in queue.get(id).error
    assert "cannot be entered" in queue.get(gone).error


def test_a_job_does_not_fail_because_its_database_went_away(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(task: Task) -> Any:
        raise Away("the library at {url} cannot be used: {problem}", url="", problem="the connection was closed")

    before = signal.getsignal(signal.SIGTERM)
    id = queue.add("batch", batch_spec(folder, "out.jsonl"))
    queue.claim("me")
    with monkeypatch.context() as patch:
        patch.setattr(child, "perform", away)
        assert child.main("", id, "me") == child.STOPPED
    signal.signal(signal.SIGTERM, before)
    queue.release(id, "me")
    assert (queue.get(id).state, queue.get(id).attempts) == (State.QUEUED, 0)
    assert worker.work("", drain=True) == 1
    assert queue.get(id).state is State.DONE


def test_one_wrong_line_does_not_stop_the_others(folder: Path, queue: Queue) -> None:
    (folder / "some.jsonl").write_text('{"prompt": "rain"}\n\n{"prompt": "x", "options": {"nosuch": 1}}\n', encoding="utf-8")
    spec = checked("batch", batch.spec_for(folder / "some.jsonl", model="rhymer", out=folder / "out.jsonl", seed=1))
    id = queue.add("batch", spec)
    worker.work("", drain=True)
    assert queue.get(id).result["failed"] == 1
    first, second = answers(folder / "out.jsonl")
    assert "contents" in first
    assert second["id"] == "3"
    assert "nosuch" in second["error"]["message"]


def test_only_a_line_feed_ends_a_line(folder: Path) -> None:
    """JSON lets U+2028, U+2029 and U+0085 stand within a text as they are, and many programs write them so."""
    prompts = ["a\u2028b", "c\u2029d", "e\u0085f"]
    text = "".join(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\r\n" for prompt in prompts)
    (folder / "some.jsonl").write_bytes(text.encode())
    spec = batch.BatchSpec(**batch.spec_for(folder / "some.jsonl", model="rhymer", out=folder / "out.jsonl"))
    assert [line.prompt for line in batch.lines(spec)] == prompts
    rows = [{"custom_id": str(number), "url": "/v1/completions", "body": {"prompt": prompt}} for number, prompt in enumerate(prompts)]
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    assert [line.body["prompt"] for line in requests.lines(data, "/v1/completions")] == prompts


def test_so_many_lines_and_the_line_feed_behind_the_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_LINES", 3)
    spec = batch_spec(folder, "out.jsonl", count=3)
    assert spec["model"] == "rhymer"
    with pytest.raises(DataError, match="has 4 lines; a batch has at most 3"):
        batch_spec(folder, "out.jsonl", count=4)


def test_a_request_that_is_made_twice_is_in_the_library_once(folder: Path, queue: Queue) -> None:
    """kill -9 after the content was kept, and before the job knew."""
    spec = checked("generate", {"folder": str(folder), "model": "rhymer", "prompt": "rain", "seed": 4, "options": {"n": 2}})
    job, library = queue.get(queue.add("generate", spec)), Library.open()
    silent: dict[str, Any] = {"report": lambda progress: None, "record": lambda place, piece: None, "done": {}, "library": library}
    first = perform(Task(job=job, **silent))
    time.sleep(1.0)  # another second on the clock
    assert perform(Task(job=job, **silent)) == first
    assert library.count() == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no requests"),
        ('{"prompt": "a"}\n{"prompt": }', "line 2: not JSON"),
        ('["a"]', "line 1: an object with a prompt is wanted"),
        ('{"promt": "a"}', "unknown key 'promt'"),
        ('{"prompt": "a", "n": 1000000000}', "at most 64"),
        ('{"prompt": "a", "n": true}', "a number is wanted"),
        ("[" * 100_000, "line 1: not JSON"),
    ],
)
def test_wrong_requests_are_refused_before_they_are_in_line(folder: Path, text: str, words: str) -> None:
    path = folder / "requests.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises((DataError, UsageError), match=words):
        checked("batch", batch.spec_for(path, model="rhymer", out=folder / "out.jsonl"))


def test_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_requests(folder / "requests.jsonl", 3)
    assert main(["batch", "requests.jsonl", "--model", "rhymer", "--out", "out.jsonl", "--seed", "1", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["state"], done["items"]) == ("done", 3)
    assert main(["batch", "requests.jsonl", "--model", "rhymer", "--out", "later.jsonl", "--later", "--json"]) == 0
    id = json.loads(capsys.readouterr().out)["id"]
    assert not Path("later.jsonl").exists()
    assert main(["jobs", "--json"]) == 0
    assert [job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["queued", "done"]
    assert main(["jobs", "--json", "--state", "lost", "--state", "done"]) == 0
    assert [job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["done"]
    assert main(["jobs", "--state", "dead"]) == 2
    assert "choose from 'queued', 'running'" in capsys.readouterr().err
    assert main(["jobs", "cancel", id, "-q"]) == 0
    assert main(["jobs", "retry", id, "-q"]) == 0
    assert main(["jobs", "work", "--drain", "-q"]) == 0
    assert len(answers(Path("later.jsonl"))) == 3
    assert main(["jobs", "remove", id, "-q"]) == 0
    for words, code in ((["jobs", "show", "nosuch"], 2), (["jobs", "dance"], 2), (["jobs", "pause"], 2), (["batch", "no.jsonl"], 2)):
        assert main(words) == code
    assert "Did you mean" not in capsys.readouterr().out
