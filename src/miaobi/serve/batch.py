"""Many requests in a file of JSON Lines, each answered once, whatever happens in between.

A line is `{"prompt": "中秋月夜", "id": "a7", "seed": 3, "n": 2, "options": {"form": "七绝"}}`; only the prompt is needed. Every answer
is a piece of the job: recorded when it is made, and never made again. The answers are written to one file at the end, in the order of the
requests; labels carry the time at which the job was put in line, so a batch that was torn away ten times gives the same bytes as one that
was not.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from miaobi.core.artifact import explain_os_errors, read_bytes, write_bytes, write_text
from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.language import tr
from miaobi.core.schema import Schema, validate
from miaobi.core.types import Content, Request, Turn
from miaobi.serve.kinds import Result, Spec, Stopped, Task
from miaobi.trust.media import suffix_of

if TYPE_CHECKING:
    from miaobi.api import Loaded

MOST_LINES = 1_000_000
LONGEST_LINE = 1 << 20  # characters
FURTHEST = 2**62


class Line(Schema):
    """One request."""

    prompt: str
    """What is asked."""
    id: str = Field("", max_length=200)
    """What the person calls it; by default the number of its line."""
    seed: int | None = Field(None, ge=0, le=FURTHEST)
    """By default the batch's seed and the number of the line."""
    n: int = Field(1, ge=1, le=64)
    """How many contents."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the family, laid over the batch's own."""


class BatchSpec(Spec):
    """A file of requests to one model."""

    model: str
    """A model by name or folder."""
    requests: str
    """The file."""
    sha256: str = ""
    """Its hash when the job was put in line: another file is another job."""
    out: str
    """The file of answers; media lie in a folder beside it."""
    seed: int = Field(0, ge=0, le=FURTHEST)
    """Of the first line."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of every request."""
    keep: bool = False
    """Keep the contents in the library, too."""


def spec_for(
    requests: Path, *, model: str, out: Path, seed: int | None = None, options: Mapping[str, Any] | None = None, keep: bool = False
) -> dict[str, Any]:
    """The spec of a batch in the present folder; without a seed one is drawn.

    Raises:
        UsageError: no such file.
    """
    data = read_bytes(requests)
    return {
        "folder": str(Path.cwd()),
        "model": model,
        "requests": str(requests.resolve()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "out": str(out.resolve()),
        "seed": secrets.randbits(31) if seed is None else seed,
        "options": dict(options or {}),
        "keep": keep,
    }


def check(spec: BatchSpec) -> None:
    """Every line is a request, the file is the one that was meant, and there is a place for the answers.

    Raises:
        UsageError, DataError: it is not so; the line is named.
    """
    if not sum(1 for _ in lines(spec)):  # reads them all
        raise DataError("{path} holds no requests", path=spec.requests)
    if Path(spec.out).is_dir():
        raise UsageError("{path} is a folder; the answers go into a file", path=spec.out)


def lines(spec: BatchSpec) -> Iterator[Line]:
    """The requests, in their order. Empty lines do not count.

    Raises:
        DataError: a line is no request, or the file has changed since the job was put in line.
    """
    path = Path(spec.requests)
    data = read_bytes(path)
    if spec.sha256 and hashlib.sha256(data).hexdigest() != spec.sha256:
        raise DataError("{path} has changed since the batch was put in line; start a new one", path=path)
    try:
        texts = texts_of(data)
    except UnicodeDecodeError:
        raise DataError("{path} is not UTF-8 text", path=path) from None
    if len(texts) > MOST_LINES:
        raise DataError("{path} has {count:,} lines; a batch has at most {most:,}", path=path, count=len(texts), most=MOST_LINES)
    for number, text in enumerate(texts, 1):
        if text.strip():
            yield _line(path, number, text)


def texts_of(data: bytes) -> list[str]:
    """The lines of a file of JSON Lines. Only a line feed ends one: U+2028 and its like may stand within a text.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return data.decode("utf-8-sig").removesuffix("\n").split("\n")


def _line(path: Path, number: int, text: str) -> Line:
    where = tr("{path}, line {line}", path=path, line=number)
    if len(text) > LONGEST_LINE:
        raise DataError("{where}: longer than {most:,} characters", where=where, most=LONGEST_LINE)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("{where}: not JSON ({problem})", where=where, problem=error) from None
    if not isinstance(values, dict):
        raise DataError("{where}: an object with a prompt is wanted", where=where)
    line = validate(Line, values, where)
    return line if line.id else line.model_copy(update={"id": str(number)})


def run(task: Task, spec: BatchSpec) -> Result:
    """Answer what is not answered yet, then write all answers."""
    requests = list(lines(spec))
    answers = dict(task.done)
    loaded: Loaded | None = None
    for place, line in enumerate(requests):
        if place not in answers:
            if task.stop.is_set():
                raise Stopped
            if loaded is None:
                from miaobi import api

                loaded = api.load(spec.model, device=spec.device, threads=spec.threads)
            answers[place] = _answer(task, spec, loaded, place, line)
            task.record(place, answers[place])
        task.tick("answering", place + 1, len(requests))
    out = Path(spec.out)
    with explain_os_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(answers[place], ensure_ascii=False) for place in range(len(requests))]
    write_text(out, "\n".join(rows) + "\n")
    failed = sum("error" in answer for answer in answers.values())
    return {"out": str(out), "requests": len(requests), "failed": failed}


def _answer(task: Task, spec: BatchSpec, loaded: Loaded, place: int, line: Line) -> dict[str, Any]:
    """The contents of one request, or why there are none: a wrong line does not stop the others."""
    from miaobi.engine.generate import collect

    seed = (spec.seed + place) % FURTHEST if line.seed is None else line.seed
    options = {**spec.options, **line.options, **({"n": line.n} if line.n > 1 else {})}
    created = task.job.created[:19] + "Z"
    try:
        request = Request(turns=(Turn(role="user", parts=(line.prompt,)),), options=options, seed=seed)
        contents = collect(loaded.model, request, created=created)
    except MiaobiError as error:
        return {"id": line.id, "prompt": line.prompt, "error": {"kind": type(error).__name__, "message": str(error)}}
    if spec.keep:
        _keep(task, contents)
    return {"id": line.id, "prompt": line.prompt, "contents": [_content(spec, place, content) for content in contents]}


def _content(spec: BatchSpec, place: int, content: Content) -> dict[str, Any]:
    """Text and label as values, media as files beside the answers."""
    from miaobi.trust import label as labels

    values: dict[str, Any] = {"aigc": labels.implicit(content.label), "label": labels.to_dict(content.label)}
    if content.text:
        values["text"] = content.text
    folder = Path(spec.out + ".files")
    media = [part for part in content.parts if not isinstance(part, str)]
    for number, part in enumerate(media):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{place:06d}-{content.label.index}-{number}{suffix_of(part.mime)}"
        write_bytes(path, part.data)
        values.setdefault("files", []).append(f"{folder.name}/{path.name}")
    return values


def _keep(task: Task, contents: list[Content]) -> None:
    assert task.library is not None
    for content in contents:
        task.library.keep(content, origin="batch")
