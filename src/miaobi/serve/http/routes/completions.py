"""`/v1/completions`: a text goes on as it is, without a chat template; several prompts at once, each with `n` continuations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from miaobi.core.types import TokenLogprob, Turn
from miaobi.serve.http import sse
from miaobi.serve.http.chance import new_id, now
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.sse import Event
from miaobi.serve.http.state import Here, State
from miaobi.serve.http.wire import options
from miaobi.serve.http.wire.fields import Counted
from miaobi.serve.http.wire.written import Written, collect
from miaobi.serve.pool import Ask

router = APIRouter(tags=["text"])
MOST_PROMPTS = 128
MOST_ALTERNATIVES = 5  # as OpenAI has it here


class CompletionBody(Counted):
    """One or several texts and how they are to go on."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)] = ""
    echo: bool | None = None
    """Put the prompt before each continuation."""
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    best_of: int | None = Field(None, ge=1, le=64)
    suffix: None = None


@router.post("/v1/completions", response_model=None)
async def complete(body: CompletionBody, state: Here) -> Response | dict[str, Any]:
    """Go on with each prompt."""
    if body.best_of not in (None, 1, body.n):
        raise Denied("best_of is not taken; ask for n and choose", status=400, param="best_of")
    if body.echo and body.logprobs is not None:
        raise Denied("the log-probabilities of a prompt are not told: leave echo or logprobs out", status=400, param="echo")
    asks = _asks(body, state)
    id, created = new_id("cmpl-"), now()
    if body.stream:
        return await sse.stream(_events(body, state, asks, id, created), state, id=id)
    written = [await collect(state, ask) for ask in asks]
    choices = []
    for place, (ask, whole) in enumerate(zip(asks, written, strict=True)):
        for index, answer in whole.rows():
            text = (_prompt(ask) if body.echo else "") + answer.text
            choices.append(_choice(body, place * _copies(body) + index, text, answer.logprobs, answer.reason))
    head = {"id": id, "object": "text_completion", "created": created, "model": body.model}
    return {
        **head,
        "choices": choices,
        "usage": _usage(written),
        "system_fingerprint": written[0].fingerprint(),
        "aigc": written[0].label(id),
    }


def _asks(body: CompletionBody, state: State) -> list[Ask]:
    """One request a prompt. Each has seeds of its own, also where one was given."""
    model = options.served_text(state, body.model)
    wanted = {**options.counted(body), "logprobs": body.logprobs}
    if "raw" in options.known(model) and "raw" not in body.options:
        wanted["raw"] = True
    chosen = options.of(model, wanted, body.options)
    seed = options.seed_of(body.seed)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    return [
        Ask(
            model=body.model,
            turns=(Turn(role="user", parts=(prompt,)),),
            options=chosen,
            seed=None if seed is None else (seed + place * _copies(body)) & (2**63 - 1),
        )
        for place, prompt in enumerate(prompts)
    ]


def _copies(body: CompletionBody) -> int:
    return body.n or int(body.options.get("n", 1) or 1)


def _prompt(ask: Ask) -> str:
    return "".join(part for part in ask.turns[0].parts if isinstance(part, str))


async def _events(body: CompletionBody, state: State, asks: Sequence[Ask], id: str, created: int) -> AsyncGenerator[Event]:
    """The events of a stream, prompt by prompt."""
    head = {"id": id, "object": "text_completion", "created": created, "model": body.model}
    usage = bool(body.stream_options and body.stream_options.include_usage)
    left = _copies(body) * len(asks)
    written: list[Written] = []
    offsets: dict[int, int] = {}
    for place, ask in enumerate(asks):
        written.append(Written())
        echoed: set[int] = set()
        async with aclosing(state.stream(ask)) as chunks:
            async for chunk in chunks:
                news = written[-1].see(chunk)
                if news is None:
                    continue
                index = place * _copies(body) + news.index
                text = _prompt(ask) + news.text if body.echo and news.index not in echoed else news.text
                echoed.add(news.index)
                left -= bool(news.reason)
                offset = offsets.get(index, 0)
                offsets[index] = offset + len(text)
                choice = _choice(body, index, text, news.logprobs, news.reason or None, offset=offset)
                yield Event({**head, "choices": [choice]}, last=left <= 0 and not usage)
    if usage:
        yield Event({**head, "choices": [], "usage": _usage(written), "system_fingerprint": written[0].fingerprint()}, last=True)


def _choice(
    body: CompletionBody, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str | None, *, offset: int = 0
) -> dict[str, Any]:
    told = _logprobs(logprobs, offset) if body.logprobs is not None else None
    return {"index": index, "text": text, "logprobs": told, "finish_reason": reason}


def _logprobs(entries: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """Log-probabilities as completions have them: lists side by side."""
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{other.token: other.logprob for other in entry.top} for entry in entries],
        "text_offset": offsets,
    }


def _usage(written: Sequence[Written]) -> dict[str, Any]:
    prompt, made = sum(whole.prompt_tokens for whole in written), sum(whole.tokens for whole in written)
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
