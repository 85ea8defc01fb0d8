"""Texts and conversations as ids of a checkpoint's own tokenizer, for answering, for learning and for scoring alike."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Request
from miaobi.models.common.chat_template import messages_of
from miaobi.models.common.text_codec import TextCodec
from miaobi.models.hf_transformers.checkpoint import Checkpoint
from miaobi.models.hf_transformers.schema import Options

LEARNED_AT_ONCE = 1024  # tokens: the logits of a longer window over a large vocabulary fill the memory


class OpenCodec(TextCodec):
    """A `TextCodec` with the checkpoint's chat template and its own ways to begin and end a text."""

    def __init__(self, checkpoint: Checkpoint, *, context: int = 0, packing: bool = True) -> None:
        """Read the tokenizer.

        Raises:
            ArtifactError: it cannot be read, or has ids that the network does not.
        """
        begin = checkpoint.begin if checkpoint.begin is not None else next(iter(checkpoint.ends), None)
        if begin is None:
            raise ArtifactError("{folder}: neither config.json nor the tokenizer says what ends a text", folder=checkpoint.folder)
        chat = checkpoint.chat()
        ends = tuple(dict.fromkeys((*(chat.ends if chat else ()), *checkpoint.ends))) or (begin,)
        learned = min(checkpoint.context, context or LEARNED_AT_ONCE)
        super().__init__(checkpoint.tokenizer, context=learned, begin=begin, end=ends[0], packing=packing)
        self.chat = chat
        self.ends = ends
        self.reads = checkpoint.context
        size = int(checkpoint.config.get("vocab_size") or 0)
        if size and self.vocab_size > size:
            raise ArtifactError(
                "{folder}: the tokenizer has {ids} ids and the network {size}; they are not of the same model",
                folder=checkpoint.folder,
                ids=self.vocab_size,
                size=size,
            )

    def whole(self, text: str) -> list[int]:
        """A text with all that the tokenizer puts around it."""
        return list(self._tokenizer.encode(text).ids)

    def number(self, token: str) -> int | None:
        """The id of a token, if there is one."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def plain(self, text: str) -> list[int]:
        """A plain text to go on with, as the tokenizer begins one; a mark that it puts behind is left out, or nothing could follow."""
        ids, plain = self.whole(text), self.ids(text)
        while len(ids) > len(plain) and ids[-1] in self.ends:
            ids.pop()
        return ids or [self.begin]

    def answered(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """The ids of a prompt with its answer and the end mark, cut to the context, and how many of them are the prompt."""
        if self.chat is None:
            return super().answered(prompt, answer)
        found = self.chat.lesson([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])
        return list(found.ids[: self.context + 1]), found.said.index(True) if any(found.said) else len(found.ids)

    def request(self, request: Request, options: Options) -> list[int]:
        """The ids after which the model answers a request, through the chat template where there is one.

        Raises:
            UsageError: a conversation or tools without a template.
        """
        messages = messages_of(request.turns)
        most = max(1, self.reads - min(options.max_tokens, self.reads // 4))  # of a prompt that is cut, so that there is room for an answer
        if options.raw or self.chat is None:
            if options.tools or len(messages) > 1:
                raise UsageError("without a chat template there is one text to go on with: no conversation and no tools")
            ids = self.plain(request.prompt)
            begin = 1 if ids[0] == self.begin else 0  # the mark at the beginning stays: many models lean on it
            return ids if options.window == "refuse" or len(ids) <= most else ids[:begin] + ids[len(ids) - most + begin :]
        given = {"tools": options.tools, "today": options.today, "values": _values(options)}
        if options.window == "slide" and self.chat.length(messages, **given) > most:
            return self._slid(messages, most, given)
        return self.chat.prompt(messages, **given)

    def _slid(self, messages: list[dict[str, Any]], most: int, given: Mapping[str, Any]) -> list[int]:
        """At most so many ids: without the oldest questions and answers, then without the beginning of the longest text."""
        assert self.chat is not None
        chat, first = self.chat, 1 if messages[0]["role"] == "system" else 0
        begins = [number for number, message in enumerate(messages) if number >= first and message["role"] == "user"] or [first]
        shorter = [[*messages[:first], *messages[begin:]] for begin in begins]
        fits = bisect_left(shorter, True, key=lambda rest: chat.length(rest, **given) <= most)
        for rest in shorter[min(fits, len(shorter) - 1) :]:
            ids = chat.prompt(rest, **given)
            if len(ids) <= most:
                return ids
        while (excess := len(ids) - most) > 0:
            longest = max(rest[first:], key=lambda message: len(message["content"]), default={"content": ""})
            text = str(longest["content"])
            if not text:
                break  # what is left are the system's words
            places = [start for start, _ in self._tokenizer.encode(text, add_special_tokens=False).offsets]
            longest["content"] = text[max(1, places[excess]) :] if excess < len(places) else ""
            ids = chat.prompt(rest, **given)
        return ids


def _values(options: Options) -> Mapping[str, Any]:
    return {} if options.thinking is None else {"enable_thinking": options.thinking}
