"""OpenAI's batches: a file of requests to the server's routes, each answered once, by the routes themselves.

A line is `{"custom_id": "a7", "method": "POST", "url": "/v1/chat/completions", "body": {…}}`. The job brings the routes up in its own
process, without the house around them, and calls them as the server would; so a batch can ask whatever a client can. Every answer is a
piece of the job and is never asked for again. Ids, seeds that nobody gave and the times in labels follow from the job (`http.chance`), so a
batch that was killed ten times gives the same bytes as one that was not. At the end answers and errors become two files of the owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.language import tr
from miaobi.core.schema import Schema, validate
from miaobi.serve.batch import texts_of
from miaobi.serve.kinds import Result, Spec, Stopped, Task

if TYPE_CHECKING:
    from fastapi import FastAPI

    from miaobi.library.queue import Job
    from miaobi.library.store import Library
    from miaobi.serve.http.chance import Fixed

MOST_LINES = 50_000  # OpenAI's
LONGEST_LINE = 4 << 20  # bytes
TOGETHER = 8  # requests that are under way at once
ENDPOINTS = {  # path: the area whose routes answer it
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "moderations",
    "/v1/images/generations": "images",
    "/v1/music/generations": "music",
}


class Line(Schema):
    """One request."""

    custom_id: str = Field(min_length=1, max_length=512)
    """What the client calls it."""
    method: str = Field("POST", pattern="^POST$")
    """Always POST."""
    url: str
    """The route, the same on every line."""
    body: dict[str, Any]
    """What the route takes."""


class RequestsSpec(Spec):
    """A file of requests to one route."""

    endpoint: str
    """The route."""
    file: str
    """The upload that holds the requests."""
    sha256: str
    """Of the library's file with them."""
    lines: int = Field(ge=1)
    """How many there are."""
    models: list[str] = Field(default_factory=list)
    """Which models the server offers; empty: all."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The client's own notes."""
    window: str = "24h"
    """OpenAI's completion window; nothing is given up here."""


def lines(data: bytes, endpoint: str) -> Iterator[Line]:
    """The requests of a file, checked.

    Raises:
        DataError: a line is no request to that route, two have one `custom_id`, or there are too many.
    """
    try:
        texts = texts_of(data)
    except UnicodeDecodeError:
        raise DataError("{path} is not UTF-8 text", path=tr("the file")) from None
    if len(texts) > MOST_LINES:
        raise DataError("{path} has {count:,} lines; a batch has at most {most:,}", path=tr("the file"), count=len(texts), most=MOST_LINES)
    seen: set[str] = set()
    for number, text in enumerate(texts, 1):
        if text.strip():
            line = _line(number, text, endpoint)
            if line.custom_id in seen:
                raise DataError("line {number}: another line has the custom_id '{id}'", number=number, id=line.custom_id)
            seen.add(line.custom_id)
            yield line


def _line(number: int, text: str, endpoint: str) -> Line:
    where = tr("line {number}", number=number)
    if len(text) > LONGEST_LINE:
        raise DataError("{where}: longer than {most:,} characters", where=where, most=LONGEST_LINE)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("{where}: not JSON ({problem})", where=where, problem=error) from None
    if not isinstance(values, dict):
        raise DataError("{where}: an object with custom_id, url and body is wanted", where=where)
    line = validate(Line, values, where)
    if line.url != endpoint:
        raise DataError("{where}: the url is '{url}', the batch is for '{endpoint}'", where=where, url=line.url, endpoint=endpoint)
    if line.body.get("stream"):
        raise DataError("{where}: a batch does not stream", where=where)
    if line.body.get("background"):
        raise DataError("{where}: a batch is in the background as it is", where=where)
    return line


def run(task: Task, spec: RequestsSpec) -> Result:
    """Answer what is not answered yet, then write the files."""
    assert task.library is not None
    wanted = list(lines(task.library.files.get(spec.sha256), spec.endpoint))
    answers = dict(task.done)
    asyncio.run(_Asking(task, spec, wanted, answers).run())
    return _files(task.library, task.job.id, spec, [answers[place] for place in range(len(wanted))])


def so_far(library: Library, job: Job, answers: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The files of a batch that ended before its last answer: what is answered, in the order of the requests."""
    return _files(library, job.id, validate(RequestsSpec, job.spec, job.kind), [answers[place] for place in sorted(answers)])


class _Asking:
    """The requests of one attempt."""

    def __init__(self, task: Task, spec: RequestsSpec, wanted: list[Line], answers: dict[int, Mapping[str, Any]]) -> None:
        self.task, self.spec, self.wanted, self.answers = task, spec, wanted, answers
        self.left = iter([place for place in range(len(wanted)) if place not in answers])

    async def run(self) -> None:
        """Ask, so many at once.

        Raises:
            Stopped: as it was asked to; what is under way is asked again another time.
        """
        from miaobi.serve.pool import Options, Pool

        assert self.task.library is not None
        options = Options(models=tuple(self.spec.models), device=self.spec.device, threads=self.spec.threads or 0)
        async with Pool(options) as pool:
            app = routes(self.spec.endpoint, pool, self.task.library)
            asking = [asyncio.create_task(self._ask(app)) for _ in range(TOGETHER)]
            watching = asyncio.create_task(self._watch())
            try:
                whole: set[asyncio.Future[Any]] = {watching, asyncio.gather(*asking)}
                done, _ = await asyncio.wait(whole, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    one.result()
            finally:
                for task in (watching, *asking):
                    task.cancel()
                await asyncio.gather(watching, *asking, return_exceptions=True)

    async def _watch(self) -> None:
        while not self.task.stop.is_set():
            await asyncio.sleep(0.1)
        raise Stopped

    async def _ask(self, app: FastAPI) -> None:
        from miaobi.serve.http.chance import Fixed

        for place in self.left:
            line, job = self.wanted[place], self.task.job
            fixed = Fixed(name=f"{job.id}/{place}", created=job.created[:19] + "Z")
            status, body = await call(app, line.url, line.body, caller=self.spec.owner, fixed=fixed)
            answer = {"custom_id": line.custom_id, "status": status, "body": body}
            await asyncio.to_thread(self.task.record, place, answer)
            self.answers[place] = answer
            self._report()

    def _report(self) -> None:
        failed = sum(answer["status"] >= 400 for answer in self.answers.values())
        progress = {"phase": "answering", "done": len(self.answers), "total": len(self.wanted), "detail": "", "failed": failed}
        self.task.report(progress)


def routes(endpoint: str, pool: Any, library: Library) -> FastAPI:
    """The routes of an endpoint alone: whoever calls them was let in before."""
    from fastapi import FastAPI

    from miaobi.serve.http import errors
    from miaobi.serve.http.app import router_of
    from miaobi.serve.http.plan import Plan
    from miaobi.serve.http.settings import Settings
    from miaobi.serve.http.state import State

    app = FastAPI()
    app.state.miaobi = State(Settings(), pool=pool, plan=Plan(()), library=library)
    errors.install(app)
    app.include_router(router_of(ENDPOINTS[endpoint]))
    return app


async def call(app: FastAPI, path: str, body: Mapping[str, Any], *, caller: str = "", fixed: Fixed | None = None) -> tuple[int, Any]:
    """The status and the JSON that a route answers a POST with; what it draws is `fixed`, or chance."""
    from miaobi.serve.http.chance import FIXED
    from miaobi.serve.http.keys import CALLER, Caller

    sent, status, chunks = False, 500, []
    data = json.dumps(dict(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), (b"host", b"localhost")]

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # a client that stays
        sent = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": None,
        "server": ("localhost", 80),
    }
    who, drawn = CALLER.set(Caller(id=caller)), FIXED.set(fixed)
    try:
        await app(scope, receive, send)
    finally:
        CALLER.reset(who)
        FIXED.reset(drawn)
    return status, json.loads(b"".join(chunks) or b"null")


def _files(library: Library, job: str, spec: RequestsSpec, answers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Answers and errors as files of the owner. Their names follow from the job's, so that a second writing replaces the first."""
    good = [_row(job, answer) for answer in answers if answer["status"] < 400]
    bad = [_row(job, answer) for answer in answers if answer["status"] >= 400]
    values: dict[str, Any] = {"requests": len(answers), "failed": len(bad)}
    for name, rows in (("output", good), ("error", bad)):
        if rows:
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
            file = f"batch_{job}_{name}.jsonl"
            values[name] = _keep(library, data, file, spec.owner)
    return values


def _keep(library: Library, data: bytes, name: str, owner: str) -> str:
    from miaobi.library.uploads import Uploads

    id = f"file-{hashlib.sha256(name.encode()).hexdigest()[:24]}"
    return Uploads(library).add(data, name=name, purpose="batch_output", owner=owner, id=id).id


def _row(job: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    id = hashlib.sha256(f"{job}/{answer['custom_id']}".encode()).hexdigest()[:24]
    response = {"status_code": answer["status"], "request_id": id, "body": answer["body"]}
    return {"id": f"batch_req_{id}", "custom_id": answer["custom_id"], "response": response, "error": None}
