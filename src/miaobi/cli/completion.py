"""`miaobi completion bash|zsh|fish`: a few lines of shell that ask `miaobi completion words` what may come next.

So the candidates are never out of date: they come from the verb table, the parsers, the models that are here and the models' options.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

BASH = """_miaobi() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(miaobi completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _miaobi miaobi"""
ZSH = """#compdef miaobi
_miaobi() {
  local -a found
  found=(${(f)"$(miaobi completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  (( ${#found} )) && compadd -a found || _files
}
compdef _miaobi miaobi"""
FISH = """function __miaobi
  set -l typed (commandline -opc) (commandline -ct)
  miaobi completion words -- $typed[2..-1] 2>/dev/null
end
complete -c miaobi -a '(__miaobi)'"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
SETUP = {
    "bash": "echo 'eval \"$(miaobi completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(miaobi completion zsh)\"' >> ~/.zshrc",
    "fish": "miaobi completion fish > ~/.config/fish/completions/miaobi.fish",
}


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The shell; `words` is what its script asks."""
    parser.add_argument("shell", metavar="SHELL", choices=(*SCRIPTS, "words"), help=tr("bash, zsh or fish"))
    parser.add_argument("typed", metavar="WORD", nargs="*", default=[], help=tr("for the script: what was typed so far"))
    lines = "\n".join(f"  {shell}  {command}" for shell, command in SETUP.items())
    parser.epilog = f"{tr('Set it up once:')}\n{lines}"


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print the script, or what may come next."""
    if arguments.shell == "words":
        found = candidates(arguments.typed)
        output.result({"words": found}, "\n".join(found))
    else:
        output.result({"script": SCRIPTS[arguments.shell]}, SCRIPTS[arguments.shell])
    return 0


def candidates(typed: Sequence[str]) -> list[str]:
    """What may come next; the last word of `typed` is the one being written. Nothing means: let the shell offer files."""
    from miaobi.cli.main import VERBS, top_parser, verb_parser

    *before, current = typed or [""]
    if not before:
        return _starting([*VERBS, *top_parser().option_names()], current)
    if before[0] not in VERBS:
        return []
    try:
        parser = verb_parser(before[0], before[1:])
    except MiaobiError:  # a model that does not exist has no options; the verb's own still help
        parser = verb_parser(before[0], [])
    action = parser.option(before[-1]) if len(before) > 1 else None
    if action is not None and action.nargs != 0:
        return _starting(getattr(action, "completions", None) or action.choices or (), current)
    if current.startswith("-"):
        return _starting(parser.option_names(), current)
    names = _NAMES.get(before[0])
    return _starting(names(), current) if names and len(before) == 1 else []


def _starting(words: Iterable[str], prefix: str) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


def _models() -> list[str]:
    from miaobi import api

    return [model.name for model in api.list_models()]


def _recipes() -> list[str]:
    return [str(path) for folder in (".", "recipes") for path in sorted(Path(folder).glob("*.yaml"))]


_NAMES: dict[str, Callable[[], list[str]]] = {
    "generate": _models,
    "export": _models,
    "verify": _models,
    "show": _models,
    "evaluate": _recipes,
    "compare": _models,
    "prepare": _recipes,
    "train": _recipes,
    "completion": lambda: list(SCRIPTS),
}
