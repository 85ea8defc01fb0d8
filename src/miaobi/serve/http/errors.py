"""Errors as OpenAI writes them, `{"error": {"message", "type", "param", "code"}}`, with the status that a client's retries go by.

A `MiaobiError` tells the person what is wrong and what to do; what went wrong inside is logged under the request's id and never shown.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from miaobi.core import errors
from miaobi.core.language import tr
from miaobi.core.schema import explained
from miaobi.trust.safety import Refused

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger("miaobi.serve")

STATUS: tuple[tuple[type[errors.MiaobiError], int, str, str], ...] = (  # the first that fits: status, type, code
    (Refused, 400, "invalid_request_error", "content_policy_violation"),
    (errors.UsageError, 400, "invalid_request_error", "invalid_value"),
    (errors.DataError, 400, "invalid_request_error", "invalid_data"),
    (errors.MissingExtra, 501, "server_error", "missing_extra"),
    (errors.Busy, 409, "conflict_error", "busy"),
    (errors.MiaobiError, 500, "server_error", "internal_error"),
)
TYPES = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "timeout"),
    409: ("conflict_error", "conflict"),
    413: ("invalid_request_error", "too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


class Denied(errors.MiaobiError):
    """A request that is not let in, with its status. `param` names the field that is wrong, `code` what a program goes by."""

    def __init__(
        self, template: str, /, *, status: int, code: str = "", param: str = "", retry_after: float = 0.0, **values: object
    ) -> None:
        super().__init__(template, **values)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after


def not_found(kind: str, name: str) -> Denied:
    """The error for an id that nobody has; `kind` is an English template ("file", "video")."""
    return Denied("there is no {kind} '{name}'", status=404, kind=tr(kind), name=name[:200])


def install(app: FastAPI) -> None:
    """Let every error of the app end in OpenAI's shape."""
    app.add_exception_handler(errors.MiaobiError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_surprise)


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return _place(error)[0]


def body(error: Exception) -> dict[str, Any]:
    """The error in OpenAI's shape; the words of an unexpected one are not shown."""
    _, kind, code = _place(error)
    known = isinstance(error, errors.MiaobiError)
    message = str(error) if known else tr("something went wrong inside the server; its log tells more under the id of this request")
    if getattr(error, "private", False):  # it names the address of the library
        message = tr("the library of this server cannot be used now. Try again soon")
    return {"error": {"message": message, "type": kind, "param": getattr(error, "param", "") or None, "code": code}}


def _place(error: Exception) -> tuple[int, str, str]:
    """Status, type and code. An error that knows its own (`status`, `code`) is believed."""
    unexpected = (Exception, 500, "server_error", "internal_error")
    _, status, kind, code = next((row for row in STATUS if isinstance(error, row[0])), unexpected)
    if isinstance(error, errors.UsageError) and error.values.get("kind") == tr("model"):
        status, code = 404, "model_not_found"
    if own := int(getattr(error, "status", 0) or 0):
        status, (kind, code) = own, TYPES.get(own, ("server_error", "unavailable" if own == 503 else "internal_error"))
    return status, kind, str(getattr(error, "code", "") or code)


def response(error: Exception) -> JSONResponse:
    """The answer to a request that ends in this error."""
    return JSONResponse(body(error), status_of(error), headers=_headers(error))


async def send(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer from outside the app, where no route is reached."""
    await response(error)(scope, receive, send)


def _headers(error: Exception) -> dict[str, str]:
    seconds = float(getattr(error, "retry_after", 0.0) or 0.0)
    headers = dict(getattr(error, "headers", None) or {})
    return headers | ({"Retry-After": str(max(1, math.ceil(seconds)))} if seconds else {})


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    if status_of(error) >= 500:
        log.error("request failed", exc_info=error)
    return response(error)


async def _of_surprise(request: Request, error: Exception) -> JSONResponse:
    return response(error)  # Starlette raises it again behind this answer, and the log of requests writes it down


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    """What the router itself says: no such path, no such method, a body that cannot be parsed."""
    assert isinstance(error, HTTPException)
    words = {404: tr("there is no such path"), 405: tr("this path does not take {method}", method=request.method)}
    message = words.get(error.status_code) or str(error.detail)
    kind, code = TYPES.get(error.status_code, ("invalid_request_error", "invalid_request"))
    values = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(values, error.status_code, headers=error.headers)


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    """What pydantic says of path, query or body, in the house's words; a body of another kind than the route takes is 415."""
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if _wrong_kind(request, problems):
        return response(Denied("this path takes application/json", status=415))
    lines = dict.fromkeys(_line(problem) for problem in problems[:20])
    where = [str(step) for step in problems[0]["loc"][1:]] if problems else []
    message = "; ".join(lines)
    values = {"message": message, "type": "invalid_request_error", "param": ".".join(where) or None, "code": "invalid_value"}
    return JSONResponse({"error": values}, 400)


def _wrong_kind(request: Request, problems: Any) -> bool:
    """Whether the body came as a form where JSON was wanted: then it is one string of bytes to pydantic."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    whole = any(problem["loc"] == ("body",) for problem in problems)
    return whole and bool(given) and given != "application/json"


def _line(problem: Mapping[str, Any]) -> str:
    """One problem, named by its path without the word `body`."""
    location = problem["loc"][1:] if problem["loc"] and problem["loc"][0] in ("body", "query", "path", "header") else problem["loc"]
    return explained({**problem, "loc": location})
