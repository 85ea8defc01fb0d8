"""Bodies that may be JSON or a form with files, as OpenAI's clients send them: plain values checked by a schema, files as bytes.

A form has but strings: `options[steps]=20` and `options={"steps": 20}` both mean what JSON would say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from miaobi.core.schema import Schema, validate
from miaobi.serve.http.errors import Denied

S = TypeVar("S", bound=Schema)
MOST_FILES, MOST_FIELDS = 20, 300
LONGEST_FIELD = 4 << 20  # bytes of one that is no file


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Given(Generic[S]):
    """A body: its values, and its files by field."""

    values: S
    files: Mapping[str, Sequence[Upload]]

    def file(self, name: str) -> Upload | None:
        """The only file of that field, if there is one.

        Raises:
            Denied: there are several.
        """
        found = self.files.get(name, ())
        if len(found) > 1:
            raise Denied("'{name}' is given {count} times; one is wanted", status=400, param=name, name=name, count=len(found))
        return found[0] if found else None


def described(schema: type[Schema], files: Mapping[str, bool], *, json_too: bool = False) -> dict[str, Any]:
    """The body for the OpenAPI description; `files` are the fields that hold files, and whether each is required."""
    plain = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    plain.pop("$defs", None)
    form = {**plain, "properties": {**plain["properties"], **{name: {"type": "string", "format": "binary"} for name in files}}}
    form["required"] = [*plain.get("required", ()), *(name for name, required in files.items() if required)]
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if json_too:
        content["application/json"] = {"schema": plain}
    return {"requestBody": {"required": True, "content": content}}


async def read(request: Request, schema: type[S], files: Sequence[str], *, json_too: bool = False) -> Given[S]:
    """The body of a request.

    Raises:
        Denied: 400 or 415: not a body of that kind, a file where none belongs.
        UsageError: the values are wrong.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" and json_too:
        values = await request.json()
        if not isinstance(values, dict):
            raise Denied("an object is wanted", status=400)
        return Given(validate(schema, values, request.url.path), {})
    if kind != "multipart/form-data":
        raise Denied("this path takes multipart/form-data", status=415)
    try:
        form = await request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD)
    except HTTPException as error:
        raise Denied("the form cannot be read: {problem}", status=400, problem=error.detail) from None
    found: dict[str, list[Upload]] = {}
    plain: dict[str, Any] = {}
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if isinstance(value, UploadFile):
            if name not in files:
                raise Denied("'{name}' is no file here", status=400, param=name[:100], name=name[:100])
            found.setdefault(name, []).append(Upload(value.filename or "", await value.read()))
        else:
            _put(plain, key, value)
    return Given(validate(schema, plain, request.url.path), found)


def _put(values: dict[str, Any], key: str, value: str) -> None:
    """One field: `options[steps]` goes into a mapping, `include[]` into a list, a field called options is JSON.

    Raises:
        Denied: 400 for a field that comes twice, or for half a character.
    """
    if not key.isprintable() or "\ufffd" in key or _is_broken(key) or _is_broken(value):
        raise Denied("the form holds half a character (a lone surrogate)", status=400)
    name, bracket, inner = key.partition("[")
    if bracket and inner == "]":
        values.setdefault(name, []).append(value)
        return
    if bracket and inner.endswith("]"):
        whole = values.setdefault(name, {})
        if isinstance(whole, dict):
            whole[inner[:-1]] = _parsed(value)
        return
    if name in values:
        raise Denied("'{name}' is given twice", status=400, param=name[:100], name=name[:100])
    values[name] = _parsed(value) if name == "options" else value


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _parsed(value: str) -> Any:
    """What a text means as JSON; itself where it is none."""
    try:
        found = json.loads(value, parse_constant=lambda constant: constant)
    except (ValueError, RecursionError):
        return value
    return found
