"""`miaobi generate MODEL PROMPT`: texts go to stdout as they come, or to labelled files; pictures, sounds and films always to files.

The model's own options are read off its schema.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.draw import Order, draw
from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import given_arguments, machine_arguments, runtime_argument, seed_argument
from miaobi.cli.targets import Files, Texts, picture_name
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import tr
from miaobi.core.types import NOTHING, Modality

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.cli.terminal import Output
    from miaobi.core.families import Family
    from miaobi.core.recipe import Recipe
    from miaobi.core.types import Chunk, Content


GIVEN = {
    "image": "the picture to start from, or to look at (may be repeated, where a model takes several)",
    "mask": "a picture of the same size: what is white in it is painted anew",
    "style_image": "the picture whose style is wanted",
    "sound": "the sound to start from",
    "music": "the tune to start from: MIDI, MusicXML or ABC",
    "video": "the film to start from",
}


MARKED = {
    Modality.IMAGE: "put the words AI生成 or AI-generated in a corner",
    Modality.AUDIO: "put a rhythm before the sound that says AI in Morse's code, ·– ··",
    Modality.VIDEO: "put the words AI生成 or AI-generated into the opening",
}


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The command line; the options of the model that is named join it."""
    target = _target(words)
    parser.add_argument("model", metavar="MODEL", help=tr("a name of `miaobi models`, a model's or a run's folder, or a recipe"))
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", default="", help=tr("what to write about; - reads it from stdin"))
    seed_argument(parser, tr("the same seed writes the same again (else a new one is drawn, and the label tells it)"))
    parser.add_argument(
        "--out",
        metavar="PATH",
        help=tr("the labelled file to write; its ending says what it becomes, such as .md, .png, .mp3 or .mp4; a folder ends with /"),
    )
    keep_arguments(parser)
    runtime_argument(parser)
    machine_arguments(parser)
    if not target:
        parser.epilog = tr("Every model has options of its own: miaobi generate MODEL --help")
        return
    kind = _family(target)
    _media_arguments(parser, kind)
    schema = kind.schemas()[1]
    add_options(parser, schema, tr("options of {model}", model=target), offered=_offered(target))
    if "n" not in schema.model_fields:
        parser.add_argument("--n", type=whole_number(1, 1024), default=1, metavar="N", help=tr("How many different contents."))


def _media_arguments(parser: Parser, kind: Family) -> None:
    """What only families of pictures, sounds and films, or families that take them, have."""
    given_arguments(parser, kind.inputs, GIVEN)
    made = next((modality for modality in MARKED if modality in kind.outputs), None)
    if made is None:
        return
    from miaobi.trust.marking import MARKS

    parser.add_argument("--mark", choices=MARKS, default="none", help=tr(MARKED[made]))
    if made is not Modality.VIDEO:
        kinds = ("none", "image" if made is Modality.IMAGE else "sound")
        text = "put an invisible mark into the pixels, or not" if made is Modality.IMAGE else "put an inaudible mark into the sound, or not"
        parser.add_argument("--watermark", choices=kinds, help=tr(text))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Generate, show and save."""
    from miaobi import api

    recipe, target = _recipe_of(arguments.model)
    kind = api.family_of(target)
    typed = given_options(arguments, kind.schemas()[1], tr("options of {model}", model=arguments.model))
    options = {**(recipe.generate.options if recipe else {}), **typed}
    if "n" in vars(arguments):
        options["n"] = arguments.n
    options |= {name: value for name in (*kind.inputs, "mark", "watermark") if (value := getattr(arguments, name, None)) is not None}
    seed = arguments.seed if arguments.seed is not None or recipe is None else recipe.generate.seed
    prompts = _prompts(arguments.prompt, recipe)
    machine = {"runtime": arguments.runtime, "device": arguments.device, "threads": arguments.threads}
    if Modality.TEXT not in kind.outputs:
        order = _order(prompts, kind, options, seed)
        name = picture_name(prompts[0], Path(target).stem, order.seed)
        targets = Files(
            arguments.out, count=order.count, name=name, suffixes=_suffixes(kind), contact=kind.outputs == frozenset({Modality.IMAGE})
        )
        with Keeping.at(arguments, output) as keeping:
            return draw(api.load(target, **machine), order, targets, output, keeping)
    texts = Texts(arguments.out)
    contents: list[Content] = []
    with Keeping.at(arguments, output) as keeping:
        loaded = api.load(target, **machine)
        for prompt in prompts:
            chunks = keeping.each(loaded.stream(prompt, seed=seed, **options))
            contents += _shown(chunks, output) if output.live and not output.quiet else _finished(chunks)
        _report(contents, _written(contents, texts), loaded, output)
    return 0


def _order(prompts: Sequence[str], kind: Family, options: dict[str, Any], seed: int | None) -> Order:
    """What to draw; without a seed one is drawn here, since it names the files."""
    batch = kind.schemas()[1].model_fields.get("n")
    n = options.pop("n", batch.default if batch else 1)
    return Order(prompts=prompts, n=n, batched=batch is not None, seed=secrets.randbits(31) if seed is None else seed, options=options)


def _suffixes(kind: Family) -> dict[str, str]:
    """The file endings that the contents of a family can have, the usual one first."""
    from miaobi.engine.convert import SUFFIXES

    modalities = sorted(kind.outputs & SUFFIXES.keys(), key=list(SUFFIXES).index, reverse=True)  # a film before its pictures
    return {suffix: mime for modality in modalities for suffix, mime in SUFFIXES[modality].items()}


def _target(words: Sequence[str]) -> str:
    """The word that names the model: usually the first, but options may stand before it."""
    from miaobi import api

    names = {known.name for known in api.list_models()}
    plain = [word for word in words if not word.startswith("-")]
    likely = (word for word in plain if word in names or word.endswith((".yaml", ".yml")) or (Path(word) / "miaobi.json").is_file())
    return next(likely, words[0] if words and plain and words[0] == plain[0] else "")


def _family(target: str) -> Family:
    from miaobi import api

    return api.family_of(_recipe_of(target)[1])


def _offered(target: str) -> Mapping[str, Sequence[str]]:
    """What the model knows for options that its family leaves open; nothing where there is no model yet."""
    from miaobi.core.choices import choices_of
    from miaobi.core.shelf import find

    try:
        return choices_of(find(_recipe_of(target)[1]))
    except MiaobiError:  # the verb itself says so
        return NOTHING


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


def _written(contents: Sequence[Content], texts: Texts) -> list[Path]:
    """Write every content with its label."""
    from miaobi.trust import label

    paths = texts.paths(len(contents))
    for content, path in zip(contents, paths):
        label.write(content, path)
    return paths


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
