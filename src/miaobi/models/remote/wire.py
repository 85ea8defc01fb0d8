"""A request to an OpenAI-compatible endpoint and its stream of events, over a transport that tests and proxies can put in its place.

Sent again only while nothing has come: an answer that breaks off in the middle is an error, and never told twice. The key goes to the
configured address alone (no redirect is followed) and into no message.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException
from typing import IO, Any, Protocol

from miaobi.core.errors import DataError, MiaobiError, UsageError

MOST_LINE = 4 << 20  # bytes of one event
MOST_ANSWER = 64 << 20  # bytes of an answer
PIECE = 1 << 16
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # what may be different in a moment
LONGEST_WAIT = 30.0


class Unanswered(MiaobiError):
    """The endpoint cannot be reached, says nothing, or breaks off."""


class Reply(Protocol):
    """What a transport gives back: bytes as they come, and the headers."""

    headers: Message

    def read1(self, limit: int, /) -> bytes:
        """What has come, at most `limit` bytes of it; b"" at the end."""
        ...


Transport = Callable[[str, bytes, Mapping[str, str], float], AbstractContextManager[Reply]]  # address, body, headers, seconds of silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, ready to be sent."""

    url: str
    body: Mapping[str, Any]
    key: str = field(default="", repr=False)
    silence_seconds: float = 60.0
    seconds: float = 600.0
    tries: int = 4


def send(url: str, body: bytes, headers: Mapping[str, str], silence_seconds: float) -> AbstractContextManager[Reply]:
    """The transport of every day: HTTP by the standard library, proxies of the environment included, redirects refused."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    return closing(urllib.request.build_opener(_NoRedirect).open(request, timeout=silence_seconds))


def events(call: Call, transport: Transport = send, *, wait: Callable[[float], None] = time.sleep) -> Iterator[dict[str, Any]]:
    """The JSON events of the endpoint's answer, in order. Closing the iterator closes the connection.

    Raises:
        UsageError: the endpoint refuses the request or the key.
        Unanswered: it is not there, busy to the end, silent, or breaks off.
        DataError: it answers something that is no stream of events.
    """
    if not (call.key.isascii() and call.key.isprintable()):
        raise UsageError("the endpoint's key has a line break or a letter that no key has; put it into the environment again")
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json", "User-Agent": "miaobi"}
    if call.key:
        headers["Authorization"] = f"Bearer {call.key}"
    body = json.dumps(call.body, ensure_ascii=False).encode()
    deadline = time.monotonic() + call.seconds
    for attempt in range(1, call.tries + 1):
        begun = False
        try:
            with transport(call.url, body, headers, call.silence_seconds) as reply:
                for event in _read(reply, deadline):
                    begun = True
                    yield event
            return
        except urllib.error.HTTPError as error:
            problem, pause = _refusal(error, call.key)
            if error.code not in AGAIN:
                raise problem from None
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            text = _safe(str(getattr(error, "reason", "") or error or type(error).__name__), call.key)
            problem, pause = Unanswered("the endpoint {url} does not answer ({problem})", url=call.url, problem=text), None
            if begun:
                raise Unanswered(
                    "the endpoint {url} broke off in the middle of its answer ({problem})", url=call.url, problem=text
                ) from None
        pause = min(LONGEST_WAIT, 2.0 ** (attempt - 1) if pause is None else pause)
        if attempt == call.tries or time.monotonic() + pause > deadline:
            raise problem
        wait(pause)


def _read(reply: Reply, deadline: float) -> Iterator[dict[str, Any]]:
    """Events of a stream, or the one object of an answer that came whole."""
    if "text/event-stream" not in str(reply.headers.get("Content-Type", "")):
        yield _object(b"".join(_pieces(reply, deadline)))
        return
    done = False
    for line in _lines(reply, deadline):
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return
            event = _object(data)
            done = done or any(choice.get("finish_reason") for choice in event.get("choices") or () if isinstance(choice, dict))
            yield event
    if not done:
        raise ConnectionError("the stream ended before the answer did")


def _lines(reply: Reply, deadline: float) -> Iterator[bytes]:
    """The lines of an answer, as soon as each is whole."""
    begun = b""
    for data in _pieces(reply, deadline):
        *lines, begun = (begun + data).split(b"\n")
        yield from lines
        if len(begun) > MOST_LINE:
            raise _too_long()
    if begun:
        yield begun


def _pieces(reply: Reply, deadline: float) -> Iterator[bytes]:
    """The bytes as they come. The clock is looked at each time: a server may send a letter a minute, and never a line."""
    size = 0
    while data := reply.read1(PIECE):
        size += len(data)
        if size > MOST_ANSWER:
            raise _too_long()
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
        yield data


def _too_long() -> DataError:
    return DataError("the endpoint's answer is too long to be one; it was given up")


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError("the endpoint answers with something that is no JSON object: {start}", start=repr(data[:80]))
    if "error" in found and not found.get("choices"):
        error = found["error"]
        text = error.get("message") if isinstance(error, dict) else error
        raise UsageError("the endpoint refuses the request: {problem}", problem=str(text)[:300])
    return found


def _refusal(error: urllib.error.HTTPError, key: str) -> tuple[MiaobiError, float | None]:
    """What an HTTP error means, and how long the endpoint asks to wait."""
    try:
        text = error.read(4096).decode(errors="replace")
    except (OSError, HTTPException):
        text = ""
    finally:
        error.close()
    try:
        said = json.loads(text)["error"]
        text = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError):
        pass
    text = _safe(" ".join(str(text).split())[:300], key) or "–"
    pause = error.headers.get("Retry-After", "") if error.headers else ""
    seconds = float(pause) if pause.isdecimal() else None
    if error.code in (401, 403):
        return UsageError("the endpoint wants a valid key; put it into the environment ({problem})", problem=text), None
    if error.code in AGAIN:
        return Unanswered("the endpoint cannot answer now: error {code} ({problem})", code=error.code, problem=text), seconds
    return UsageError("the endpoint refuses the request: {problem}", problem=f"{error.code} {text}"), None


def _safe(text: str, key: str) -> str:
    """A message without the key, which some servers repeat."""
    return text.replace(key, "…") if key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address was not configured, so it gets neither the conversation nor the key."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        return None
