"""`/v1/models`: which models are served, and what each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from miaobi.serve.http.errors import Denied
from miaobi.serve.http.routes import embeddings
from miaobi.serve.http.state import Here

if TYPE_CHECKING:
    from miaobi.serve.pool import Served

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(state: Here) -> dict[str, Any]:
    """Every model that can be asked."""
    return {"object": "list", "data": [*(entry(served) for served in state.pool.models()), *embeddings.entries(state)]}


@router.get("/v1/models/{model}")
async def retrieve_model(model: str, state: Here) -> dict[str, Any]:
    """One model."""
    served = state.pool.model(model)
    if served is not None:
        return entry(served)
    for found in embeddings.entries(state):
        if found["id"] == model:
            return found
    raise Denied("the model '{name}' is not served here", status=404, code="model_not_found", param="model", name=model[:200])


def entry(served: Served) -> dict[str, Any]:
    """A model in OpenAI's shape, and beside it what it makes and how large it is."""
    return {
        "id": served.name,
        "object": "model",
        "created": int(served.created),
        "owned_by": "miaobi",
        "family": served.family,
        "outputs": sorted(map(str, served.outputs)),
        "verbs": sorted(map(str, served.verbs)),
        "loaded": served.loaded,
        "bytes": served.bytes,
        "context": served.context,
    }
