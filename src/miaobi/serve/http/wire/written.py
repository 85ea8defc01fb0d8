"""What a model writes, gathered as it comes: the text, calls and log-probabilities of each answer, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from miaobi.core.types import Chunk, Content, Done, Piece, TokenLogprob
from miaobi.serve.http.wire.tools import Call, Reader, Toolbox
from miaobi.trust import aigc

if TYPE_CHECKING:
    from miaobi.serve.http.state import State
    from miaobi.serve.pool import Ask

REASONS = {"stop": "stop", "length": "length", "rejected": "content_filter"}


@dataclass(frozen=True, slots=True)
class News:
    """What one chunk brought to one answer."""

    index: int
    text: str = ""
    calls: tuple[Call, ...] = ()
    first_call: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class Answer:
    """One of the answers, as far as it is written."""

    reader: Reader
    text: str = ""
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str = ""


class Written:
    """All answers of one request."""

    def __init__(self, toolbox: Toolbox | None = None) -> None:
        self.answers: dict[int, Answer] = {}
        self.contents: list[Content] = []
        self.prompt_tokens = self.tokens = 0
        self._toolbox = toolbox or Toolbox()

    def see(self, chunk: Chunk | Content) -> News | None:
        """Take one chunk in; what it brought, if that is for the client."""
        if isinstance(chunk, Content):
            self.contents.append(chunk)
            return None
        if not isinstance(chunk, Piece | Done):
            return None
        answer = self.answers.setdefault(chunk.index, Answer(Reader(self._toolbox)))
        first = len(answer.calls)
        logprobs: tuple[TokenLogprob, ...] = ()
        if isinstance(chunk, Piece):
            text, calls = answer.reader.push(chunk.part if isinstance(chunk.part, str) else "")
            logprobs = chunk.logprobs
        else:
            text, calls = answer.reader.finish()
            self.prompt_tokens = max(self.prompt_tokens, chunk.usage.prompt)
            self.tokens += chunk.usage.generated
            answer.reason = REASONS.get(chunk.reason, "stop")
            if chunk.reason == "rejected":  # what was held back is not told after all
                text, calls, answer.text, answer.calls, answer.logprobs = "", [], "", [], []
        answer.text += text
        answer.calls += calls
        answer.logprobs += logprobs
        if answer.reason == "stop" and answer.calls:
            answer.reason = "tool_calls"
        if not (text or calls or logprobs or answer.reason):
            return None
        return News(chunk.index, text, tuple(calls), first, logprobs, answer.reason)

    def rows(self) -> list[tuple[int, Answer]]:
        """The answers in their order."""
        return sorted(self.answers.items())

    def usage(self) -> dict[str, Any]:
        """What it cost, as chat and completions tell it. Prompts are counted once for all their answers."""
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens, "total_tokens": self.prompt_tokens + self.tokens}

    def fingerprint(self) -> str | None:
        """The weights that answered."""
        return next((f"miaobi-{content.label.source[:12]}" for content in self.contents if content.label.source), None)

    def label(self, id: str) -> dict[str, str]:
        """The implicit label (GB 45438-2025) of the whole body."""
        return aigc.implicit(id, by=aigc.producer())


async def collect(state: State, ask: Ask, *, toolbox: Toolbox | None = None) -> Written:
    """Everything that the model writes for one request."""
    from contextlib import aclosing

    written = Written(toolbox)
    async with aclosing(state.stream(ask)) as chunks:
        async for chunk in chunks:
            written.see(chunk)
    return written


def chat_logprobs(entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Log-probabilities in chat's shape."""
    return {"content": [{**_entry(entry), "top_logprobs": [_entry(other) for other in entry.top]} for entry in entries], "refusal": None}


def _entry(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes)}


async def keep(state: State, contents: Sequence[Content]) -> None:
    """Put contents into the library, as a client wanted it."""
    import asyncio

    def work() -> None:
        for content in contents:
            state.library.keep(content, origin="server")

    await asyncio.to_thread(work)
