"""One job in a process of its own: `python -m miaobi.serve.child LIBRARY JOB WORKER`.

So a job that crashes takes nothing along, its memory is given back, and it can be killed. A thread says every two seconds that the job is
alive; SIGTERM asks it to stop, which a training answers with a checkpoint. The exit code is 0 when the job's end was written down, and
`STOPPED` when it stopped as asked.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from miaobi.core.errors import Busy, MiaobiError
from miaobi.core.language import set_language, tr
from miaobi.library.database import Away, patiently
from miaobi.library.queue import BEAT_SECONDS, Job, NotOurs, Queue, State
from miaobi.library.store import Library
from miaobi.serve.kinds import Stopped, Task, perform

STOPPED = 75  # EX_TEMPFAIL


class _Heart(threading.Thread):
    """Beats for a job, with its newest progress; a job that is no longer ours is killed on the spot."""

    def __init__(self, queue: Queue, job: Job, worker: str) -> None:
        super().__init__(daemon=True)
        self.queue, self.job, self.worker = queue, job, worker
        self.progress: dict[str, Any] = dict(job.progress)
        self.over = threading.Event()

    def run(self) -> None:
        """Until it is over."""
        asked = False
        while not self.over.wait(BEAT_SECONDS if asked else BEAT_SECONDS / 4):
            try:
                wanted = self.queue.beat(self.job.id, self.worker, progress=self.progress)
            except NotOurs:
                if not self.over.is_set():
                    signal.raise_signal(signal.SIGKILL)
                return
            except MiaobiError:  # the database is away for a moment: silence is what the others are to hear then
                continue
            if wanted and not asked:
                asked = True
                signal.raise_signal(signal.SIGTERM)


def main(library_at: str, id: str, worker: str) -> int:
    """Do the job that the worker has claimed."""
    library = patiently(lambda: Library.open(library_at))
    queue = Queue(library.database)
    job = patiently(lambda: queue.get(id))
    set_language(job.spec.get("language") or None)
    heart, stop = _Heart(queue, job, worker), threading.Event()

    def asked(number: int, frame: object) -> None:
        """The first time; what the job does may take the signal over."""
        stop.set()
        raise KeyboardInterrupt

    if job.kind in ("batch", "requests"):  # between two requests, and never within one
        signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    else:
        signal.signal(signal.SIGTERM, asked)
    heart.start()
    try:
        result = perform(_task(library, queue, job, worker, heart, stop))
    except (Stopped, KeyboardInterrupt, Away, Busy):  # what is wrong with the database is no fault of the job, which goes on later
        return STOPPED
    except NotOurs:
        return 1
    except Exception as error:
        _end(queue, job, worker, heart, State.FAILED, error=_words(error))
        return 0
    finally:
        heart.over.set()
    _end(queue, job, worker, heart, State.DONE, result=_plain(result))
    return 0


def _task(library: Library, queue: Queue, job: Job, worker: str, heart: _Heart, stop: threading.Event) -> Task:
    def report(progress: Mapping[str, Any]) -> None:
        heart.progress = dict(progress)

    return Task(
        job=job,
        report=report,
        record=lambda place, result: patiently(lambda: queue.record(job.id, worker, place, result)),
        done=queue.items(job.id),
        library=library,
        stop=stop,
    )


def _end(
    queue: Queue, job: Job, worker: str, heart: _Heart, state: State, *, result: Mapping[str, Any] | None = None, error: str = ""
) -> None:
    heart.over.set()
    heart.join()
    with contextlib.suppress(NotOurs):
        patiently(lambda: queue.beat(job.id, worker, progress=heart.progress))
        patiently(lambda: queue.finish(job.id, worker, state, result=result, error=error))


def _words(error: Exception) -> str:
    """What a person reads; the traceback of what was not foreseen goes to the log of crashes."""
    if isinstance(error, MiaobiError):
        return str(error)
    import traceback

    traceback.print_exc()
    return tr("unexpected: {kind}: {problem}", kind=type(error).__name__, problem=error)


def _plain(result: Mapping[str, Any]) -> dict[str, Any]:
    import json

    values: dict[str, Any] = json.loads(json.dumps(result, default=str))
    return values


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
