"""`miaobi chat MODEL`: a conversation in the terminal, word by word as it is written; commands begin with a slash.

What is typed at a pipe works as well: one line is one turn. Ctrl-C stops an answer and keeps what was said; at the prompt it ends the talk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.cli.recipes import machine_arguments, runtime_argument, seed_argument
from miaobi.core.errors import MiaobiError, UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.types import Content, Done, Piece, Request, Turn

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.cli.terminal import Output

COMMANDS = {
    "/help": "these commands",
    "/system TEXT": "what the model is told before everything else; without a text, say it",
    "/retry": "the last answer again, with another seed; or a question that got none",
    "/undo": "forget the last question and its answer",
    "/clear": "forget the conversation, but not the system's words",
    "/set NAME=VALUE": "an option of the model, such as temperature=0.2; without a value as it was at first",
    "/save FILE": "write the conversation with its labels: .json (which /load reads) or .md",
    "/load FILE": "go on with a conversation that was saved",
    "/exit": "the end",
}
DEFAULT_FILE = "chat.json"
MARKS = ("label", "aigc", "ai_generated", "stopped")  # what a saved answer has beside its text


@dataclass(slots=True)
class Talk:
    """A conversation and how it goes on. `marks` has for each answer what a saved conversation tells of it: its label, mostly."""

    loaded: Loaded
    output: Output
    options: dict[str, Any]
    seed: int | None = None
    keeping: Keeping = field(default_factory=lambda: Keeping(None))
    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    unanswered: str = ""  # the last question, where something came between it and its answer
    over: bool = False

    def say(self, text: str, *, again: bool = False) -> None:
        """A turn of the person's, and the answer to it; `again` with another seed."""
        self.turns.append(Turn(role="user", parts=(text,)))
        try:
            self._answer(None if again else self.seed)
        finally:
            self.unanswered = ""
            if self.turns[-1].role == "user":
                self.turns.pop()  # it was not answered, so it was not said
                self.unanswered = text

    def command(self, line: str) -> None:
        """A line that begins with a slash.

        Raises:
            UsageError: an unknown command, or one that cannot be now.
        """
        name, _, rest = line.partition(" ")
        known: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/system": self._system,
            "/retry": self._retry,
            "/undo": self._undo,
            "/clear": self._clear,
            "/set": self._set,
            "/save": self._save,
            "/load": self.load,
            "/exit": self._exit,
            "/quit": self._exit,
            "/bye": self._exit,
        }
        if name not in known:
            raise unknown("command", name, known)
        known[name](rest.strip())

    def load(self, name: str) -> None:
        """Go on with a saved conversation, or with any list of messages as OpenAI writes them.

        Raises:
            UsageError: no such file, or no conversation in it.
        """
        from miaobi.core.artifact import read_text

        path = Path(name or DEFAULT_FILE).expanduser()
        try:
            values: Any = json.loads(read_text(path, limit=64 << 20))
            messages = values["messages"] if isinstance(values, dict) else values
            turns = [Turn(role=message["role"], parts=(str(message["content"]),)) for message in messages]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError("{path} holds no conversation: a JSON list of messages with role and content is wanted", path=path) from None
        if any(turn.role not in ("system", "user", "assistant") for turn in turns):
            raise UsageError("{path} holds no conversation: a JSON list of messages with role and content is wanted", path=path)
        self.system = "\n".join(str(turn.parts[0]) for turn in turns if turn.role == "system")
        self.turns, self.unanswered = [turn for turn in turns if turn.role != "system"], ""
        answers = [message for message in messages if message["role"] == "assistant"]
        self.marks = [{name: message[name] for name in MARKS if name in message} for message in answers]
        self.output.news("{count} turns read from {path}", count=len(self.turns), path=path)

    def _answer(self, seed: int | None) -> None:
        """Stream an answer to what was said so far; Ctrl-C keeps what there is of it."""
        from miaobi.trust import label as labels

        system = (Turn(role="system", parts=(self.system,)),) if self.system else ()
        drawn = secrets.randbits(31) if seed is None else seed
        request = Request(turns=(*system, *self.turns), options=dict(self.options), seed=drawn)
        said: list[str] = []
        mark: dict[str, Any] = {"ai_generated": True, "stopped": True}  # until the answer is whole
        cut, stopped = 0, False
        chunks = self.loaded.answer(request)
        with contextlib.closing(chunks):  # type: ignore[type-var]
            try:
                for chunk in self.keeping.each(chunks):
                    if isinstance(chunk, Piece) and isinstance(chunk.part, str):
                        said.append(chunk.part)
                        self._show(chunk.part)
                    elif isinstance(chunk, Done) and chunk.reason == "length":
                        cut = chunk.usage.generated
                    elif isinstance(chunk, Content):
                        mark = {"label": labels.to_dict(chunk.label), "aigc": labels.implicit(chunk.label)}
            except KeyboardInterrupt:
                stopped = True
        self._show("\n")
        if stopped:
            self.output.news("(stopped)")
        if cut:
            self.output.news("(cut at {tokens} tokens; /set max_tokens=… allows more)", tokens=cut)
        if not said and stopped:
            return
        if not said:
            raise UsageError("the model said nothing; try /retry")
        self.turns.append(Turn(role="assistant", parts=("".join(said),)))
        self.marks.append(mark)

    def _show(self, text: str) -> None:
        if not self.output.json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _help(self, rest: str) -> None:
        width = max(map(len, COMMANDS))
        for name, summary in COMMANDS.items():
            self._show(f"  {name:<{width}}  {tr(summary)}\n")

    def _system(self, rest: str) -> None:
        if rest:
            self.system = rest
        self._show((self.system or tr("(nothing)")) + "\n")

    def _retry(self, rest: str) -> None:
        if self.unanswered:
            self.say(self.unanswered, again=True)
            return
        if not self.turns:
            raise UsageError("there is no answer yet")
        kept = (list(self.turns), list(self.marks))
        if self.turns[-1].role == "assistant":
            self.turns.pop()
            self.marks.pop()
        try:
            self._answer(None)
        finally:
            if not self.turns or self.turns[-1].role == "user":
                self.turns, self.marks = kept

    def _undo(self, rest: str) -> None:
        if self.unanswered:
            self.unanswered = ""
            return
        if not self.turns:
            raise UsageError("there is no answer yet")
        while self.turns and self.turns.pop().role != "user":
            self.marks.pop()

    def _clear(self, rest: str) -> None:
        self.turns, self.marks, self.unanswered = [], [], ""

    def _set(self, rest: str) -> None:
        from miaobi.core.schema import validate

        name, equals, value = rest.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            self._show(json.dumps(self.options, ensure_ascii=False) + "\n")
            return
        import yaml

        try:
            given = yaml.safe_load(value)
        except yaml.YAMLError:
            given = value
        schema = self.loaded.family.schemas()[1]
        where = tr("options of {model}", model=self.loaded.card.name)
        changed = {**self.options, name: given}
        if name in self.options and not value.strip():
            del changed[name]
        if "n" in changed:
            raise UsageError("a conversation has one answer at a time, so n is not set here")
        validate(schema, changed, where)
        self.options = changed

    def _save(self, rest: str) -> None:
        from miaobi.core.artifact import write_text

        path = Path(rest or DEFAULT_FILE).expanduser()
        if not self.turns:
            raise UsageError("there is no answer yet")
        if path.suffix not in (".json", ".md"):
            raise UsageError("a conversation is saved as .json or .md, not as {suffix}", suffix=path.suffix or "–")
        write_text(path, self._as_markdown() if path.suffix == ".md" else json.dumps(self.as_json(), ensure_ascii=False, indent=2) + "\n")
        self.output.news("written: {path}", path=path)

    def _exit(self, rest: str) -> None:
        self.over = True

    def as_json(self) -> dict[str, Any]:
        """The conversation as messages, each answer with its label."""
        found = iter(self.marks)
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            marks = next(found) if turn.role == "assistant" else {}
            messages.append({"role": turn.role, "content": str(turn.parts[0]), **marks})
        return {"model": self.loaded.card.name, "messages": messages}

    def _as_markdown(self) -> str:
        """The conversation to read, with the words and the label that say who wrote it."""
        last = next((marks["aigc"] for marks in reversed(self.marks) if "aigc" in marks), None)
        head = f"---\nAIGC: {json.dumps(last, ensure_ascii=False)}\n---\n\n" if last else ""
        names = {"user": tr("Question"), "assistant": self.loaded.card.name}
        said = [f"**{names[turn.role]}**\n\n{turn.parts[0]}\n" for turn in self.turns]
        system = [f"*{self.system}*\n"] if self.system else []
        return head + "\n".join([*system, *said, self.words()]) + "\n"

    def words(self) -> str:
        """What tells a reader who wrote it."""
        from miaobi.trust import label as labels

        return labels.visible(labels.visible_language("".join(str(turn.parts[0]) for turn in self.turns)))


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The command line; the options of the model that is named join it."""
    from miaobi import api

    parser.add_argument("model", metavar="MODEL", help=tr("a model that converses: one of `miaobi models`, a folder, a GGUF file"))
    parser.add_argument("--system", default="", metavar="TEXT", help=tr("what the model is told before everything else"))
    parser.add_argument("--load", default="", metavar="FILE", help=tr("go on with a conversation that was saved"))
    keep_arguments(parser)
    seed_argument(parser, tr("the same seed and words give the same answers"))
    runtime_argument(parser)
    machine_arguments(parser)
    target = next((word for word in words if not word.startswith("-")), "")
    if target:
        with contextlib.suppress(MiaobiError):  # `run` says what is wrong with it
            add_options(parser, api.family_of(target).schemas()[1], tr("options of {model}", model=target))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Talk until /exit, the end of the input or Ctrl-C."""
    from miaobi import api

    kind = api.family_of(arguments.model)
    if not kind.converses:
        raise UsageError(
            "{model} goes on with single prompts and does not converse; ask it with: miaobi generate {model}", model=arguments.model
        )
    options = {name: value for name, value in given_options(arguments, kind.schemas()[1], arguments.model).items() if name != "n"}
    loaded = api.load(arguments.model, runtime=arguments.runtime, device=arguments.device, threads=arguments.threads)
    with Keeping.at(arguments, output) as keeping:
        talk = Talk(loaded, output, options, seed=arguments.seed, keeping=keeping, system=arguments.system)
        if arguments.load:
            talk.load(arguments.load)
        return _talk(talk, output)


def _talk(talk: Talk, output: Output) -> int:
    """Line by line, to the end."""
    person = sys.stdin.isatty()
    if person:
        output.news("{model} answers; what it says is AI-generated. /help shows the commands, Ctrl-D ends", model=talk.loaded.card.name)
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (arrow keys and history at the prompt)
    while not talk.over:
        try:
            line = _line(person)
        except (EOFError, KeyboardInterrupt):
            if person:
                print(file=sys.stderr)  # the shell's prompt is not to stand behind ours
            break
        if line.strip():
            _do(talk, line.strip(), output)
    if output.json or (talk.marks and not person):
        output.result(talk.as_json(), talk.words())
    return 0


def _do(talk: Talk, line: str, output: Output) -> None:
    """A turn or a command; what is wrong with it does not end the talk."""
    try:
        line.encode()
        if line.startswith("/"):
            talk.command(line)
        else:
            talk.say(line)
    except UnicodeEncodeError:
        output.news("the prompt is not UTF-8 text")
    except MiaobiError as error:
        output.error(str(error), kind=type(error).__name__, exit_code=error.exit_code)


def _line(person: bool) -> str:
    r"""A line of the person's; one that ends in \ goes on with the next."""
    lines = [_read("> " if person else "")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(_read("… " if person else ""))
    return "\n".join(lines)


def _read(sign: str) -> str:
    if sign:
        return input(sign)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
