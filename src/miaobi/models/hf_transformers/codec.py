"""Texts and conversations as ids of a checkpoint's own tokenizer, for answering, for learning and for scoring alike."""

from __future__ import annotations

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
        room = min(options.max_tokens, self.reads // 4)  # that an answer should have when the prompt is cut
        if options.raw or self.chat is None:
            if options.tools or len(messages) > 1:
                raise UsageError("without a chat template there is one text to go on with: no conversation and no tools")
            ids = self.plain(request.prompt)
            return ids if options.window == "refuse" else ids[-max(1, self.reads - room) :]
        given = {"tools": options.tools, "today": options.today, "values": _values(options)}
        ids = self.chat.prompt(messages, **given)
        while options.window == "slide" and len(ids) + room > self.reads and _shorten(messages):
            ids = self.chat.prompt(messages, **given)
        return ids


def _values(options: Options) -> Mapping[str, Any]:
    return {} if options.thinking is None else {"enable_thinking": options.thinking}


def _shorten(messages: list[dict[str, Any]]) -> bool:
    """Leave out the oldest question with its answer; of a single turn, the first half of its text."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    if len(messages) > first + 1:
        del messages[first]
        while len(messages) > first + 1 and messages[first]["role"] != "user":
            del messages[first]
        return True
    text = messages[-1]["content"] if messages else ""
    if len(text) < 2:
        return False
    messages[-1]["content"] = text[len(text) // 2 :]
    return True
