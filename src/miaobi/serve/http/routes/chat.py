"""`/v1/chat/completions`: a conversation goes on, whole or as a stream, with functions to call, schemas to follow and log-probabilities."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from miaobi.engine.sampling.options import MAX_TOKENS
from miaobi.serve.http import sse
from miaobi.serve.http.chance import new_id, now
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.sse import Event
from miaobi.serve.http.state import Here, State
from miaobi.serve.http.wire import options
from miaobi.serve.http.wire.fields import Choice, Counted, LogProbs, ResponseFormat, Tool
from miaobi.serve.http.wire.messages import Message, plain, read
from miaobi.serve.http.wire.tools import Call, Toolbox, described
from miaobi.serve.http.wire.written import News, Written, chat_logprobs, collect, keep
from miaobi.serve.pool import Ask

router = APIRouter(tags=["text"])


class ChatBody(Counted, LogProbs):
    """A conversation and how it is to go on."""

    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Choice | None = None
    response_format: ResponseFormat | None = None
    store: bool | None = None
    """Keep the answers in this server's library."""
    metadata: dict[str, str] | None = Field(None, max_length=16)
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: str | None = Field(None, max_length=16)
    verbosity: str | None = Field(None, max_length=16)


@router.post("/v1/chat/completions", response_model=None)
async def chat(body: ChatBody, state: Here) -> Response | dict[str, Any]:
    """Answer the last message. A model without a chat template reads that message alone."""
    toolbox = Toolbox.of((tool.function for tool in body.tools or ()), body.tool_choice)
    ask = await _ask(body, state, toolbox)
    id, created = new_id("chatcmpl-"), now()
    if body.stream:
        return await sse.stream(_events(body, state, ask, toolbox, id, created), state, id=id)
    written = await collect(state, ask, toolbox=toolbox)
    if body.store:
        await keep(state, written.contents)
    choices = [
        {
            "index": index,
            "message": _message(answer.text, answer.calls),
            "logprobs": chat_logprobs(answer.logprobs) if body.logprobs else None,
            "finish_reason": answer.reason,
        }
        for index, answer in written.rows()
    ]
    head = {"id": id, "object": "chat.completion", "created": created, "model": body.model}
    return {
        **head,
        "choices": choices,
        "usage": written.usage(),
        "system_fingerprint": written.fingerprint(),
        "aigc": written.label(id),
    }


async def _ask(body: ChatBody, state: State, toolbox: Toolbox) -> Ask:
    """The request in the house's words.

    Raises:
        Denied: an unknown model, an option that it lacks, a schema and a forced call at once.
    """
    model = options.served_text(state, body.model)
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise Denied("{option} stands in the request twice", status=400, param="max_tokens", option="max_tokens")
    wanted = options.counted(body)
    wanted["max_tokens"] = body.max_tokens or body.max_completion_tokens
    wanted["logprobs"] = body.alternatives
    wanted |= constraints(body.response_format.wanted if body.response_format else None, toolbox, known=options.known(model))
    turns, given = await read(body.messages, state.settings)
    return Ask(
        model=body.model,
        turns=turns,
        options=options.of(model, wanted, body.options),
        seed=options.seed_of(body.seed),
        given=plain(given),
    )


def constraints(schema: dict[str, Any] | None, toolbox: Toolbox, *, known: frozenset[str]) -> dict[str, Any]:
    """The options that functions and formats ask for. A call that has to be made needs no template that knows functions."""
    if schema is not None and toolbox.forced:
        raise Denied("an answer follows a schema or is a call of a function, not both", status=400, param="tool_choice")
    found: dict[str, Any] = {"json_schema": toolbox.schema() if toolbox.forced else schema}
    if toolbox.functions and ("tools" in known or not toolbox.forced):
        found["tools"] = toolbox.described()
    return found


def _message(text: str, calls: Sequence[Call]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
    return message | ({"tool_calls": described(calls)} if calls else {})


async def _events(body: ChatBody, state: State, ask: Ask, toolbox: Toolbox, id: str, created: int) -> AsyncGenerator[Event]:
    """The events of a stream; the first comes with the first chunk, so that an error before it has its own status."""
    written = Written(toolbox)
    head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": body.model}
    begun: set[int] = set()
    usage = bool(body.stream_options and body.stream_options.include_usage)
    left = body.n or int(ask.options.get("n", 1))
    async with aclosing(state.stream(ask)) as chunks:
        async for chunk in chunks:
            news = written.see(chunk)
            if news is None:
                continue
            if news.index not in begun:
                begun.add(news.index)
                yield Event({**head, "choices": [_choice(news.index, {"role": "assistant", "content": "", "refusal": None})]})
            if news.text or news.calls or news.logprobs:
                yield Event({**head, "choices": [_delta(news, logprobs=bool(body.logprobs))]})
            if news.reason:
                left -= 1
                data = {**head, "choices": [_choice(news.index, {}, reason=news.reason)]}
                yield Event(data, last=left <= 0 and not usage)
    if body.store:
        await keep(state, written.contents)
    if usage:
        yield Event({**head, "choices": [], "usage": written.usage(), "system_fingerprint": written.fingerprint()}, last=True)


def _delta(news: News, *, logprobs: bool) -> dict[str, Any]:
    delta: dict[str, Any] = {"content": news.text} if news.text or not news.calls else {}
    if news.calls:
        delta["tool_calls"] = described(news.calls, first=news.first_call, streamed=True)
    return _choice(news.index, delta, logprobs=chat_logprobs(news.logprobs) if logprobs else None)


def _choice(index: int, delta: dict[str, Any], *, reason: str | None = None, logprobs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
