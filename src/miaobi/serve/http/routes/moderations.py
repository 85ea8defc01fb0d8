"""`/v1/moderations`: which categories of the word lists a text touches.

It is the very net through which requests and outputs of the models here go: words, no understanding. Scores are 1 or 0, never a guess.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from miaobi.serve.http.chance import new_id
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.wire.fields import Body
from miaobi.trust import safety

router = APIRouter(tags=["text"])
MODEL = "words"
SENT_UNASKED = ("omni-moderation-latest", "text-moderation-latest")
CATEGORIES = (  # OpenAI's, which its clients expect to find
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
NAMED = {"child-abuse": "sexual/minors", "drugs": "illicit", "weapons": "illicit/violent"}  # others keep their names


class TextItem(Body):
    """A text among several things."""

    type: Literal["text"]
    text: str


class ModerationBody(Body):
    """One or several texts. The model is always the word lists of this server; another name is refused."""

    input: (
        str | Annotated[list[str], Field(min_length=1, max_length=1024)] | Annotated[list[TextItem], Field(min_length=1, max_length=1024)]
    )
    model: str | None = Field(None, max_length=200)


@router.post("/v1/moderations")
async def moderate(body: ModerationBody) -> dict[str, Any]:
    """A verdict for each text."""
    if body.model not in (None, MODEL, *SENT_UNASKED):
        raise Denied("moderation is done by the model '{name}' alone", status=404, code="model_not_found", param="model", name=MODEL)
    texts = [body.input] if isinstance(body.input, str) else [item if isinstance(item, str) else item.text for item in body.input]
    words = safety.load()
    results = await asyncio.to_thread(lambda: [_result(words, text) for text in texts])
    return {"id": new_id("modr-"), "model": f"{MODEL}-{words.digest[:8]}", "results": results}


def _result(words: safety.WordList, text: str) -> dict[str, Any]:
    """The verdict about one text. Categories of the lists that OpenAI does not have stand beside its own."""
    found = {NAMED.get(hit.category, hit.category) for hit in words.hits(text)}
    names = [*CATEGORIES, *sorted(found - set(CATEGORIES))]
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in names},
        "category_scores": {name: float(name in found) for name in names},
        "category_applied_input_types": {name: ["text"] for name in names},
    }
