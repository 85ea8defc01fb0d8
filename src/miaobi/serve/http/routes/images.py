"""`/v1/images`: pictures from words, from a picture with what is masked painted anew, and variations of a picture."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from miaobi.core.types import Content, Media, Modality, Progress
from miaobi.serve.http import forms, making, sse
from miaobi.serve.http.chance import now
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.state import Here, State
from miaobi.serve.pool import Ask, Served

router = APIRouter(tags=["images"])

MIMES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


class Picture(making.Wish):
    """What all three share."""

    n: int = Field(1, ge=1, le=64)
    """How many pictures."""
    size: str = Field("auto", max_length=20)
    """`auto`, or width x height such as 256x256."""
    response_format: Literal["b64_json", "url"] = "b64_json"
    """`url` is a `data:` URL: nothing is stored."""
    output_format: Literal["png", "jpeg", "webp"] = "png"
    """Of the file."""
    background: str = Field("auto", max_length=32)
    """`transparent`, `opaque` or a colour; `auto` is the model's own."""
    quality: Literal["auto", "standard"] = "auto"
    """OpenAI's; models here have but one. `options.steps` is what costs time."""


class Generation(Picture):
    """Pictures from words."""

    prompt: str = Field(max_length=32_000)
    """What is to be seen."""
    style: str = Field("", max_length=64)
    """A style by name, where the model has several."""
    moderation: Literal["auto", "low"] = "auto"
    """OpenAI's; the word list always looks."""
    stream: bool = False
    """Events, with pictures on the way."""
    partial_images: int = Field(0, ge=0, le=3)
    """So many pictures on the way."""


class Edit(Picture):
    """A picture painted anew, as words say."""

    prompt: str = Field("", max_length=32_000)
    """What is to be seen."""
    style: str = Field("", max_length=64)
    """A style by name, where the model has several."""
    strength: float | None = Field(None, ge=0, le=1)
    """How much of the picture may change where there is no mask."""
    stream: bool = False
    """Events, with pictures on the way."""
    partial_images: int = Field(0, ge=0, le=3)
    """So many pictures on the way."""


class Variation(Picture):
    """Pictures like one."""

    strength: float | None = Field(None, ge=0, le=1)
    """How far from it they go."""


@router.post("/v1/images/generations")
async def generate(body: Generation, state: Here) -> Response:
    """Draw."""
    served = making.chosen(state, body.model, Modality.IMAGE)
    options = _options(served, body, style=body.style)
    ask = dataclasses.replace(making.asked(served, body.prompt, options, seed=body.seed), mark=body.mark, watermark=body.watermark)
    return await _answer(state, ask, body, "image_generation", stream=body.stream, partial=body.partial_images)


@router.post("/v1/images/edits", openapi_extra=forms.described(Edit, {"image": True, "mask": False}))
async def edit(request: Request, state: Here) -> Response:
    """Draw over a picture. A mask is transparent where the picture is painted anew, as OpenAI has it, or white there."""
    given = await forms.read(request, Edit, ("image", "mask"))
    body, images, mask = given.values, [one.data for one in given.files.get("image", ())], given.file("mask")
    if not images:
        raise Denied("'{path}' is missing", status=400, param="image", path="image")
    served = making.chosen(state, body.model, Modality.IMAGE, takes="image")
    if mask is not None and "mask" not in served.inputs:
        raise Denied("the model '{name}' cannot do this", status=400, code="invalid_value", param="mask", name=served.name)
    options = _options(served, body, style=body.style, strength=body.strength)
    parts: dict[str, Any] = {"image": images if len(images) > 1 else images[0]}
    if mask is not None:
        parts["mask"] = await asyncio.to_thread(white_where_clear, mask.data)
    ask = making.asked(served, body.prompt, options, seed=body.seed)
    ask = dataclasses.replace(ask, given=parts, mark=body.mark, watermark=body.watermark)
    return await _answer(state, ask, body, "image_edit", stream=body.stream, partial=body.partial_images)


@router.post("/v1/images/variations", openapi_extra=forms.described(Variation, {"image": True}))
async def vary(request: Request, state: Here) -> Response:
    """Draw pictures like one."""
    given = await forms.read(request, Variation, ("image",))
    body, image = given.values, given.file("image")
    if image is None:
        raise Denied("'{path}' is missing", status=400, param="image", path="image")
    served = making.chosen(state, body.model, Modality.IMAGE, takes="image")
    ask = making.asked(served, "", _options(served, body, strength=body.strength), seed=body.seed)
    ask = dataclasses.replace(ask, given={"image": image.data}, mark=body.mark, watermark=body.watermark)
    return await _answer(state, ask, body, "image_edit", stream=False, partial=0)


def white_where_clear(data: bytes) -> bytes:
    """OpenAI's mask (transparent where to paint) as ours (white there); one without transparency is ours already.

    Raises:
        DataError: it cannot be read as a picture.
    """
    import numpy as np

    from miaobi.data.pictures import decode, encode

    pixels = decode(data)
    if pixels.shape[-1] < 4 or pixels[..., 3].min() == 255:
        return data
    return encode(np.repeat((pixels[..., 3:] < 128).astype(np.uint8) * 255, 3, axis=-1))


def _options(served: Served, body: Picture, **fields: Any) -> dict[str, Any]:
    """The model's options for OpenAI's fields."""
    background = {"auto": "", "opaque": "white"}.get(body.background, body.background)
    fields = {name: "" if name == "style" and value in ("vivid", "natural") else value for name, value in fields.items()}
    options = making.with_options(served, body.options, background=background, size=side(body.size), **fields)
    return options | making.counted(served, body.n)


def side(text: str) -> int | None:
    """`256x256` as the side of a square; None for `auto`.

    Raises:
        Denied: 400 for what is no size, or no square.
    """
    if text == "auto":
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Denied("'{size}' is no size; write auto or 256x256", status=400, param="size", code="invalid_value", size=text)
    if match[1] != match[2]:
        raise Denied("{size} is no square; the models here draw squares only", status=400, param="size", code="invalid_value", size=text)
    return int(match[1])


async def _answer(state: State, ask: Ask, body: Picture, kind: str, *, stream: bool, partial: int) -> Response:
    if not stream:
        contents = await state.collect(ask)
        return Response(content=_json(await _whole(state, contents, body)), media_type="application/json")
    if body.n > 1:
        raise Denied("a stream holds one picture; n is {n}", status=400, param="n", n=body.n)
    served = state.pool.model(ask.model)
    if partial and served is not None and making.knows(served, "previews"):
        ask = dataclasses.replace(ask, options={**ask.options, "previews": True})
    events = _events(state, ask, body, kind, partial)
    return await sse.stream(events, state, id=secrets.token_hex(16), done=False)


async def _whole(state: State, contents: Sequence[Content], body: Picture) -> dict[str, Any]:
    """The answer in OpenAI's shape, each picture with its label."""
    kept = await making.keep(state, contents, wanted=body.keep)
    rows = [{**await asyncio.to_thread(_picture, content, body), **making.told(content, id)} for content, id in zip(contents, kept)]
    labels = {"aigc": rows[0]["aigc"]} if rows else {}
    return {"created": now(), "output_format": body.output_format, "data": rows, **labels}


def _picture(content: Content, body: Picture) -> dict[str, str]:
    data = making.base64_of(making.as_file(content, SUFFIXES[body.output_format]).data)
    return {"b64_json": data} if body.response_format == "b64_json" else {"url": f"data:{MIMES[body.output_format]};base64,{data}"}


async def _events(state: State, ask: Ask, body: Picture, kind: str, partial: int) -> AsyncGenerator[sse.Event]:
    """Pictures on the way, then the picture."""
    common = {"created_at": now(), "output_format": body.output_format, "size": body.size, "background": body.background}
    shown = 0
    async with aclosing(state.stream(ask)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Progress) and isinstance(chunk.preview, Media) and shown < partial and _is_due(chunk, shown, partial):
                name, data = f"{kind}.partial_image", making.base64_of(chunk.preview.data)
                yield sse.Event({"type": name, "b64_json": data, "partial_image_index": shown, **common, "output_format": "png"}, name=name)
                shown += 1
            elif isinstance(chunk, Content):
                [row] = (await _whole(state, [chunk], body))["data"]
                name = f"{kind}.completed"
                yield sse.Event({"type": name, **common, **row, "usage": None}, name=name, last=True)


def _is_due(chunk: Progress, shown: int, partial: int) -> bool:
    """Whether the next of so many pictures on the way should be shown: they come at even distances."""
    return chunk.step < chunk.total and chunk.step * (partial + 1) >= (shown + 1) * chunk.total


def _json(values: dict[str, Any]) -> bytes:
    import json

    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
