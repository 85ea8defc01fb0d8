"""Conversations as a model was taught to read them: its chat template in a sandbox, and the same token ids in learning and in answering.

Unusual: what people write can never become a mark of the template. `<|im_start|>` in a message is taken apart by an invisible character
before the template sees it, and is plain text for the tokenizer; only what the template itself writes counts as marks. And a lesson is
tokenised in the very steps in which its answers would be asked for, so its first ids are those of the prompts, always.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import ArtifactError, MissingExtra, UsageError
from miaobi.core.types import Turn

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Message = Mapping[str, Any]  # role, content, and what templates know beside: name, tool_calls, reasoning_content
GUARD, MARK = "\ufdd0", "\ufdd1"  # noncharacters of Unicode: no text holds them
MOST_BYTES = 1 << 20  # of a file that holds a template
TEMPLATE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"


class ChatTemplate:
    """A checkpoint's template; `specials` are names that it may use (bos_token, eos_token …). Picklable: compiled where it is used."""

    def __init__(self, source: str, *, specials: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.specials = dict(specials or {})

    def render(
        self,
        messages: Sequence[Message],
        *,
        opening: bool,
        tools: Sequence[Mapping[str, Any]] = (),
        today: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as one text; `opening` ends it where the assistant is to go on.

        Args:
            tools: descriptions of functions, as JSON values.
            today: the date, YYYY-MM-DD, for templates that tell it.
            values: what else a template knows, such as `enable_thinking`.

        Raises:
            UsageError: the template does not take this conversation.
            ArtifactError: the template is damaged, or wants what a template may not.
        """
        given: dict[str, Any] = {**self.specials, **(values or {})}
        given |= {"messages": [dict(message) for message in messages], "tools": list(tools) or None, "add_generation_prompt": opening}
        if today:
            given["strftime_now"] = date.fromisoformat(today).strftime
        sandbox = _sandbox()
        try:
            return str(sandbox.render(self._compiled, given))
        except sandbox.Refused as error:
            raise UsageError("the model's chat template refuses this conversation: {problem}", problem=error) from None
        except sandbox.TemplateError as error:
            raise ArtifactError("the model's chat template fails: {problem}", problem=error) from None

    @cached_property
    def _compiled(self) -> Any:
        sandbox = _sandbox()
        try:
            return sandbox.compile_template(self.source)
        except sandbox.TemplateError as error:
            raise ArtifactError("the model's chat template cannot be used: {problem}", problem=error) from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A conversation to learn from: its ids, and for each whether the assistant says it (the mark that ends an answer included)."""

    ids: tuple[int, ...]
    said: tuple[bool, ...]
    missed: int = 0  # answers that the template changes once the conversation goes on: they cannot be learned at their place


class Chat:
    """A template together with a `tokenizer.json`: conversations to ids. Picklable."""

    def __init__(self, template: ChatTemplate, tokenizer: str) -> None:
        self.template = template
        self.tokenizer = tokenizer
        added = [(str(token["content"]), bool(token.get("special"))) for token in json.loads(tokenizer).get("added_tokens", ())]
        self._marks = [text for text, special in added if len(text) > 1 and (special or _looks_like_a_mark(text))]
        self._specials = [text for text, special in added if len(text) > 1 and special]

    def prompt(self, messages: Sequence[Message], **given: Any) -> list[int]:
        """The ids after which the assistant speaks. When the last message is the assistant's own, it is gone on with.

        `given` are the arguments of `ChatTemplate.render`.
        """
        guarded, whole = self._asked(messages, given)
        return self._grow([*self._cuts(guarded, whole, given), whole])[-1]

    def length(self, messages: Sequence[Message], **given: Any) -> int:
        """About how many ids `prompt` gives: a few fewer where letters would join across answers, and much sooner."""
        return len(self._encode(self._asked(messages, given)[1]))

    def _asked(self, messages: Sequence[Message], given: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        """The guarded messages without an answer that is begun, and the text after which the assistant speaks; `given` is guarded too."""
        guarded = [self._guarded(message) for message in messages]
        given["tools"] = _guard(list(given.get("tools", ())), _pattern(self._marks))
        begun = ""
        if guarded and guarded[-1].get("role") == "assistant":
            begun = str(guarded.pop().get("content") or "")
        return guarded, self.template.render(guarded, opening=True, **given) + begun

    def lesson(self, messages: Sequence[Message], **given: Any) -> Lesson:
        """The whole conversation, with what is to be learned."""
        guarded = [self._guarded(message) for message in messages]
        given["tools"] = _guard(list(given.get("tools", ())), _pattern(self._marks))
        whole = self.template.render(guarded, opening=False, **given)
        cuts = self._cuts(guarded, whole, given)
        grown = self._grow([*cuts, whole])
        said = [False] * len(grown[-1])
        for before, after in zip(grown[0:-1:2], grown[1:-1:2], strict=True):
            said[len(before) : len(after)] = [True] * (len(after) - len(before))
        answers = sum(message.get("role") == "assistant" for message in messages)
        return Lesson(ids=tuple(grown[-1]), said=tuple(said), missed=answers - len(cuts) // 2)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The mark that follows an answer in this template, if one does: another end of generation beside the tokenizer's own."""
        lesson = self._try_lesson()
        inside = [number for number, said in zip(lesson.ids, lesson.said) if said] if lesson else []
        known = {self._plain.token_to_id(text) for text in self._specials}
        return (inside[-1],) if inside and inside[-1] in known else ()

    def _try_lesson(self) -> Lesson | None:
        try:
            return self.lesson([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        except (UsageError, ArtifactError):
            return None

    def _guarded(self, message: Message) -> dict[str, Any]:
        """The message with every mark in its texts taken apart. An assistant's `<think>` stays: only control marks are not its to say."""
        pattern = _pattern(self._specials if message.get("role") == "assistant" else self._marks)
        return {str(key): _guard(value, pattern) for key, value in message.items()}

    def _cuts(self, messages: Sequence[Message], whole: str, given: Mapping[str, Any]) -> list[str]:
        """For each answer two beginnings of `whole`: to where it is asked for, and to its end. Answers that change later have none."""
        found: list[str] = []
        for number, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            try:
                asked = self.template.render(messages[:number], opening=True, **given)
                answered = self.template.render(messages[: number + 1], opening=False, **given)
            except (UsageError, ArtifactError):  # a template may want a question first
                continue
            marks = list(re.finditer(_pattern(self._specials), answered[len(asked) :])) if self._specials else []
            answered = answered[: len(asked) + marks[-1].end()] if marks else answered
            if answered.startswith(asked) and whole.startswith(answered) and len(answered) > len(asked):
                found += [asked, answered]
        return found

    def _grow(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts of which each begins with the one before; so do the ids, also where the tokenizer would join letters across cuts."""
        grown: list[list[int]] = [[]]
        before = ""
        for text in texts:
            ids = list(self._encode(text))
            if ids[: len(grown[-1])] != grown[-1]:
                ids = grown[-1] + list(self._encode(text[len(before) :]))
            grown.append(ids)
            before = text
        return grown[1:]

    @cached_property
    def _encode(self) -> Any:
        """Ids of a guarded text, remembered: a conversation is read again at every turn."""

        @functools.lru_cache(maxsize=64)
        def encode(text: str) -> tuple[int, ...]:
            if GUARD not in text:
                return tuple(self._plain.encode(text, add_special_tokens=False).ids)
            marked = re.sub(_pattern(self._marks), lambda found: found[0] + MARK, text) if self._marks else text
            return tuple(self._marked.encode(marked.replace(GUARD, ""), add_special_tokens=False).ids)

        return encode

    @cached_property
    def _plain(self) -> Tokenizer:
        return _read_tokenizer(self.tokenizer)

    @cached_property
    def _marked(self) -> Tokenizer:
        """The tokenizer whose marks end in an invisible character, which only the template's own have. Everything else is the same."""
        values = json.loads(self.tokenizer)
        for token in values["added_tokens"]:
            if token["content"] in self._marks:
                token["content"] += MARK
        model = values["model"]
        renamed = set(self._marks)
        if isinstance(model["vocab"], dict):
            model["vocab"] = {text + MARK if text in renamed else text: number for text, number in model["vocab"].items()}
        else:
            model["vocab"] = [[text + MARK if text in renamed else text, score] for text, score in model["vocab"]]
        if model.get("unk_token") in renamed:
            model["unk_token"] += MARK
        return _read_tokenizer(json.dumps(values))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_encode", "_plain", "_marked")}


def read_template(folder: Path) -> ChatTemplate | None:
    """The chat template of a Hugging Face folder, from its own file or from `tokenizer_config.json`; None where there is none.

    Raises:
        ArtifactError: the file is damaged.
    """
    settings = read_settings(folder)
    own = folder / TEMPLATE
    source: Any = _read(own) if own.is_file() else settings.get("chat_template")
    if isinstance(source, list):  # several, by name
        named = {str(entry.get("name")): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if not isinstance(source, str) or not source.strip():
        return None
    return ChatTemplate(source, specials=special_texts(settings))


def read_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json`, or nothing where there is none.

    Raises:
        ArtifactError: it is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    try:
        values = json.loads(_read(path, most=64 << 20))
    except (ValueError, RecursionError) as error:
        raise ArtifactError("{path} is not valid JSON ({error})", path=path, error=error) from None
    return values if isinstance(values, dict) else {}


def special_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token` and the like as texts; older files have objects there."""
    found = {}
    for name, value in settings.items():
        text = value.get("content") if isinstance(value, Mapping) else value
        if name.endswith("_token") and isinstance(text, str):
            found[name] = text
    return found


def messages_of(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns of a request as a template wants them.

    Raises:
        UsageError: there is something other than text in them.
    """
    messages = []
    for turn in turns:
        if any(not isinstance(part, str) for part in turn.parts):
            raise UsageError("this model reads text only; take the pictures and sounds out of the conversation")
        messages.append({"role": turn.role, "content": "\n".join(part for part in turn.parts if isinstance(part, str))})
    return messages


def _read_tokenizer(source: str) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(source)
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError("the tokenizer cannot be read: {error}", error=error) from None


def _sandbox() -> Any:
    try:
        from miaobi.models.common import template_sandbox
    except ImportError:
        raise MissingExtra("a chat template", "hf", "jinja2") from None
    return template_sandbox


def _looks_like_a_mark(text: str) -> bool:
    """Whether a token that is not called special stands for structure, as `<think>` and `[INST]` do; runs of spaces are just text."""
    inner = text.strip()
    return len(inner) > 2 and (inner[0], inner[-1]) in {("<", ">"), ("[", "]")}


@functools.cache
def _compiled(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)) or r"(?!)")


def _pattern(marks: Sequence[str]) -> re.Pattern[str]:
    """What finds any of these marks, the longest first."""
    return _compiled(tuple(marks))


def _guard(value: Any, pattern: re.Pattern[str]) -> Any:
    """Texts, wherever they are in plain values, without marks."""
    if isinstance(value, str):
        clean = value.replace(GUARD, "\ufffd").replace(MARK, "\ufffd")
        return pattern.sub(lambda found: found[0][0] + GUARD + found[0][1:], clean)
    if isinstance(value, Mapping):
        return {str(key): _guard(inner, pattern) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_guard(inner, pattern) for inner in value]
    return value


def _read(path: Path, *, most: int = MOST_BYTES) -> str:
    try:
        if path.stat().st_size > most:
            raise ArtifactError("{path} is damaged: it has more than {most:,} bytes", path=path, most=most)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
