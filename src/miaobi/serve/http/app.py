"""The app: one table of areas, the house around them, and a life that starts the pool and lets requests end before it stops.

An area is a module of `routes/` with a `router` and the scope that a key needs for it. Whatever stands in the table is guarded, measured,
logged and attacked by the tests without another line.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse

import miaobi
from miaobi.core.errors import MiaobiError
from miaobi.serve.http import errors
from miaobi.serve.http.bodies import Bodies
from miaobi.serve.http.gate import Gate
from miaobi.serve.http.guard import Guard
from miaobi.serve.http.logs import Journal
from miaobi.serve.http.plan import Plan
from miaobi.serve.http.state import State

if TYPE_CHECKING:
    from miaobi.library.store import Library
    from miaobi.serve.http.settings import Settings
    from miaobi.serve.pool import Pool

AREAS: tuple[tuple[str, str], ...] = (  # module of routes, scope of keys
    ("health", "metrics"),
    ("models", "models"),
    ("chat", "text"),
    ("completions", "text"),
    ("responses", "text"),
    ("embeddings", "text"),
    ("moderations", "text"),
    ("images", "media"),
    ("audio", "media"),
    ("music", "media"),
    ("videos", "media"),
    ("create", "media"),
    ("files", "files"),
    ("batches", "files"),
)
log = logging.getLogger("miaobi.serve")
PAGES = ("/docs", "/openapi.json")  # beside the areas; any key opens them
DOCS = Path(__file__).parent / "docs.html"
_ALONE = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'"
MOUNTS = (("/studio", "studio"),)  # everything below is another app's, behind the same house


def build(settings: Settings, *, pool: Pool, library: Library | None = None) -> FastAPI:
    """The server's app. `library` is opened at `settings.library` when first needed, if none is given."""
    silent: dict[str, Any] = {"telemetry": {"auto_configure": False}} if "telemetry" in signature(FastAPI).parameters else {}
    app = FastAPI(
        title="miaobi",
        version=miaobi.__version__,
        description="AI-generated content from this machine, labelled. OpenAI's clients work with the base URL `/v1`.",
        lifespan=_life,
        docs_url=None,
        redoc_url=None,
        **silent,
    )
    plan = Plan(((router_of(area), scope) for area, scope in AREAS), pages=PAGES, mounts=MOUNTS)
    state = app.state.miaobi = State(settings, pool=pool, library=library, plan=plan)
    errors.install(app)
    for area, _ in AREAS:
        app.include_router(router_of(area))
    app.add_route("/docs", _docs, include_in_schema=False)
    app.add_middleware(Bodies, settings=settings)  # the last that is added is the first that is reached
    app.add_middleware(Gate, state=state, plan=plan)
    app.add_middleware(Guard, settings=settings, plan=plan)
    app.add_middleware(Journal, state=state, plan=plan)
    return app


def router_of(area: str) -> APIRouter:
    """The router of an area of the table."""
    found: APIRouter = importlib.import_module(f"miaobi.serve.http.routes.{area}").router
    return found


async def _resume(state: State) -> None:
    """Jobs go on by themselves; a library that cannot be opened is told to whoever asks for something that needs it."""
    try:
        await asyncio.to_thread(state.resume)
    except MiaobiError as problem:
        log.warning("jobs of before do not go on: %s", problem)


async def _docs(request: Request) -> FileResponse:
    """The description for people: one page that needs no other server."""
    return FileResponse(DOCS, media_type="text/html", headers={"Content-Security-Policy": _ALONE})


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """The pool runs while the app does. Uvicorn waits for requests under way before it ends this block."""
    state: State = app.state.miaobi
    try:
        await state.pool.start()
    except MiaobiError as problem:
        state.problem = problem
        raise
    state.ready = True
    resuming = asyncio.create_task(_resume(state))
    try:
        yield
    finally:
        state.ready = False
        await resuming
        await state.pool.close()
        state.close()
