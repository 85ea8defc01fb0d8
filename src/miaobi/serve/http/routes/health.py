"""`/health` (does the server live), `/ready` (does it take requests) and `/metrics` (Prometheus)."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from miaobi.serve.http.metrics import memory_bytes
from miaobi.serve.http.state import Here

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Always "ok" while the server runs; the one path that needs no key."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(state: Here) -> JSONResponse:
    """200 when requests are taken, 503 while the server starts or stops."""
    return JSONResponse({"status": "ready" if state.ready else "not ready"}, 200 if state.ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(state: Here) -> Response:
    """Figures of requests, models and memory in the format of Prometheus."""
    from prometheus_client import CONTENT_TYPE_LATEST

    taken = await asyncio.to_thread(memory_bytes)  # it looks at every process of the machine
    return Response(state.figures.render(taken), media_type=CONTENT_TYPE_LATEST)
