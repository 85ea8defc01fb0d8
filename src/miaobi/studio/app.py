"""The studio's pages in both languages, mounted in the server, so that one process has one pool of models.

`/studio/zh/` and `/studio/en/` are the same pages; `/studio` leads to the language that the browser asks for.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MissingExtra
from miaobi.core.home import home
from miaobi.core.language import LANGUAGES, speaking, tr
from miaobi.studio.room import Room

try:
    import gradio as gr
except ImportError:
    raise MissingExtra(tr("the studio"), "studio", "gradio") from None

from fastapi.responses import RedirectResponse
from starlette.requests import Request
from starlette.routing import Mount

from miaobi.studio import frame, media
from miaobi.studio.early import Early
from miaobi.studio.pages import pages

if TYPE_CHECKING:
    from fastapi import FastAPI

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
MOUNT = "/studio"
LARGEST_UPLOAD = "256mb"
FORGET_SECONDS = (3600, 24 * 3600)  # how often uploads are looked through, and how old they get


def build(room: Room, language: str) -> gr.Blocks:
    """All pages in one language."""
    every = pages()
    blocks: gr.Blocks = gr.Blocks(title="miaobi · 妙笔", analytics_enabled=False, fill_width=True, delete_cache=FORGET_SECONDS)
    with speaking(language), blocks:
        for each in every:
            if each.path:  # what `Blocks.route` does, which would build the whole web app again after every page
                blocks.pages.append((each.path, tr(each.name), False))
                blocks.current_page = each.path
            _page(blocks, each, every, room, language)
        blocks.current_page = ""
    return blocks


def _page(blocks: gr.Blocks, kind: type[frame.Page], every: Sequence[type[frame.Page]], room: Room, language: str) -> None:
    """One page: the header, then what it draws."""
    page = kind(room, language)
    gr.HTML(frame.header(kind, every, language), js_on_load=None, apply_default_css=False)
    gr.Markdown(f"# {tr(kind.name)}\n{tr(kind.about)}", elem_classes="mb-title")
    page.draw()
    page.loaded(blocks)


def mount(app: FastAPI, room: Room) -> None:
    """Put the studio into a server."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing is told to anybody
    os.environ.setdefault("GRADIO_TEMP_DIR", str(home() / "cache" / "studio" / "uploads"))
    app.include_router(media.router(room))
    app.add_api_route(MOUNT, _chosen, include_in_schema=False)
    app.add_api_route(MOUNT + "/", _chosen, include_in_schema=False)
    app.router.lifespan_context = _with_room(app.router.lifespan_context, room)
    warnings.filterwarnings("ignore", "SSR mode is not supported", UserWarning)  # it is off, and Gradio warns all the same
    for language in LANGUAGES:
        gr.mount_gradio_app(
            app,
            build(room, language),
            path=f"{MOUNT}/{language}",
            footer_links=[],
            run_history=False,
            theme=frame.theme(),
            css=frame.style(),
            ssr_mode=False,
            enable_monitoring=False,
            max_file_size=LARGEST_UPLOAD,
            allowed_paths=[str(home() / "cache" / "studio")],
        )
        mounted = app.router.routes[-1]
        assert isinstance(mounted, Mount), "Gradio mounts its app last"
        mounted.app = Early(mounted.app, frame.head())


def _with_room(before: Lifespan, room: Room) -> Lifespan:
    """The server's life with the room's inside it: what is being made ends before the pool does."""

    @contextlib.asynccontextmanager
    async def life(app: Any) -> AsyncIterator[Any]:
        async with before(app) as state:
            try:
                yield state
            finally:
                await room.close()

    return life


def _chosen(request: Request) -> RedirectResponse:
    """The language that the browser asks for first, else that of this machine."""
    from miaobi.core.language import language

    wanted = [part.split(";")[0].strip().lower() for part in request.headers.get("accept-language", "").split(",")]
    found = next((word[:2] for word in wanted if word[:2] in LANGUAGES), language())
    return RedirectResponse(f"{MOUNT}/{found}/", 307)
