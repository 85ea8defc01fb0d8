"""`miaobi generate MODEL PROMPT`: writes to stdout as it comes, or to labelled files; the model's own options are read off its schema."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import machine_arguments, seed_argument
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.cli.terminal import Output
    from miaobi.core.recipe import Recipe
    from miaobi.core.types import Chunk, Content


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The command line; the options of the model that is named join it."""
    target = _target(words)
    parser.add_argument("model", metavar="MODEL", help=tr("a name of `miaobi models`, a model's or a run's folder, or a recipe"))
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", default="", help=tr("what to write about; - reads it from stdin"))
    seed_argument(parser, tr("the same seed writes the same again (else a new one is drawn, and the label tells it)"))
    parser.add_argument("--out", metavar="PATH", help=tr("write a labelled file (.md .txt .json .html); a folder when it ends with /"))
    parser.add_argument("--runtime", choices=("auto", "onnx", "torch"), default="auto", help=tr("what computes (default: auto)"))
    machine_arguments(parser)
    if not target:
        parser.epilog = tr("Every model has options of its own: miaobi generate MODEL --help")
        return
    schema = _options_schema(target)
    add_options(parser, schema, tr("options of {model}", model=target))
    if "n" not in schema.model_fields:
        parser.add_argument("--n", type=whole_number(1, 1024), default=1, metavar="N", help=tr("How many different contents."))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Generate, show and save."""
    from miaobi import api

    recipe, target = _recipe_of(arguments.model)
    typed = given_options(arguments, _options_schema(arguments.model), tr("options of {model}", model=arguments.model))
    options = {**(recipe.generate.options if recipe else {}), **typed}
    if "n" in vars(arguments):
        options["n"] = arguments.n
    seed = arguments.seed if arguments.seed is not None or recipe is None else recipe.generate.seed
    targets = _Targets(arguments.out)
    loaded = api.load(target, runtime=arguments.runtime, device=arguments.device, threads=arguments.threads)
    contents: list[Content] = []
    for prompt in _prompts(arguments.prompt, recipe):
        chunks = loaded.stream(prompt, seed=seed, **options)
        contents += _shown(chunks, output) if output.live and not output.quiet else _finished(chunks)
    _report(contents, targets.write(contents), loaded, output)
    return 0


def _target(words: Sequence[str]) -> str:
    """The word that names the model: usually the first, but options may stand before it."""
    from miaobi import api

    names = {known.name for known in api.list_models()}
    plain = [word for word in words if not word.startswith("-")]
    likely = (word for word in plain if word in names or word.endswith((".yaml", ".yml")) or (Path(word) / "miaobi.json").is_file())
    return next(likely, words[0] if words and plain and words[0] == plain[0] else "")


def _options_schema(target: str) -> Any:
    from miaobi import api

    return api.options_schema(_recipe_of(target)[1])


def _recipe_of(target: str) -> tuple[Recipe | None, str | Path]:
    """A recipe stands for the newest model that was trained from it."""
    if not target.endswith((".yaml", ".yml")):
        return None, target
    from miaobi import api
    from miaobi.core.recipe import Recipe

    recipe = Recipe.load(Path(target))
    return recipe, api.trained(recipe)


def _prompts(prompt: str, recipe: Recipe | None) -> Sequence[str]:
    if prompt == "-":
        prompt = sys.stdin.read().strip()
    try:
        prompt.encode()
    except UnicodeEncodeError:  # the shell handed over bytes that are not UTF-8
        raise UsageError("the prompt is not UTF-8 text") from None
    return recipe.generate.prompts or [""] if recipe and not prompt else [prompt]


def _finished(chunks: Iterator[Chunk | Content]) -> list[Content]:
    from miaobi.core.types import Content

    return sorted((chunk for chunk in chunks if isinstance(chunk, Content)), key=lambda content: content.label.index)


def _shown(chunks: Iterator[Chunk | Content], output: Output) -> list[Content]:
    """Print text as it comes: the first unfinished content live, later ones (written in the same batch) when their turn comes."""
    from miaobi.core.types import Content, Done, Piece

    finished: dict[int, Content] = {}
    rejected: set[int] = set()  # held back by the word list: no content comes
    held: dict[int, str] = {}
    turn = 0
    for chunk in chunks:
        if isinstance(chunk, Piece) and isinstance(chunk.part, str):
            held[chunk.index] = held.get(chunk.index, "") + chunk.part
        elif isinstance(chunk, Content):
            finished[chunk.label.index] = chunk
        elif isinstance(chunk, Done) and chunk.reason == "rejected":
            rejected.add(chunk.index)
        while turn in finished or turn in rejected:
            print(held.pop(turn, ""), end="\n\n")
            turn += 1
        sys.stdout.write(held.pop(turn, ""))
        sys.stdout.flush()
    return [finished[index] for index in sorted(finished)]


def _report(contents: Sequence[Content], paths: Sequence[Path], loaded: Loaded, output: Output) -> None:
    """The result: what was not yet shown, then the words that tell a reader who wrote it."""
    from miaobi.trust import label

    values = [_as_json(content) for content in contents]
    for value, path in zip(values, paths):
        value["file"] = str(path)
    texts = [] if output.live and not output.quiet else [content.text + "\n" for content in contents]
    words = label.visible(label.visible_language("".join(content.text for content in contents)))
    output.result({"contents": values}, "\n".join([*texts, words]))
    for path in paths:
        output.news("written: {path}", path=path)
    if contents and not paths:
        output.news("model {model}, seed {seed}", model=loaded.card.name, seed=contents[0].label.seed)


def _as_json(content: Content) -> dict[str, Any]:
    from miaobi.trust import label

    return {"text": content.text, "label": label.to_dict(content.label), "aigc": label.implicit(content.label)}


class _Targets:
    """Where `--out` says that the contents go; refused before anything is generated when it cannot be."""

    def __init__(self, out: str | None) -> None:
        self.out = out
        self.folder = bool(out) and (str(out).endswith("/") or Path(str(out)).is_dir())
        if out and not self.folder:
            from miaobi.trust.formats import FORMATS

            suffix = Path(out).suffix.lower()
            if suffix not in FORMATS:
                raise unknown("file ending", suffix, FORMATS)

    def paths(self, count: int) -> list[Path]:
        """One path a content: `poem.md`, or `poem-1.md`, `poem-2.md`, … when there are several."""
        if not self.out:
            return []
        path = Path(self.out)
        if self.folder:
            return [path / f"{number}.md" for number in range(1, count + 1)]
        if count == 1:
            return [path]
        return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]

    def write(self, contents: Sequence[Content]) -> list[Path]:
        """Write every content with its label."""
        from miaobi.trust import label

        paths = self.paths(len(contents))
        for content, path in zip(contents, paths):
            label.write(content, path)
        return paths
