"""`prepare` loses nothing: killed at any moment, on a full disk, run twice at once or on one core, the result is the same to the byte."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.conftest import dropped, sentences, write_jsonl

from miaobi.core.errors import Busy, DataError, MiaobiError, MissingExtra, UsageError
from miaobi.core.recipe import Data
from miaobi.data import plan as planning
from miaobi.data.dataset import Dataset
from miaobi.data.prepare import prepare

STEPS = ["normalise", {"length": 20}, {"dedup": "exact"}, {"dedup": {"method": "minhash", "ngram": 2}}]

RUN = """
import os, signal, sys
from pathlib import Path
from miaobi.core.recipe import Data
from miaobi.data import plan
from miaobi.data.prepare import prepare
sys.modules["matplotlib"] = None
plan.UNIT_BYTES = int(sys.argv[3])
phase, at = sys.argv[4], int(sys.argv[5])
seen = 0
def on_progress(now, done, total):
    global seen
    if now == phase:
        seen += 1
        if seen > at:
            os.kill(os.getpid(), signal.SIGKILL)
prepare(Data.model_validate_json(sys.argv[1]), Path(sys.argv[2]), name="test", workers=2, on_progress=on_progress)
"""


def corpus(folder: Path, files: int = 24) -> Data:
    """A folder of files with short, equal and nearly equal records in it."""
    for number in range(files):
        texts = sentences(60, seed=number)
        texts[5], texts[6], texts[7] = "短", texts[8], texts[9][:-1] + "改"
        write_jsonl(folder / f"{number:03d}.jsonl", texts, number=number)
    return Data.model_validate(
        {"source": str(folder), "steps": STEPS, "split": {"val": 0.1, "test": 0.1}, "tokenizer": {"kind": "bpe", "size": 400}}
    )


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder by its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def run(section: Data, folder: Path, *, phase: str = "", at: int = 0) -> int:
    """Prepare in a process of its own that kills itself in a phase."""
    command = [sys.executable, "-c", RUN, section.model_dump_json(), str(folder), "9000", phase, str(at)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False).returncode


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Data, dict[str, str]]:
    """A section and the bytes of its data set, made in one go on one core."""
    monkeypatch.setattr(planning, "UNIT_BYTES", 9000)
    section = corpus(tmp_path / "corpus")
    return section, contents(prepare(section, tmp_path / "whole", name="test", workers=1).folder)


@pytest.mark.parametrize(("phase", "at"), [("read", 5), ("compare", 2), ("write", 9), ("card", 0)])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, whole: tuple[Data, dict[str, str]], phase: str, at: int) -> None:
    section, expected = whole
    folder = tmp_path / "killed"
    assert run(section, folder, phase=phase, at=at) == -signal.SIGKILL
    assert not folder.exists()
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed.work" / "units").glob("??????.json")}
    assert len(done) >= at
    heard: list[tuple[str, int]] = []
    dataset = prepare(section, folder, name="test", on_progress=lambda phase, count, _: heard.append((phase, count)))
    first_read = next(count for phase, count in heard if phase == "read")
    assert (first_read > 0) == bool(done)  # what was done is not done again
    assert contents(dataset.folder) == expected
    assert not (tmp_path / "killed.work").exists()


def test_killed_from_outside_at_some_moment(tmp_path: Path, whole: tuple[Data, dict[str, str]]) -> None:
    section, expected = whole
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", RUN, section.model_dump_json(), str(folder), "9000", "", "0"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    units = tmp_path / "killed.work" / "units"
    while process.poll() is None and not list(units.glob("??????.json")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    (units / "999999-0000.jsonl").write_bytes(b"half a li")  # as a killed worker leaves it
    assert contents(prepare(section, folder, name="test").folder) == expected


def test_cores_do_not_change_a_byte(tmp_path: Path, whole: tuple[Data, dict[str, str]]) -> None:
    section, expected = whole
    assert contents(prepare(section, tmp_path / "many", name="test", workers=3).folder) == expected


def test_a_finished_data_set_is_opened_and_a_changed_plan_replaces_it(tmp_path: Path) -> None:
    section = corpus(tmp_path / "corpus", files=2)
    first = prepare(section, tmp_path / "out", name="test")
    made = (first.folder / "dataset.json").stat().st_mtime_ns
    assert prepare(section, tmp_path / "out", name="test").sha256 == first.sha256
    assert (first.folder / "dataset.json").stat().st_mtime_ns == made
    write_jsonl(tmp_path / "corpus" / "000.jsonl", sentences(60, seed=77))  # the same size, other contents
    assert prepare(section, tmp_path / "out", name="test").sha256 != first.sha256
    (tmp_path / "out" / "train-00000.jsonl").write_bytes(b"")
    assert len(prepare(section, tmp_path / "out", name="test").split("train")) > 50  # damage is mended by making it again


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_bytes(b"x")
    with pytest.raises(UsageError, match="holds other things"):
        prepare(corpus(tmp_path / "corpus", files=1), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.docx").is_file()


def test_two_at_once(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out.work").mkdir()
    with (tmp_path / "out.work" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another process is preparing"):
            prepare(corpus(tmp_path / "corpus", files=1), tmp_path / "out")


def test_full_disk_says_so_and_the_next_run_goes_on(
    tmp_path: Path, whole: tuple[Data, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    section, expected = whole
    calls = 0

    def fsync(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 8:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(MiaobiError, match="the disk is full"):
            prepare(section, tmp_path / "out", name="test", workers=1)
    assert not (tmp_path / "out").exists()
    assert contents(prepare(section, tmp_path / "out", name="test", workers=1).folder) == expected


def test_a_worker_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs `sitecustomize` in every process that starts with it on the path: here, in the workers alone."""
    monkeypatch.setattr(planning, "UNIT_BYTES", 9000)
    section = corpus(tmp_path / "corpus", files=3)
    full = "import errno, os\n\ndef fsync(number):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n\nos.fsync = fsync\n"
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(full)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "path")
        with pytest.raises(MiaobiError, match="the disk is full"):
            prepare(section, tmp_path / "out", workers=2)
    assert not list((tmp_path / "out.work" / "units").glob("??????.json"))
    assert prepare(section, tmp_path / "out", workers=2).card["records"]["kept"] > 0


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root can become nobody")
def test_no_write_permission(tmp_path: Path) -> None:
    section = corpus(tmp_path / "corpus", files=1)
    for folder in tmp_path.parents:
        folder.chmod(folder.stat().st_mode | 0o111)
    tmp_path.chmod(0o555)
    os.seteuid(65534)
    try:
        with pytest.raises(MiaobiError, match="no permission to write"):
            prepare(section, tmp_path / "out")
    finally:
        os.seteuid(0)
        tmp_path.chmod(0o755)


def test_everything_dropped_says_why(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["短", "短", "也短"])
    section = Data.model_validate({"source": str(tmp_path / "a.jsonl"), "steps": [{"length": 20}]})
    with pytest.raises(DataError, match=r"none of the 3 records is left.*too_short \(3\)\. The first is a.jsonl#1: too_short 1"):
        prepare(section, tmp_path / "out")
    named = Data.model_validate({"source": {"path": str(tmp_path / "a.jsonl"), "fields": {"text": "body"}}})
    with pytest.raises(DataError, match=r"a\.jsonl#1: no_text no text in 'body'\. It has: text"):
        prepare(named, tmp_path / "out")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="hold no record"):
        prepare(Data(source=str(tmp_path / "empty.jsonl")), tmp_path / "out")
    with pytest.raises(UsageError, match="names no source"):
        prepare(Data(), tmp_path / "out")


def test_bad_files_in_a_folder_are_counted_and_one_named_alone_is_an_error(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    folder = tmp_path / "corpus"
    write_jsonl(folder / "good.jsonl", sentences(5))
    (folder / "binary.jsonl").write_bytes(bytes(range(256)) * 9)
    (folder / "empty.txt").write_bytes(b"")
    dataset = make(source=str(folder))
    assert len(dataset.split("train")) == 5
    [lost] = dropped(dataset)
    assert (lost["id"], lost["step"], lost["reason"], lost["detail"]) == (
        "binary.jsonl",
        "read",
        "unreadable_file",
        "the file is not a text file",
    )
    with pytest.raises(DataError, match=r"binary\.jsonl is not a text file"):
        make(source=str(folder / "binary.jsonl"))


def test_errors_of_workers_arrive_as_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "UNIT_BYTES", 1)
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("明月", encoding="utf-8")
    section = Data.model_validate({"source": {"path": str(tmp_path), "files": "*.txt", "fields": {"text": "lines"}}})
    with pytest.raises(UsageError, match="paragraph, line and file, not 'lines'"):
        prepare(section, tmp_path / "out", workers=2)


def test_limit_stops_early_and_is_the_beginning(tmp_path: Path, whole: tuple[Data, dict[str, str]]) -> None:
    section, _ = whole
    some = section.model_copy(update={"limit": 100, "steps": [], "tokenizer": None})
    dataset = prepare(some, tmp_path / "some")
    assert dataset.card["records"]["read"] == 100
    texts = {json.loads(line)["text"] for name in ("000", "001") for line in (tmp_path / "corpus" / f"{name}.jsonl").open(encoding="utf-8")}
    assert {record.text for split in ("train", "val", "test") for record in dataset.split(split)} <= texts  # type: ignore[arg-type]


def test_holding_out_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    section = corpus(tmp_path / "corpus", files=1)
    with pytest.raises(MissingExtra, match=r"rensa.*miaobi\[data\]"):
        prepare(section, tmp_path / "out")
    plain = section.model_copy(update={"steps": [], "split": section.split.model_copy(update={"val": 0.0, "test": 0.0}), "tokenizer": None})
    assert len(prepare(plain, tmp_path / "plain").split("train")) == 60


def test_a_changed_word_list_is_a_changed_plan(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["明月几时有", "把酒问青天"])
    words = tmp_path / "words.tsv"
    section = Data.model_validate(
        {"source": str(tmp_path / "a.jsonl"), "steps": [{"words": {"files": [str(words)]}}], "split": {"val": 0, "test": 0}}
    )
    for word, left in (("明月", "把酒问青天"), ("青天", "明月几时有")):
        words.write_text(f"a\tblock\t{word}\n", encoding="utf-8")
        assert [record.text for record in prepare(section, tmp_path / "out").split("train")] == [left]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Ten times the corpus, the same peak of memory: measured in a process of its own, its workers included."""
    script = RUN.rpartition("prepare(")[0] + (
        "prepare(Data.model_validate_json(sys.argv[1]), Path(sys.argv[2]), workers=1)\n"
        "import resource; print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))"
    )
    peaks = []
    for number, files in enumerate((20, 200)):
        for file in range(files):
            write_jsonl(tmp_path / f"corpus-{number}" / f"{file:03d}.jsonl", sentences(1000, seed=file, length=60))
        section = Data.model_validate({"source": str(tmp_path / f"corpus-{number}"), "steps": STEPS})
        command = [sys.executable, "-c", script, section.model_dump_json(), str(tmp_path / f"out-{number}"), str(4 << 20), "", "0"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] * 1.25 + 40, f"{peaks[0]:.0f} MiB for 20,000 records, {peaks[1]:.0f} MiB for 200,000"
