"""Bytes as a response: shown where a browser only shows, else downloaded; never sniffed, never run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote

from fastapi.responses import Response

SHOWN = frozenset(  # what a browser draws or plays without running anything
    {
        *("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"),
        *("audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4", "video/mp4", "video/webm"),
    }
)
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def respond(data: bytes, mime: str, *, name: str = "", headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """The bytes with their type. HTML, SVG and whatever is not known to be harmless is an attachment."""
    return Response(data, media_type=mime, headers={**headers, "Content-Disposition": disposition(mime, name)})


def disposition(mime: str, name: str = "") -> str:
    """The header that says whether it is shown, and under which name it is saved (RFC 6266)."""
    how = "inline" if mime.partition(";")[0].strip().lower() in SHOWN else "attachment"
    last = re.split(r"[/\\]", name)[-1].strip(". ")[:150]
    if not last:
        return how
    ascii = _PLAIN.sub("_", last)
    return f"{how}; filename=\"{ascii}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"
