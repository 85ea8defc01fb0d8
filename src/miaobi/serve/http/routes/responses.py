"""`/v1/responses`: answers as items, streamed as typed events, kept so that a conversation goes on from them; also in the background.

They are kept in the library's database for a month, unless `store` is false: a restart of the server forgets none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from miaobi.core.types import Turn
from miaobi.serve.http import errors, sse
from miaobi.serve.http.chance import new_id, now
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.routes.chat import constraints
from miaobi.serve.http.sse import Event
from miaobi.serve.http.state import Here, State
from miaobi.serve.http.wire import items, options
from miaobi.serve.http.wire.items import ResponseBody
from miaobi.serve.http.wire.kept import Kept, Record, broken_off
from miaobi.serve.http.wire.messages import called_text, plain
from miaobi.serve.http.wire.written import News, Written, keep
from miaobi.serve.pool import Ask

router = APIRouter(tags=["text"])
log = logging.getLogger("miaobi.serve")
ENDS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@router.post("/v1/responses", response_model=None)
async def respond(body: ResponseBody, state: Here) -> Response | dict[str, Any]:
    """Answer a conversation."""
    if body.background and (body.stream or body.store is False):
        raise Denied("a response in the background is kept, and asked for by its id", status=400, param="background")
    ask, record = await _begun(body, state)
    writing = _Writing(body, state, ask, record)
    if body.background:
        record.response["status"] = "queued"
    if body.store is not False:
        await Kept.of(state).begin(record)
    if body.background:
        record.work = asyncio.create_task(_in_background(writing))
        return record.response
    if body.stream:
        return await sse.stream(writing.events(), state, id=record.response["id"], done=False)
    async with aclosing(writing.events()) as events:
        async for _ in events:
            pass
    return record.response


@router.get("/v1/responses/{id}")
async def retrieve(id: str, state: Here, stream: bool = False) -> dict[str, Any]:
    """A response that was kept, as far as it is written."""
    if stream:
        raise Denied("a response that is kept is told whole: leave stream out", status=400, param="stream")
    return (await Kept.of(state).get(id)).response


@router.get("/v1/responses/{id}/input_items")
async def input_items(id: str, state: Here) -> dict[str, Any]:
    """What was asked."""
    data = (await Kept.of(state).get(id)).items
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": False}


@router.post("/v1/responses/{id}/cancel")
async def cancel(id: str, state: Here) -> dict[str, Any]:
    """Stop one that is written in the background; of one that is complete, nothing changes."""
    if not (await Kept.of(state).get(id)).response["background"]:
        raise Denied("only a response in the background can be cancelled", status=400)
    return (await Kept.of(state).cancel(id)).response


@router.delete("/v1/responses/{id}")
async def delete(id: str, state: Here) -> dict[str, Any]:
    """Forget one."""
    await Kept.of(state).remove(id)
    return {"id": id, "object": "response", "deleted": True}


async def _begun(body: ResponseBody, state: State) -> tuple[Ask, Record]:
    """What is asked of the model, and the record of the answer to be.

    Raises:
        Denied: an unknown model or response, or an option that the model lacks.
    """
    model = options.served_text(state, body.model)
    toolbox, names = body.toolbox(), options.known(model)
    before = await Kept.of(state).get(body.previous_response_id) if body.previous_response_id else None
    turns, given = await items.read(body.items(), state.settings)
    if before is not None:
        turns = (*before.turns, *turns)
        given = {name: [*before.given.get(name, []), *given.get(name, [])] for name in {*before.given, *given}}
    if not turns:
        raise Denied("there is nothing to answer", status=400, param="input")
    system = (Turn(role="system", parts=(body.instructions,)),) if body.instructions else ()
    wanted = {**options.drawn(body.temperature, body.top_p), "max_tokens": body.max_output_tokens, "logprobs": body.alternatives}
    wanted |= constraints(body.text.format.wanted if body.text and body.text.format else None, toolbox, known=names)
    if body.truncation == "auto" and "window" in names and "window" not in body.options:
        wanted["window"] = "slide"
    ask = Ask(
        model=body.model,
        turns=(*system, *turns),
        options={**options.of(model, wanted, body.options), **({"n": 1} if "n" in body.options else {})},
        seed=options.seed_of(body.seed),
        given=plain(given),
    )
    own = [items.asked(item) for item in body.items()]
    return ask, Record(response=_response(body), items=own, turns=turns, given=given)


def _response(body: ResponseBody) -> dict[str, Any]:
    """The response before anything is written, with what was asked as OpenAI repeats it."""
    asked = body.model_dump(by_alias=True, exclude_none=True)
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": bool(body.background),
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": {"format": asked.get("text", {}).get("format", {"type": "text"})},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": None,
    }


async def _in_background(writing: _Writing) -> None:
    """Write without anybody who listens; what goes wrong is told by the response itself."""
    try:
        async with Kept.of(writing.state).beating(writing.record), aclosing(writing.events()) as events:
            async for _ in events:
                pass
    except Exception as error:
        if errors.status_of(error) >= 500:
            log.error("a response in the background failed", exc_info=error)


class _Writing:
    """One response on its way: chunks become events, and the record is always what a client may read."""

    def __init__(self, body: ResponseBody, state: State, ask: Ask, record: Record) -> None:
        self.body, self.state, self.ask, self.record = body, state, ask, record
        self.written = Written(body.toolbox())
        self.number = 0
        self.open: dict[str, Any] | None = None  # the message that is being written
        self.text = ""

    async def events(self) -> AsyncGenerator[Event]:
        """The typed events; the first comes with the first chunk, so that an error before it has its own status."""
        response, begun = self.record.response, False
        try:
            async with aclosing(self.state.stream(self.ask)) as chunks:
                async for chunk in chunks:
                    news = self.written.see(chunk)
                    if not begun:
                        begun = True
                        response["status"] = "in_progress"
                        for name in ("created", "in_progress"):
                            yield self._event(f"response.{name}", response=_copy(response))
                    for event in self._of(news) if news else ():
                        yield event
            for event in self._close_message():
                yield event
            await self._complete()
        except Exception as error:
            self._fail(error)
            raise
        except BaseException:  # cancelled, or the client left
            response["status"] = "cancelled"
            if response["background"] and not self.record.cancelled:
                broken_off(self.record)
            raise
        finally:
            await Kept.of(self.state).end(self.record)
        yield self._event(f"response.{response['status']}", last=True, response=_copy(response))

    def _of(self, news: News) -> list[Event]:
        """The events of one piece of news."""
        found: list[Event] = []
        if news.text or (news.logprobs and self.open):
            found += self._open_message()
            self.text += news.text
            logprobs = [items.told(entry) for entry in news.logprobs]
            found.append(self._text_event("delta", delta=news.text, logprobs=logprobs))
        for call in news.calls:
            found += self._close_message()
            item = {"id": new_id("fc_"), "type": "function_call", "status": "in_progress", "call_id": call.id, "name": call.name}
            found.append(self._item("added", {**item, "arguments": ""}))
            place: dict[str, Any] = {"item_id": item["id"], "output_index": len(self.record.response["output"])}
            found.append(self._event("response.function_call_arguments.delta", **place, delta=call.arguments))
            found.append(self._event("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments))
            found += self._done({**item, "status": "completed", "arguments": call.arguments})
        return found

    def _open_message(self) -> list[Event]:
        if self.open is not None:
            return []
        self.open = {"id": new_id("msg_"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self.text = ""
        added = self._item("added", self.open)
        return [added, self._text_event("", content_part="added", part=items.text_part("", ()))]

    def _close_message(self) -> list[Event]:
        if self.open is None:
            return []
        answer = self.written.answers[0]
        logprobs = [items.told(entry) for entry in answer.logprobs]
        part = items.text_part(self.text, answer.logprobs)
        closed = items.message(self.open["id"], self.text, answer.logprobs, "completed" if answer.reason not in ENDS else "incomplete")
        found = [self._text_event("done", text=self.text, logprobs=logprobs), self._text_event("", content_part="done", part=part)]
        self.open = None
        return [*found, *self._done(closed)]

    def _done(self, item: dict[str, Any]) -> list[Event]:
        event = self._item("done", item)
        self.record.response["output"].append(item)
        return [event]

    def _item(self, what: str, item: dict[str, Any]) -> Event:
        return self._event(f"response.output_item.{what}", output_index=len(self.record.response["output"]), item=dict(item))

    def _text_event(self, what: str, *, content_part: str = "", **values: Any) -> Event:
        assert self.open is not None, "text belongs to a message"
        name = f"response.content_part.{content_part}" if content_part else f"response.output_text.{what}"
        place = {"item_id": self.open["id"], "output_index": len(self.record.response["output"]), "content_index": 0}
        return self._event(name, **place, **values)

    def _event(self, kind: str, /, *, last: bool = False, **values: Any) -> Event:
        self.number += 1
        return Event({"type": kind, "sequence_number": self.number - 1, **values}, name=kind, last=last)

    async def _complete(self) -> None:
        """The end of the record: status, usage, label, and what the conversation goes on from."""
        response, answer = self.record.response, self.written.answers.get(0)
        if answer is not None and not response["output"]:
            response["output"].append(items.message(new_id("msg_"), "", (), "completed"))
        ended = ENDS.get(answer.reason) if answer else None
        response["status"] = "incomplete" if ended else "completed"
        response["incomplete_details"] = {"reason": ended} if ended else None
        usage = self.written.usage()
        response["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        response["aigc"] = self.written.label(response["id"])
        if answer is not None:
            said = [answer.text, *(called_text(call.name, call.arguments) for call in answer.calls)]
            self.record.turns += (Turn(role="assistant", parts=("\n".join(filter(None, said)),)),)
        if self.body.store:
            await keep(self.state, self.written.contents)

    def _fail(self, error: Exception) -> None:
        told = errors.body(error)["error"]
        self.record.response["status"] = "failed"
        self.record.response["error"] = {"code": told["code"], "message": told["message"]}


def _copy(response: dict[str, Any]) -> dict[str, Any]:
    """The response as it is now; what is written later does not change an event that was made."""
    return {**response, "output": list(response["output"])}
