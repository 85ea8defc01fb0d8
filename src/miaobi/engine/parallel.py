"""Starts the processes that train together with this one, and ends them with it.

They are programs of their own, not forks: threads and locks of torch do not survive one. Each reads its work from a file, says when it is
ready, and then meets the others at a store on this machine. None writes a file: the first process, which is the caller's, does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import torch
import yaml

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.families import family
from miaobi.core.recipe import Recipe
from miaobi.core.types import Record
from miaobi.data.handover import hand, take
from miaobi.engine.adapt import Reward
from miaobi.engine.journal import Journal
from miaobi.engine.loop import Run
from miaobi.engine.peers import Peers, join, leave, meeting
from miaobi.engine.precision import Precision

JOB, READY, FAILED = "job.json", "ready", "failed"
PATHS = ("folder", "tokenizer", "base")
LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # else gloo would listen at this machine's address in the network
SECONDS = 10  # for a process to end after the training
MOMENT = 2.0  # seconds between a lost connection and the end of the process behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process needs to train along."""

    recipe: Recipe
    splits: Mapping[str, Sequence[Record]]
    folder: Path
    tokenizer: Path | None
    base: Path | None
    device: str
    threads: int | None
    resume: bool
    precision: Precision | None = None  # what the first one has chosen by a probe

    def begin(self, rank: int, journal: Journal, reward: Reward | None = None) -> Run:
        """The training as process `rank` of all holds it, ready to loop.

        Raises:
            UsageError: there are not as many GPUs as processes.
        """
        count, device = self.recipe.scale.workers, self.device
        threads = threads_of(count, self.threads, device)
        run = Run(
            self.recipe,
            family(self.recipe.model.family),
            self.splits,
            self.folder,
            tokenizer=self.tokenizer,
            base=self.base,
            device=f"cuda:{rank}" if count > 1 and device.startswith("cuda") else device,
            threads=threads,
            reward=reward,
            journal=journal,
        )
        run.begin(self.resume)
        run.precision = self.precision or run.precision
        return run

    def write(self, folder: Path) -> None:
        """Put everything into files."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["recipe"] = self.recipe.to_yaml()
        values["splits"] = {name: hand(records, folder, name) for name, records in self.splits.items()}
        values |= {name: str(values[name].absolute()) for name in PATHS if values[name] is not None}
        (folder / JOB).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """What `write` wrote."""
        values = json.loads((folder / JOB).read_text(encoding="utf-8"))
        values["recipe"] = Recipe.of(yaml.safe_load(values["recipe"]))
        values["splits"] = {name: take(described) for name, described in values["splits"].items()}
        return cls(**values | {name: Path(values[name]) for name in PATHS if values[name] is not None})


class Quiet(Journal):
    """The journal of a process that tells nobody."""

    def begin(self, step: int) -> None:
        """Leave the rows to the first process."""

    def tell(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Say nothing."""


def threads_of(count: int, threads: int | None, device: str) -> int | None:
    """How many threads each of `count` processes has, of as many as the caller gives or the machine has.

    Raises:
        UsageError: there are not as many GPUs.
    """
    if count == 1:
        return threads
    if device.startswith("cuda") and torch.cuda.device_count() < count:
        raise UsageError(
            "scale.workers is {count}, and there are {devices} GPUs; each process takes one", count=count, devices=torch.cuda.device_count()
        )
    return max(1, (threads or torch.get_num_threads()) // count)


@contextlib.contextmanager
def company(job: Job) -> Iterator[Peers]:
    """This process and the others that the recipe wants, all ready to begin.

    Raises:
        MiaobiError: one of them failed, or is gone.
    """
    count = job.recipe.scale.workers
    if count == 1:
        yield Peers()
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK.get(sys.platform, ""))
    store = meeting(count, host=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as complaints:
        job.write(Path(folder))
        others = [_start(Path(folder), rank, count, store.port, complaints) for rank in range(1, count)]
        try:
            for other in others:
                _await(other, complaints)
            yield join(store, 0, count, device=job.device)
        except RuntimeError as error:
            if _one_is_gone(others):  # so the connection to it is lost
                raise _why(store, error) from error
            raise
        finally:
            leave()
            for other in others:
                _end(other)


def _start(folder: Path, rank: int, count: int, port: int, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "miaobi.engine.parallel", str(folder), str(rank), str(count), str(port)]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)


def _await(other: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
    """Wait until a process has read its work and made its model."""
    assert other.stdout is not None
    if other.stdout.readline().strip() != READY.encode():
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
        raise MiaobiError("a process of this training did not start: {error}", error=lines[-1] if lines else other.wait())


def _one_is_gone(others: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Whether a process has ended, or does so in a moment."""
    until = time.monotonic() + MOMENT
    while time.monotonic() < until:
        if any(other.poll() is not None for other in others):
            return True
        time.sleep(0.02)
    return False


def _why(store: Any, error: RuntimeError) -> MiaobiError:
    """What a person is told when the group breaks."""
    if store.check([FAILED]):
        return MiaobiError("a process of this training failed: {error}", error=json.loads(store.get(FAILED)))
    return MiaobiError("a process of this training is gone ({error}). Go on from the last checkpoint with --resume", error=_line(error))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _end(other: subprocess.Popen[bytes]) -> None:
    try:
        other.wait(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        other.kill()
        other.wait()
    if other.stdout is not None:
        other.stdout.close()


def main(folder: Path, rank: int, count: int, port: int) -> int:
    """Be process `rank`: train along until the first one has done all steps, or is gone."""
    job = Job.read(folder)
    run = job.begin(rank, Quiet(job.folder, job.recipe.train.steps))
    store = meeting(count, port=port)
    print(READY, flush=True)
    try:
        run.peers = join(store, rank, count, device=job.device)
        run.loop()
    except Exception as error:
        with contextlib.suppress(RuntimeError):  # the first one is gone, and the store with it
            if not isinstance(error, RuntimeError):
                store.set(FAILED, json.dumps(_line(error)))
        return 1
    finally:
        leave()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:])))
