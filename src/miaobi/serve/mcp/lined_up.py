"""The tools that put work in line, look after it, and stop it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from miaobi.core.errors import unknown
from miaobi.core.schema import Schema
from miaobi.serve.mcp.bench import LONGEST_WAIT, Answer, Bench, Tell, Tool, Wait, is_there, job_answer, job_values, model_of, texts

if TYPE_CHECKING:
    from miaobi.core.recipe import Recipe


class Learn(Wait):
    """A recipe of the folder."""

    recipe: str
    """The YAML file."""
    preset: str = ""
    """Named changes of the recipe."""
    set: list[str] = Field(default_factory=list)
    """Changes of single values, such as train.steps=100."""


def on_recipe(kind: str, summary: str) -> Tool:
    """A job that a recipe describes."""

    async def run(bench: Bench, wanted: Learn, tell: Tell) -> Answer:
        recipe = await _recipe(bench, wanted)
        spec = {"recipe": recipe.model_dump(mode="json")}
        return await bench.done(kind, spec, name=recipe.name, seconds=wanted.wait_seconds, tell=tell)

    return Tool(name=kind, summary=summary, schema=Learn, run=run)


class Tune(Learn):
    """A recipe of the folder, and what varies."""

    parameters: list[str] = Field(min_length=1)
    """Keys and their ranges: train.optimizer.lr=log(1e-4,1e-2), train.batch=choice(16,32)."""
    trials: int = Field(20, ge=1, le=1000)
    """Attempts in all."""


async def tune(bench: Bench, wanted: Tune, tell: Tell) -> Answer:
    recipe = await _recipe(bench, wanted)
    spec = {"recipe": recipe.model_dump(mode="json"), "parameters": wanted.parameters, "trials": wanted.trials}
    return await bench.done("tune", spec, name=recipe.name, seconds=wanted.wait_seconds, tell=tell)


async def _recipe(bench: Bench, wanted: Learn) -> Recipe:
    """The recipe, whose data and models lie in the folder or have names.

    Raises:
        UsageError: it names a file outside.
    """
    from miaobi.core.recipe import Recipe

    path = bench.existing(wanted.recipe)
    recipe = await asyncio.to_thread(lambda: Recipe.load(path, preset=wanted.preset, overrides=wanted.set))
    for text in texts(recipe.model_dump(mode="json", exclude={"generate"})):  # whose prompts are words
        if text.startswith(("/", "~")) or ".." in Path(text).parts or is_there(bench.folder / text):
            bench.inside(text.replace("~", "/", 1) if text.startswith("~") else text)
    return recipe


class Batch(Wait):
    """Many requests to one model."""

    requests: str
    """A file of the folder with one request a line: {"prompt": …} and, if wanted, id, seed, n, options."""
    model: str
    """A name that `models` lists."""
    out: str
    """The new file of answers, one a line, in the order of the requests."""
    seed: int | None = Field(None, ge=0, le=2**62)
    """Of the first line; each further one takes the next."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of every request."""
    keep: bool = False
    """Keep the contents in the library."""


async def batch(bench: Bench, wanted: Batch, tell: Tell) -> Answer:
    from miaobi.serve.batch import spec_for

    path, out = bench.existing(wanted.requests), bench.fresh(wanted.out)
    model = model_of(bench, wanted.model).name
    spec = spec_for(path, model=model, out=out, seed=wanted.seed, options=wanted.options, keep=wanted.keep)
    return await bench.done("batch", spec | {"folder": str(bench.folder)}, name=path.name, seconds=wanted.wait_seconds, tell=tell)


class Jobs(Schema):
    """Which jobs are wanted."""

    state: str = ""
    """Only jobs in this state: queued, running, lost, paused, done, failed, cancelled."""
    limit: int = Field(20, ge=1, le=200)
    """At most so many, the newest first."""


async def jobs(bench: Bench, wanted: Jobs, tell: Tell) -> Answer:
    from miaobi.library.queue import State

    if wanted.state and wanted.state not in tuple(State):
        raise unknown("state", wanted.state, tuple(State))
    states = [State(wanted.state)] if wanted.state else []
    found = await asyncio.to_thread(lambda: bench.queue.list(states, limit=wanted.limit))
    return Answer(values={"jobs": [job_values(job) for job in found]})


class Job(Schema):
    """A job, and what is asked of it."""

    id: str
    """Its id, or the first letters."""
    ask: str = ""
    """pause, resume, cancel or retry; empty: nothing."""
    wait_seconds: float = Field(0.0, ge=0, le=LONGEST_WAIT)
    """How long to wait for its end."""


async def job(bench: Bench, wanted: Job, tell: Tell) -> Answer:
    actions = ("pause", "resume", "cancel", "retry")
    if wanted.ask and wanted.ask not in actions:
        raise unknown("action", wanted.ask, actions)
    job = await asyncio.to_thread(bench.queue.get, wanted.id)
    if wanted.ask:
        job = await asyncio.to_thread(bench.queue.ask, job.id, wanted.ask)
    if str(job.state) in ("queued", "lost"):
        await asyncio.to_thread(bench.hands.begin, job.kind)
    return job_answer(await bench.follow(job.id, wanted.wait_seconds, tell))
