"""`/v1/audio`: text to speech, whole or as it is spoken, and speech to text."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.core.types import Content, Media, Modality, Piece
from miaobi.data import sounds, subtitles
from miaobi.serve.http import forms, making, speech, sse
from miaobi.serve.http.attachments import respond
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.state import Here, State
from miaobi.serve.pool import Ask, Served
from miaobi.trust import aigc

router = APIRouter(tags=["audio"])

SUFFIXES = {"mp3": ".mp3", "opus": ".opus", "flac": ".flac", "wav": ".wav"}
OPENAIS = frozenset(  # voices of OpenAI's own, without one of which its clients do not ask
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)


class Speech(making.Wish):
    """What is spoken, and how."""

    input: str = Field(min_length=1, max_length=100_000)
    """The text."""
    voice: str | dict[str, str] = ""
    """A voice by name; empty, or one of OpenAI's such as alloy, takes one for the language."""
    instructions: str = Field("", max_length=4096)
    """How to speak, where a model takes such words."""
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    """Of the file; `pcm` is bare samples of 16 bits, and `aac` is only streamed."""
    speed: float | None = Field(None, gt=0, le=4)
    """1 is the voice's own pace."""
    stream_format: Literal["audio", "sse"] | None = None
    """Send each sentence as soon as it is spoken, as one growing file or as events. Without it the file comes whole."""


class Transcription(Schema):
    """How to listen."""

    model: str | None = Field(None, max_length=1000)
    """A name that `/v1/models` lists; by default the one that ships."""
    language: str = Field("", pattern="^([a-z]{2,3})?$")
    """What is spoken; empty finds out."""
    prompt: str = Field("", max_length=10_000)
    """What went before: names, spelling."""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    """`verbose_json` has the times."""
    temperature: float = Field(0.0, ge=0, le=1)
    """OpenAI's; the models here do not draw lots, so it is 0."""
    timestamp_granularities: list[Literal["word", "segment"]] = Field(default_factory=list)
    """Whose times are wanted; `verbose_json` always has those of segments."""
    stream: bool = False
    """Events, with the text as it is heard."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the model beyond OpenAI's fields."""
    keep: bool = False
    """Keep the text in the server's library, too."""


@router.post("/v1/audio/speech", response_class=Response)
async def speak(body: Speech, state: Here) -> Response:
    """Read a text aloud."""
    served = making.chosen(state, body.model, Modality.AUDIO)
    voice = body.voice if isinstance(body.voice, str) else body.voice.get("id", "")
    voice = "" if voice in OPENAIS else voice
    options = making.with_options(served, body.options, voice=voice, speed=body.speed, instructions=body.instructions)
    ask = dataclasses.replace(making.asked(served, body.input, options, seed=body.seed), mark=body.mark, watermark=body.watermark)
    if body.stream_format is not None:
        return await _streamed(state, ask, body)
    if body.response_format == "aac":
        raise Denied("aac is only streamed: set stream_format", status=400, param="response_format", code="invalid_value")
    [content] = await state.collect(ask)
    [kept] = await making.keep(state, [content], wanted=body.keep)
    data = await asyncio.to_thread(_file, content, body.response_format)
    headers = making.headers(making.first_label([content]), kept)
    return respond(data, speech.MIMES[body.response_format], name=f"speech.{body.response_format}", headers=headers)


def _file(content: Content, format: str) -> bytes:
    """The sound as a whole file with its label, or as bare samples."""
    if format == "pcm":
        part = next(part for part in content.parts if isinstance(part, Media))
        return speech.pcm(sounds.decode(part.data))
    return making.as_file(content, SUFFIXES[format]).data


async def _streamed(state: State, ask: Ask, body: Speech) -> Response:
    """One sentence after the other."""
    id = secrets.token_hex(16)
    label = aigc.implicit(id, by=aigc.producer())
    pieces = _spoken(state, ask, body, label)
    if body.stream_format == "sse":
        return await sse.stream(_events(pieces), state, id=id, done=False)
    first = await anext(pieces)  # what is wrong with the request is told with a status of its own
    headers = making.headers(label, "") | sse.HEADERS
    return StreamingResponse(_joined(first, pieces), media_type=speech.MIMES[body.response_format], headers=headers)


async def _joined(first: bytes, pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def _spoken(state: State, ask: Ask, body: Speech, label: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """The bytes of the file, sentence by sentence. Each goes through the one door, so each is checked and watermarked; the audible mark
    stands before the first."""
    writer: speech.Writer | None = None
    texts = speech.sentences(body.input)
    for number, text in enumerate(texts):
        turn = dataclasses.replace(ask.turns[-1], parts=(text,))
        one = dataclasses.replace(ask, turns=(turn,), mark=ask.mark if number == 0 else "none")
        [content] = await state.collect(one)
        await making.keep(state, [content], wanted=body.keep)
        data = next(part.data for part in content.parts if isinstance(part, Media))
        sound = await asyncio.to_thread(sounds.decode, data)
        writer = writer or speech.Writer(body.response_format, sound.rate, label)
        if number < len(texts) - 1:
            sound = sounds.concatenated([sound, sounds.silence(speech.PAUSE_SECONDS, sound.rate, sound.channels)])
        yield await asyncio.to_thread(writer.add, sound)
    assert writer is not None
    yield await asyncio.to_thread(writer.end)


async def _events(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[sse.Event]:
    async with aclosing(pieces):
        async for piece in pieces:
            if piece:
                yield sse.Event({"type": "speech.audio.delta", "audio": making.base64_of(piece)}, name="speech.audio.delta")
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield sse.Event({"type": "speech.audio.done", "usage": usage}, name="speech.audio.done", last=True)


# ---------------------------------------------------------------- heard


@router.post("/v1/audio/transcriptions", openapi_extra=forms.described(Transcription, {"file": True}), response_class=Response)
async def transcribe(request: Request, state: Here) -> Response:
    """Write down what a sound says."""
    return await _listen(request, state, "transcribe")


@router.post("/v1/audio/translations", openapi_extra=forms.described(Transcription, {"file": True}), response_class=Response)
async def translate(request: Request, state: Here) -> Response:
    """Write down in English what a sound says."""
    return await _listen(request, state, "translate")


async def _listen(request: Request, state: State, task: str) -> Response:
    given = await forms.read(request, Transcription, ("file",))
    body, file = given.values, given.file("file")
    if file is None:
        raise Denied("'{path}' is missing", status=400, param="file", path="file")
    if body.temperature:
        raise Denied("the models here do not draw lots; leave temperature at 0", status=400, param="temperature", code="invalid_value")
    served = making.chosen(state, body.model, Modality.TEXT, takes="sound")
    ask = dataclasses.replace(making.asked(served, body.prompt, _options(served, body, task), seed=0), given={"sound": file.data})
    if body.stream:
        return await sse.stream(_heard(state, ask, body), state, id=secrets.token_hex(16), done=False)
    [content] = await state.collect(ask)
    [kept] = await making.keep(state, [content], wanted=body.keep)
    return _written(content, body, task, kept)


def _options(served: Served, body: Transcription, task: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"language": body.language, "task": "" if task == "transcribe" else task}
    options = making.with_options(served, body.options, **fields)
    if making.knows(served, "times") and "times" not in options:
        options["times"] = "word" in body.timestamp_granularities or body.response_format in ("srt", "vtt")
    return options


def _written(content: Content, body: Transcription, task: str, kept: str) -> Response:
    """The text in the format that is wanted."""
    headers = making.headers(making.first_label([content]), kept)
    if body.response_format == "text":
        return PlainTextResponse(content.text.strip() + "\n", headers=headers)
    notes = content.label.notes
    if body.response_format in ("srt", "vtt"):
        cues = subtitles.of_notes(notes) if content.text.strip() else []
        text = subtitles.to_srt(cues) if body.response_format == "srt" else subtitles.to_vtt(cues)
        return PlainTextResponse(text, headers=headers)
    values: dict[str, Any] = {"text": content.text.strip(), "usage": {"type": "duration", "seconds": round(notes.get("seconds", 0))}}
    if body.response_format == "verbose_json":
        values |= {"task": task, "language": notes.get("language", ""), "duration": notes.get("seconds", 0.0)}
        values |= {"segments": _segments(notes.get("sentences", []))}
        values |= {"words": [{"word": word, "start": start, "end": end} for word, start, end in notes.get("words", [])]}
    return JSONResponse(values | making.told(content, kept))


def _segments(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [{"id": number, "start": start, "end": end, "text": text} for number, (text, start, end) in enumerate(rows)]


async def _heard(state: State, ask: Ask, body: Transcription) -> AsyncGenerator[sse.Event]:
    """The text as it is heard, then as a whole."""
    async with aclosing(state.stream(ask)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Piece) and isinstance(chunk.part, str):
                yield sse.Event({"type": "transcript.text.delta", "delta": chunk.part}, name="transcript.text.delta")
            elif isinstance(chunk, Content):
                [kept] = await making.keep(state, [chunk], wanted=body.keep)
                values = {"type": "transcript.text.done", "text": chunk.text.strip(), **making.told(chunk, kept)}
                yield sse.Event(values, name="transcript.text.done", last=True)
