"""The tools: what each is called, wants and does. A new app is a new tool by itself; the options of a model are told by `models`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, create_model

from miaobi.core.apps import App, apps
from miaobi.core.errors import UsageError
from miaobi.core.families import family
from miaobi.core.schema import Schema
from miaobi.core.types import Content, Media, Modality, Progress, Turn
from miaobi.serve.endings import ending
from miaobi.serve.mcp import lined_up
from miaobi.serve.mcp.bench import Answer, Bench, Tell, Tool, Wait, model_of
from miaobi.serve.pool import Ask, Served
from miaobi.trust.media import suffix_of

if TYPE_CHECKING:
    from miaobi.library.meaning import Found
    from miaobi.library.store import Query

EARS = "ears"


# ---------------------------------------------------------------- models


class Models(Schema):
    """Which models are wanted."""

    model: str = ""
    """One model: its options, and what it takes beside the prompt. Empty: all, in short."""


async def _models(bench: Bench, wanted: Models, tell: Tell) -> Answer:
    served = bench.pool.models()
    if not wanted.model:
        return Answer(values={"models": [_brief(one) for one in served]})
    one = model_of(bench, wanted.model)
    kind = family(one.family)
    values = {**_brief(one), "summary": kind.summary, "takes": sorted(kind.inputs), "options": kind.schemas()[1].model_json_schema()}
    return Answer(values=values)


def _brief(served: Served) -> dict[str, Any]:
    return {
        "model": served.name,
        "makes": sorted(map(str, served.outputs)),
        "family": served.family,
        "summary": family(served.family).summary,
    }


class Generate(Schema):
    """What a model is asked."""

    model: str
    """A name that `models` lists."""
    prompt: str = Field("", max_length=100_000)
    """What is wanted, in words."""
    n: int = Field(1, ge=1, le=16)
    """How many contents."""
    seed: int | None = Field(None, ge=0, le=2**62)
    """The same seed makes the same again; without one, one is drawn and told."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the model, as `models` tells them."""
    given: dict[str, str] = Field(default_factory=dict)
    """Files of the folder that the model takes, by what they are: image, mask, sound, music, video."""
    out: str = Field("", max_length=500)
    """The file to write; its ending says what it becomes (.md, .png, .mp3, .mid, .mp4). Media are always written, text only if named."""
    keep: bool = False
    """Keep it in the library, too, where it can be found and judged."""


async def _generate(bench: Bench, wanted: Generate, tell: Tell) -> Answer:
    served = model_of(bench, wanted.model)
    if wanted.out:
        bench.fresh(wanted.out)
    bench.confine(list(wanted.options.values()))
    given = {name: await asyncio.to_thread(bench.existing(file).read_bytes) for name, file in wanted.given.items()}
    options = {**wanted.options, **({"n": wanted.n} if wanted.n > 1 else {})}
    turn = Turn(role="user", parts=(wanted.prompt,))
    ask = Ask(model=served.name, turns=(turn,), options=options, seed=wanted.seed, given=given)
    contents: list[Content] = []
    async with aclosing(bench.pool.stream(ask)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Progress):
                await tell(f"{chunk.step}/{chunk.total}")
            elif isinstance(chunk, Content):
                contents.append(chunk)
    contents.sort(key=lambda content: content.label.index)
    rows = [await asyncio.to_thread(_put, bench, content, wanted, len(contents)) for content in contents]
    return Answer(values={"contents": rows}, contents=tuple(contents))


def _put(bench: Bench, content: Content, wanted: Generate, count: int) -> dict[str, Any]:
    """Write a content where it belongs, keep it, and say so."""
    from miaobi.trust import label

    row: dict[str, Any] = {"model": content.label.model, "seed": content.label.seed, "index": content.label.index}
    if content.text:
        row["text"] = content.text
    if wanted.out or any(isinstance(part, Media) for part in content.parts):
        path = _target(bench, content, wanted.out, count)
        _write(content, path)
        row["file"] = bench.shown(path)
    if wanted.keep:
        row["kept"] = bench.library.keep(content, origin="mcp")
    return row | {"aigc": label.implicit(content.label)}


def _write(content: Content, path: Path) -> None:
    from miaobi import api

    path.parent.mkdir(parents=True, exist_ok=True)
    api.write(content, path)


def _target(bench: Bench, content: Content, out: str, count: int) -> Path:
    """The file that was named, with a number where there are several; else one that is called like the prompt."""
    if out:
        path = bench.inside(out)
        return path if count == 1 else bench.fresh(str(path.with_name(f"{path.stem}-{content.label.index + 1}{path.suffix}")))
    stem = _stem(content.label.prompt) or content.label.model
    mime = next(part.mime for part in content.parts if isinstance(part, Media))
    return bench.free(f"{stem}-{content.label.seed}" + (f"-{content.label.index + 1}" if count > 1 else ""), suffix_of(mime))


def _stem(text: str) -> str:
    """The beginning of a file's name that says what it is about."""
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return "-".join(words)[:40].strip("-")


class Transcribe(Schema):
    """What is listened to."""

    file: str
    """A sound of the folder, or a film with sound."""
    language: str = Field("", max_length=16)
    """Of what is said, such as zh or en; empty: heard by the model."""


async def _transcribe(bench: Bench, wanted: Transcribe, tell: Tell) -> Answer:
    sound = await asyncio.to_thread(bench.existing(wanted.file).read_bytes)
    options = {"language": wanted.language} if wanted.language else {}
    ask = dataclasses.replace(Ask.of(EARS, "", seed=0, **options), given={"sound": sound})
    [content] = await bench.pool.collect(ask)
    notes = content.label.notes
    return Answer(values={"text": content.text, "language": notes.get("language", ""), "sentences": list(notes.get("sentences", []))})


# ---------------------------------------------------------------- apps


def _of_app(app: App) -> Tool:
    """An app as a tool: its inputs, and where to write."""
    out: Any = (str, Field("", max_length=500, description="The new file or folder to write; named by the app when empty."))
    wait: Any = (float, Wait.model_fields["wait_seconds"])
    keep: Any = (bool, Field(False, description="Keep what is made in the library, where the app tells its contents."))
    made = create_model(f"{app.name.title()}Tool", __base__=app.schema(), out=out, keep=keep, wait_seconds=wait)
    schema = cast("type[Schema]", made)
    ours = {"out", "keep", "wait_seconds"}

    async def run(bench: Bench, wanted: Schema, tell: Tell) -> Answer:
        inputs = await asyncio.to_thread(_confined, bench, wanted.model_dump(mode="json", exclude_unset=True, exclude=ours))
        target = _app_target(bench, app, inputs, vars(wanted)["out"])
        spec = {"app": app.name, "inputs": inputs, "out": str(target), "keep": vars(wanted)["keep"]}
        return await bench.done("app", spec, name=f"{app.name} {target.name}", seconds=vars(wanted)["wait_seconds"], tell=tell)

    return Tool(name=app.name, summary=app.summary, schema=schema, run=run)


def _confined(bench: Bench, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with every file that they name inside the folder."""
    from miaobi.apps.common.script import Script

    found = {key: value for key, value in inputs.items() if key != "transcript" or value}
    for key in FILES & found.keys():
        found[key] = str(bench.existing(found[key]))
    if "replace" in found:
        found["replace"] = {stage: str(bench.existing(file)) if file else "" for stage, file in found["replace"].items()}
    if "timeline" in found:
        script = Script.load(Path(found["timeline"]))
        bench.confine(script.timeline.model_dump(mode="json"), script.folder)
    for key, value in found.items():
        if key.endswith("model") and isinstance(value, str) and value not in ("", "none"):
            model_of(bench, value)
    bench.confine({key: value for key, value in found.items() if key not in WORDS})
    return found


def _app_target(bench: Bench, app: App, inputs: Mapping[str, Any], out: str) -> Path:
    """Where an app writes. A work of `create` may be gone on with, so its folder may exist; nothing else is written over."""
    if out:
        return bench.inside(out) if app.name == "create" else bench.fresh(out)
    source = next((Path(str(inputs[key])) for key in sorted(FILES & inputs.keys())), None)
    if source is None:
        return bench.free(_stem(str(inputs.get("brief", ""))) or app.name, "")
    return bench.free(f"{source.stem}.{app.name}", ending(app, source))


FILES = frozenset({"file", "timeline", "transcript"})  # inputs of apps that are paths
WORDS = frozenset({"brief", "text"})  # and those that are never one


# ---------------------------------------------------------------- labels


class Thing(Schema):
    """A file of the folder."""

    file: str
    """Its name."""


async def _verify(bench: Bench, wanted: Thing, tell: Tell) -> Answer:
    from miaobi.trust import label
    from miaobi.trust.verify import verify

    found = await asyncio.to_thread(verify, bench.existing(wanted.file))
    values = {"good": found.good, "labelled": found.labelled, "intact": found.intact, "problems": list(found.problems)}
    return Answer(values={**values, "says": str(found), "label": label.to_dict(found.label) if found.label else None})


class Again(Thing):
    """A labelled file, and what was given for it."""

    given: dict[str, str] = Field(default_factory=dict)
    """The very files that were given, by what they are: image, mask, sound, music, video. The label has their hashes only."""


async def _replay(bench: Bench, wanted: Again, tell: Tell) -> Answer:
    from miaobi import api

    given: dict[str, Any] = {name: bench.existing(file) for name, file in wanted.given.items()}
    found = await asyncio.to_thread(lambda: api.replay(bench.existing(wanted.file), **given))
    return Answer(values={"identical": found.identical, "difference": found.difference})


async def _show(bench: Bench, wanted: Thing, tell: Tell) -> Answer:
    from miaobi import api

    path = bench.inside(wanted.file)
    if not path.exists():
        raise UsageError("there is no file at {path}", path=wanted.file)
    return Answer(values=await asyncio.to_thread(api.show, path))


# ---------------------------------------------------------------- library


class Search(Schema):
    """What is looked for in the library; what is empty does not narrow."""

    words: str = Field("", max_length=1000)
    """What is looked for: words and phrases that all have to be there, or a question."""
    how: Literal["words", "meaning", "seen"] = "words"
    """`words`: those that hold the words, the newest first. `meaning`: the nearest in meaning, in any language. `seen`: pictures that show
    it, whatever they were asked to show."""
    like: str = ""
    """A picture of the folder that others are to look like; words then only narrow."""
    modality: Modality | None = None
    """Only contents of this kind."""
    model: str = ""
    """Only contents of this model."""
    tag: str = ""
    """Only contents with this tag."""
    rated: float = Field(0.0, ge=0, le=5)
    """Only contents rated so or better."""
    limit: int = Field(10, ge=1, le=100)
    """At most so many."""


async def _search(bench: Bench, wanted: Search, tell: Tell) -> Answer:
    from miaobi.library.exchange import as_dict
    from miaobi.library.store import Query

    query = Query(modality=str(wanted.modality or ""), model=wanted.model, tag=wanted.tag, at_least=wanted.rated)
    if wanted.like or wanted.how != "words":
        nearest = await asyncio.to_thread(_nearest, bench, wanted, query, asyncio.get_running_loop())
        return Answer(values={"contents": [{**as_dict(each.kept), "cosine": round(each.cosine, 4)} for each in nearest]})
    query = dataclasses.replace(query, text=wanted.words)
    found = await asyncio.to_thread(lambda: (bench.library.find(query, limit=wanted.limit), bench.library.count(query)))
    return Answer(values={"contents": [as_dict(kept) for kept in found[0]], "total": found[1]})


def _nearest(bench: Bench, wanted: Search, query: Query, loop: asyncio.AbstractEventLoop) -> list[Found]:
    """What is nearest to a question or to a picture."""
    from miaobi.data.pictures import decode
    from miaobi.library.meaning import search
    from miaobi.serve.seeing import space_of

    if wanted.how == "meaning" and not wanted.like:
        with bench.alone:
            return search(bench.library, bench.meaning, wanted.words, query=query, limit=wanted.limit)
    space = space_of(bench.pool, loop)
    if not wanted.like:
        return search(bench.library, space, wanted.words, query=query, limit=wanted.limit)
    seen = space.seen(decode(bench.existing(wanted.like).read_bytes()))
    return search(bench.library, space, seen, query=dataclasses.replace(query, text=wanted.words), limit=wanted.limit)


class Judge(Schema):
    """What is said of a content of the library."""

    id: str
    """Its id, or the first letters."""
    rating: int | None = Field(None, ge=1, le=5)
    """How good it is."""
    comment: str = Field("", max_length=100_000)
    """What is said of it."""
    tags: list[str] = Field(default_factory=list)
    """Words it gets."""
    edit: str = Field("", max_length=1_000_000)
    """A better version of its text."""
    over: str = ""
    """The id of another answer to the same prompt, which is worse."""


async def _judge(bench: Bench, wanted: Judge, tell: Tell) -> Answer:
    from miaobi.library.exchange import as_dict

    def judge() -> dict[str, Any]:
        library = bench.library
        id = library.get(wanted.id).id
        if wanted.rating is not None:
            library.rate(id, wanted.rating, by="agent")
        if wanted.comment:
            library.comment(id, wanted.comment, by="agent")
        if wanted.tags:
            library.tag(id, wanted.tags)
        if wanted.edit:
            library.edit(id, wanted.edit, by="agent")
        if wanted.over:
            library.choose(id, wanted.over, by="agent")
        return as_dict(library.get(id))

    return Answer(values=await asyncio.to_thread(judge))


class Fetch(Schema):
    """A content of the library."""

    id: str
    """Its id, or the first letters."""
    out: str = Field("", max_length=500)
    """The new file to write, if one is wanted."""


async def _fetch(bench: Bench, wanted: Fetch, tell: Tell) -> Answer:
    from miaobi.library.exchange import as_dict

    kept, content = await asyncio.to_thread(lambda: (bench.library.get(wanted.id), bench.library.content(wanted.id)))
    values = as_dict(kept)
    if wanted.out:
        path = bench.fresh(wanted.out)
        await asyncio.to_thread(_write, content, path)
        values["file"] = bench.shown(path)
    return Answer(values=values, contents=(content,))


def tools() -> dict[str, Tool]:
    """Every tool by name."""
    own = (
        Tool(name="models", summary="list the models that are here, or tell the options of one", schema=Models, run=_models, reads=True),
        Tool(name="generate", summary="write, draw, compose or speak with a model", schema=Generate, run=_generate),
        Tool(name="transcribe", summary="write down what a sound says, with times", schema=Transcribe, run=_transcribe, reads=True),
        *map(_of_app, apps().values()),
        Tool(
            name="verify",
            summary="check the label of a file: is it whole, and does it fit the content",
            schema=Thing,
            run=_verify,
            reads=True,
        ),
        Tool(name="replay", summary="make a labelled content again and compare", schema=Again, run=_replay, reads=True),
        Tool(name="show", summary="show what a file, model, dataset, run or recipe is", schema=Thing, run=_show, reads=True),
        Tool(name="search_library", summary="find contents that were kept", schema=Search, run=_search, reads=True),
        Tool(name="get_content", summary="take a content out of the library", schema=Fetch, run=_fetch),
        Tool(name="judge_content", summary="rate, comment, tag, edit or prefer a content of the library", schema=Judge, run=_judge),
        lined_up.on_recipe("train", "train the model of a recipe"),
        lined_up.on_recipe("adapt", "change an existing model, and measure it before and after"),
        lined_up.on_recipe("distill", "teach a smaller model what a larger one says"),
        Tool(name="tune", summary="look for good settings of a recipe", schema=lined_up.Tune, run=lined_up.tune),
        lined_up.on_recipe("evaluate", "measure a recipe's model on held-out data"),
        Tool(name="batch", summary="answer a file of requests, surviving interruptions", schema=lined_up.Batch, run=lined_up.batch),
        Tool(name="jobs", summary="list work that is in line, under way or over", schema=lined_up.Jobs, run=lined_up.jobs, reads=True),
        Tool(name="job", summary="follow, pause, resume, cancel or retry a job", schema=lined_up.Job, run=lined_up.job),
    )
    return {tool.name: tool for tool in own}
