"""`/v1/music/generations`: tunes from words, as scores or as they sound."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from miaobi.core.types import Content, Modality
from miaobi.serve.http import making, media_url
from miaobi.serve.http.attachments import respond
from miaobi.serve.http.chance import now
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.state import Here
from miaobi.trust.media import SUFFIXES

router = APIRouter(tags=["music"])


class Music(making.Wish):
    """What is composed, and how it is sent."""

    prompt: str = Field("", max_length=32_000)
    """A title, or a mood; `options` say the key, the metre, the instruments and so on."""
    n: int = Field(1, ge=1, le=16)
    """How many tunes."""
    music: str = Field("", max_length=16 << 20)
    """A tune to start from, as a `data:` URL: MIDI, MusicXML or ABC."""
    output_format: Literal["mid", "musicxml", "mp3", "opus", "flac", "wav"] = "mid"
    """A score, or the score played."""
    response_format: Literal["b64_json", "url", "file"] = "b64_json"
    """`url` is a `data:` URL; `file` is the bytes themselves, of one tune."""


@router.post("/v1/music/generations")
async def compose(body: Music, state: Here) -> Response:
    """Compose."""
    if body.response_format == "file" and body.n > 1:
        raise Denied("a file holds one tune; n is {n}", status=400, param="n", n=body.n)
    served = making.chosen(state, body.model, Modality.MUSIC, takes="music" if body.music else "")
    ask = making.asked(served, body.prompt, making.with_options(served, body.options) | making.counted(served, body.n), seed=body.seed)
    given = {"music": await media_url.fetch(body.music, state.settings, param="music")} if body.music else {}
    contents = await state.collect(dataclasses.replace(ask, given=given))
    kept = await making.keep(state, contents, wanted=body.keep)
    if body.response_format == "file":
        file = await asyncio.to_thread(making.as_file, contents[0], f".{body.output_format}")
        headers = making.headers(making.first_label(contents), kept[0])
        return respond(file.data, file.mime, name=f"music.{body.output_format}", headers=headers)
    rows = [{**await asyncio.to_thread(_tune, content, body), **making.told(content, id)} for content, id in zip(contents, kept)]
    values = {"created": now(), "output_format": body.output_format, "data": rows, "aigc": rows[0]["aigc"]}
    return Response(json.dumps(values, ensure_ascii=False), media_type="application/json")


def _tune(content: Content, body: Music) -> dict[str, Any]:
    data = making.base64_of(making.as_file(content, f".{body.output_format}").data)
    if body.response_format == "b64_json":
        return {"b64_json": data}
    return {"url": f"data:{SUFFIXES[f'.{body.output_format}']};base64,{data}"}
