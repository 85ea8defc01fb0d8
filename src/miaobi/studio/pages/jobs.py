"""Jobs: what is in line, under way or over; stopped, gone on with, moved and forgotten."""

from __future__ import annotations

import html
import json
from typing import Any

import gradio as gr

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.library.queue import HIGHEST, OPEN, Job, State
from miaobi.studio import cards
from miaobi.studio.frame import Page

LOOK_SECONDS = 2.0
MOST = 60
NAMES = {  # as people say it
    State.QUEUED: "in line",
    State.RUNNING: "under way",
    State.LOST: "lost its worker",
    State.PAUSED: "paused",
    State.DONE: "done",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
KINDS = {  # of jobs, as people say it; an app is called by its own name
    "train": "training",
    "adapt": "adapting",
    "distill": "distilling",
    "tune": "tuning",
    "evaluate": "evaluation",
    "generate": "generating",
    "batch": "batch",
    "requests": "requests",
}
ASKED = {  # what can be asked of a job, by its state
    State.QUEUED: ("first", "pause", "cancel"),
    State.RUNNING: ("pause", "cancel"),
    State.LOST: ("pause", "cancel"),
    State.PAUSED: ("resume", "cancel"),
    State.FAILED: ("retry", "remove"),
    State.CANCELLED: ("retry", "remove"),
    State.DONE: ("remove",),
}
WORDS = {"first": "do it next", "pause": "pause", "resume": "go on", "cancel": "cancel", "retry": "try again", "remove": "forget"}


class Jobs(Page):
    """The line, looked at every two seconds."""

    path = "jobs"
    name = "Jobs"
    about = "Trainings, evaluations, works and batches: they survive a restart, and go on where they were."

    def draw(self) -> None:
        """A filter and the jobs."""
        self.which = gr.Radio(
            [(tr("all"), "all"), (tr("unfinished"), "open"), (tr("finished"), "over")],
            value="all",
            label=tr("Jobs"),
            show_label=False,
            interactive=True,
            container=False,
        )
        self.cards = cards.cards("mb-jobs")
        self.timer = gr.Timer(LOOK_SECONDS)
        self.on(self.timer.tick, self._look, [self.which], [self.cards])
        self.on(self.which.change, self._look, [self.which], [self.cards])
        self.on(self.cards.submit, self._act, [self.which], [self.cards])

    def loaded(self, page: gr.Blocks) -> None:
        """See `Page`."""
        self.on(page.load, self._look, [self.which], [self.cards])

    def _look(self, which: str) -> list[cards.Card]:
        states = {"open": OPEN, "over": tuple(state for state in State if state not in OPEN)}.get(which, ())
        jobs = self.room.queue.list(states, limit=MOST)
        return [job_card(job) for job in jobs] or [
            cards.note(tr("Nothing is in line. Works, films, trainings and evaluations come here by themselves."))
        ]

    def _act(self, which: str, event: gr.EventData) -> list[cards.Card]:
        what = event._data or {}
        id = str(what.get("id"))
        kind = self.room.queue.get(id).kind
        do(self.room.queue, str(what.get("act")), id)
        self.room.hands.begin(kind)
        return self._look(which)


def do(queue: Any, action: str, id: str) -> None:
    """What a job's button says.

    Raises:
        UsageError: the job is not in a state for that.
    """
    if action == "remove":
        queue.remove(id)
    elif action == "first":
        waiting = queue.list([State.QUEUED], limit=1000)
        queue.prioritise(id, min(HIGHEST, max((job.priority for job in waiting if job.id != id), default=0) + 1))
    elif action in WORDS:
        queue.ask(id, action)
    else:
        raise UsageError("a card cannot do '{action}'", action=action)


def job_card(job: Job, *, link: bool = True) -> cards.Card:
    """A job as it stands, and what can be asked of it."""
    buttons = "".join(f'<button type="button" data-act="{each}">{html.escape(tr(WORDS[each]))}</button>' for each in ASKED[job.state])
    place = place_of(job) if link else ""
    name = html.escape(job.name or job.id)
    title = f'<a href="{place}">{name}</a>' if place else name
    parts = [f'<h3>{title} <span class="mb-state mb-{job.state}">{html.escape(tr(NAMES[job.state]))}</span></h3>', progress(job)]
    if job.error:
        parts.append(f'<p class="mb-error">{html.escape(job.error)}</p>')
    details = html.escape(
        json.dumps({"spec": dict(job.spec), "result": dict(job.result)}, ensure_ascii=False, indent=1, default=str)[:20_000]
    )
    parts.append(
        f'<p class="mb-who">{html.escape(_kind(job))} · {cards.moment(job.ended or job.started or job.created)}{_items(job)} · {job.id}</p>'
    )
    parts.append(f'<details class="mb-spec"><summary>{html.escape(tr("details"))}</summary><pre>{details}</pre></details>')
    return cards.finished(
        job.id, f'<article class="mb-card mb-job" tabindex="0">{"".join(parts)}<div class="mb-acts">{buttons}</div></article>'
    )


def progress(job: Job) -> str:
    """A bar, and what is being done."""
    if job.state in (State.DONE, State.FAILED, State.CANCELLED, State.QUEUED) or not job.progress:
        return ""
    done, total = int(job.progress.get("done") or 0), job.progress.get("total")
    bar = f'<progress max="{int(total)}" value="{done}"></progress>' if total else "<progress></progress>"
    counted = f"{done:,} / {int(total):,}" if total else f"{done:,}" if done else ""
    words = " · ".join(filter(None, (tr(str(job.progress.get("phase", ""))), counted, str(job.progress.get("detail", "")))))
    return f'{bar}<p class="mb-who">{html.escape(words)}</p>'


def place_of(job: Job) -> str:
    """The page that shows what the job makes."""
    if job.kind in ("train", "adapt", "distill"):
        return f"train?run={job.spec.get('recipe', {}).get('name', '')}"
    if job.kind == "evaluate":
        return "evaluate"
    if job.kind == "app" and job.spec.get("app") == "create":
        return f"./?work={str(job.spec.get('out', '')).rpartition('/')[2]}"
    return "film" if job.kind == "app" else ""


def _kind(job: Job) -> str:
    return tr(str(job.spec.get("app") or KINDS.get(job.kind, job.kind)))


def _items(job: Job) -> str:
    return f" · {html.escape(tr('{count} pieces done', count=job.items))}" if job.items else ""
