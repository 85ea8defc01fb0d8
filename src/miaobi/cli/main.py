"""The entry point `miaobi`: a table of verbs, each a thin module that is imported only when it is asked for.

Nothing here imports torch, numpy or pydantic: `miaobi --help` answers in the time that Python itself takes to start.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from miaobi.cli.parser import Parser
from miaobi.cli.terminal import Output
from miaobi.core.errors import MiaobiError, unknown
from miaobi.core.language import LANGUAGES, set_language, tr

VERBS = {
    "prepare": "turn files into a dataset: read, clean, drop doubles, split",
    "train": "train the model of a recipe",
    "adapt": "change an existing model: low-rank additions, preferences, rewards",
    "distill": "teach a smaller model what a larger one says",
    "quantise": "make a language model small: four or eight bits a weight",
    "generate": "write something with a model",
    "chat": "talk with a model in the terminal",
    "create": "make a poem, pictures, music, a voice, a film and a page from one brief",
    "tune": "look for good settings of a recipe, ending bad attempts early",
    "evaluate": "measure a model on held-out data",
    "compare": "set several models side by side",
    "narrate": "read a text of any length aloud, with chapters and subtitles",
    "transcribe": "write down what a sound says, with times",
    "show": "show what a file, model, dataset, run or recipe is",
    "verify": "check a label, or the files of a model",
    "certificate": "show or make the certificate that files are signed with (C2PA)",
    "replay": "make a labelled content again, byte for byte",
    "render": "make a film of a timeline",
    "edit": "cut, trim, dub, subtitle or describe a film that exists",
    "batch": "answer a file of requests, surviving interruptions",
    "studio": "open the studio: make, judge, find and train in the browser",
    "serve": "answer requests of programs over HTTP, as OpenAI's clients ask them",
    "jobs": "list, follow, stop and do work that is in line",
    "mcp": "give the verbs to an agent as tools (Model Context Protocol)",
    "library": "find, judge and exchange what was kept",
    "pull": "fetch an open model: from a hub, a package, a folder, an endpoint",
    "models": "list the models and families that are here",
    "export": "write a model for the light runtime (ONNX)",
    "completion": "print the completion script of a shell",
}
EXIT_CODES = "exit codes: 0 done, 1 error, 2 usage, 3 data, 4 model files, 5 missing extra, 6 busy, 130 interrupted"
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _choose_language(words)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Chinese letters shows codes instead of failing
    before, verb, rest = _split(words)
    output = Output(json="--json" in rest, quiet="--quiet" in rest or "-q" in rest)
    try:
        code = _run(before, verb, rest, output)
        sys.stdout.flush()
    except SystemExit as finished:  # argparse ends so after --help and --version
        return finished.code if isinstance(finished.code, int) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's last flush must not complain either
        return BROKEN_PIPE
    except KeyboardInterrupt:
        output.error(_after_interrupt(verb, rest), kind="Interrupted", exit_code=INTERRUPTED)
        return INTERRUPTED
    except MiaobiError as error:
        if os.environ.get("MIAOBI_DEBUG"):
            raise
        output.error(str(error), kind=type(error).__name__, exit_code=error.exit_code)
        return error.exit_code
    except Exception as error:
        if os.environ.get("MIAOBI_DEBUG"):
            raise
        from miaobi.cli.crash import report

        output.error(report(error, ["miaobi", *words]), kind="Unexpected", exit_code=1)
        return 1
    return code


def module(verb: str) -> ModuleType:
    """The module of a verb: `arguments(parser, words)` declares its command line, `run(arguments, output)` does it."""
    return importlib.import_module(f"miaobi.cli.{verb}")


def verb_parser(verb: str, words: Sequence[str]) -> Parser:
    """The parser of one verb; `words` is what was typed after it, since some options depend on the model that is named."""
    parser = Parser(prog=f"miaobi {verb}", description=tr(VERBS[verb]))
    module(verb).arguments(parser, words)
    parser.usage = parser.short_usage()
    parser.add_argument("--lang", choices=LANGUAGES, help=tr("language of messages (else MIAOBI_LANG, else the locale)"))
    parser.add_argument("--json", action="store_true", help=tr("print the result as JSON"))
    parser.add_argument("-q", "--quiet", action="store_true", help=tr("print the result only, no progress"))
    return parser


def top_parser() -> Parser:
    """The parser of `miaobi` itself; it reads what stands before the verb."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {tr(summary)}" for name, summary in VERBS.items())
    parser = Parser(
        prog="miaobi",
        usage=tr("miaobi VERB [OPTION ...]   (miaobi VERB --help shows a verb's options)"),
        description=tr("Train, use and label generative models, on this machine."),
        epilog=f"{tr('verbs')}:\n{verbs}\n\n{tr(EXIT_CODES)}",
    )
    parser.add_argument("--version", action="version", version=f"miaobi {_version()}", help=tr("show the version and exit"))
    parser.add_argument("--lang", choices=LANGUAGES, help=tr("language of messages (else MIAOBI_LANG, else the locale)"))
    return parser


def _run(before: list[str], verb: str, rest: list[str], output: Output) -> int:
    top = top_parser()
    top.parse_args(before)
    if not verb:
        top.print_help()
        return 0
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    arguments = verb_parser(verb, rest).parse_args(rest)
    code: int = module(verb).run(arguments, output)
    return code


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    """What stands before the verb, the verb, and what follows it."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] == "--lang" else 1
    verb = words[position] if position < len(words) else ""
    return words[:position], verb, words[position + 1 :]


def _choose_language(words: Sequence[str]) -> None:
    """Help texts are translated while the parser is built, so `--lang` is looked for first."""
    set_language(None)
    for word, following in zip(words, [*words[1:], ""]):
        if word == "--":
            return
        chosen = following if word == "--lang" else word.removeprefix("--lang=") if word.startswith("--lang=") else None
        if chosen in LANGUAGES:
            set_language(chosen)
    argparse._ = tr  # type: ignore[attr-defined]  # argparse asks gettext for its own words; our catalogue answers instead


def _after_interrupt(verb: str, rest: list[str]) -> str:
    """What Ctrl-C left behind and how to go on."""
    if verb not in VERBS:
        return tr("Interrupted.")
    resume = getattr(module(verb), "RESUME", None)
    if resume is None:
        return tr("Interrupted. Nothing half-written was left behind.")
    words = [word for word in rest if word != "--fresh"] + [flag for flag in resume if flag not in rest]
    import shlex

    return tr("Interrupted. What was done is saved. Go on with: {command}", command=shlex.join(["miaobi", verb, *words]))


def _version() -> str:
    from miaobi import __version__

    return __version__


if __name__ == "__main__":
    sys.exit(main())
