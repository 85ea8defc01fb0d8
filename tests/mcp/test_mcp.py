"""The tools, asked by the protocol's own client: in this process, and over the pipes of `miaobi mcp`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from miaobi.core.apps import apps
from miaobi.serve.endings import ending
from miaobi.serve.mcp.server import opened
from miaobi.serve.mcp.tools import tools
from miaobi.serve.pool import Options, Pool
from miaobi.trust.verify import verify

Work = Callable[[Client], Awaitable[None]]


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[Client]:
    """A client of a server in this process."""
    async with opened(Pool(Options()), folder) as server, Client(server) as agent:
        yield agent


def with_client(folder: Path, work: Work) -> None:
    """Let an agent do something."""

    async def main() -> None:
        async with client(folder) as agent:
            await work(agent)

    asyncio.run(main())


async def told(agent: Client, tool: str, **arguments: Any) -> Any:
    """The values of an answer, which must be one."""
    result = await agent.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(agent: Client, tool: str, **arguments: Any) -> str:
    """What is said to a wrong call."""
    result = await agent.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    text = result.content[0].text  # type: ignore[union-attr]
    assert "Traceback" not in text
    return text


def test_every_tool_is_listed_with_a_schema_and_every_app_is_one(workplace: Path) -> None:
    async def work(agent: Client) -> None:
        listed = {tool.name: tool for tool in (await agent.list_tools()).tools}
        assert set(listed) == set(tools()) >= {*apps(), "generate", "models", "train", "job", "search_library"}
        assert all(tool.description and tool.input_schema["type"] == "object" for tool in listed.values())
        assert listed["verify"].annotations is not None
        assert listed["verify"].annotations.read_only_hint
        assert not listed["generate"].annotations.read_only_hint  # type: ignore[union-attr]

    with_client(workplace, work)


def test_a_text_is_written_labelled_kept_found_and_judged(polly: Path, workplace: Path) -> None:
    async def work(agent: Client) -> None:
        models = await told(agent, "models")
        assert next(one for one in models["models"] if one["model"] == "polly")["makes"] == ["text"]
        assert "lines" in (await told(agent, "models", model="polly"))["options"]["properties"]
        asked = {"model": "polly", "prompt": "题目", "seed": 1, "n": 2, "options": {"lines": 1}, "out": "a/poem.md", "keep": True}
        result = await agent.call_tool("generate", asked)
        made = result.structured_content["contents"]
        assert [row["file"] for row in made] == ["a/poem-1.md", "a/poem-2.md"]
        assert all(verify(workplace / row["file"]).good for row in made)
        assert "人工智能" in result.content[0].text  # type: ignore[union-attr]
        assert made[0]["aigc"]["Label"] == "1"
        found = await told(agent, "search_library", words="题目", model="polly")
        assert {one["id"] for one in found["contents"]} == {row["kept"] for row in made}
        first, second = (row["kept"] for row in made)
        judged = await told(agent, "judge_content", id=first, rating=5, tags=["moon"], comment="clear", edit="better", over=second)
        assert judged["ratings"][0]["value"] == 5
        assert (await told(agent, "search_library", tag="moon", rated=4))["total"] == 1
        again = await told(agent, "get_content", id=first, out="again.md")
        assert (workplace / "again.md").read_bytes() == (workplace / "a/poem-1.md").read_bytes()
        assert again["id"] == first
        assert (await told(agent, "verify", file="again.md"))["good"]
        assert (await told(agent, "replay", file="again.md")) == {"identical": True, "difference": ""}
        assert (await told(agent, "show", file="again.md"))["kind"]

    with_client(workplace, work)


def test_a_picture_is_shown_and_written(daub: Path, workplace: Path) -> None:
    lines: list[str | None] = []

    async def heard(done: float, total: float | None, line: str | None) -> None:
        lines.append(line)

    async def work(agent: Client) -> None:
        result = await agent.call_tool("generate", {"model": "daub", "prompt": "red", "seed": 3}, progress_callback=heard)
        [row] = result.structured_content["contents"]
        assert verify(workplace / row["file"]).good
        assert [block.type for block in result.content] == ["image", "text"]
        assert "kept" not in row
        taken = await told(agent, "generate", model="daub", prompt="red", seed=3)
        assert taken["contents"][0]["file"] != row["file"]  # nothing is written over

    with_client(workplace, work)
    assert len(lines) == len(set(lines)) > 0


def test_pictures_are_found_by_what_is_seen(daub: Path, workplace: Path) -> None:
    async def work(agent: Client) -> None:
        kept = {}
        for seed, colour in enumerate(("red", "blue")):
            made = await told(agent, "generate", model="daub", prompt=colour, seed=seed, out=f"{colour}.png", keep=True)
            kept[colour] = made["contents"][0]["kept"]
        found = await told(agent, "search_library", words="a disc", how="seen")
        assert {one["id"] for one in found["contents"]} == set(kept.values())
        alike = await told(agent, "search_library", like="red.png")
        assert alike["contents"][0]["id"] == kept["red"]
        assert alike["contents"][0]["cosine"] > 0.99
        narrowed = await told(agent, "search_library", like="red.png", words="blue")
        assert [one["id"] for one in narrowed["contents"]] == [kept["blue"]]

    with_client(workplace, work)


@pytest.mark.parametrize(
    ("app", "source", "wanted"),
    [
        ("narrate", "book.md", ".wav"),
        ("trim", "talk.mp3", ".mp3"),
        ("trim", "talk.mp4", ".mp4"),
        ("film", "scenes.yaml", ".mp4"),
        ("cuts", "a.mp4", ".json"),
    ],
)
def test_what_an_app_makes_is_called_by_what_it_is(app: str, source: str, wanted: str) -> None:
    assert ending(apps()[app], Path(source)) == wanted


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("generate", {"model": "poly"}, "Did you mean 'polly'"),
    ("generate", {"model": "../polly"}, "unknown model"),
    ("generate", {"model": "polly", "n": 10**9}, "at most 16"),
    ("generate", {"model": "polly", "seed": True}, "a number"),
    ("generate", {"model": "polly", "wrong": 1}, "unknown key 'wrong'"),
    ("generate", {"model": "polly", "options": {"lines": 0}}, "lines"),
    ("generate", {"model": "polly", "prompt": "\ud800"}, "prompt"),
    ("generate", {"model": "polly", "options": {"seed": 1}}, "seed"),
    ("generate", {"model": "polly", "out": "../x.md"}, "outside"),
    ("generate", {"model": "polly", "out": "taken.md"}, "exists already"),
    ("generate", {"model": "polly", "given": {"image": "/etc/passwd"}}, "outside"),
    ("generate", {"model": "polly", "given": {"image": "link/passwd"}}, "outside"),
    ("verify", {"file": "/etc/passwd"}, "outside"),
    ("verify", {"file": "a\0b"}, "NUL"),
    ("show", {"file": "link"}, "outside"),
    ("cuts", {"file": "../film.mp4"}, "outside"),
    ("dub", {"file": "taken.md", "transcript": "/etc/passwd"}, "outside"),
    ("highlight", {"file": "taken.md", "text": "x", "transcript": "link/passwd"}, "outside"),
    ("subtitle", {"file": "taken.md", "font": "/etc/passwd"}, "outside"),
    ("film", {"timeline": "film.yaml"}, "outside"),
    ("generate", {"model": "polly", "options": {"rhyme": "/etc/passwd"}}, "outside"),
    ("search_library", {"words": "x", "how": "smell"}, "how"),
    ("search_library", {"like": "/etc/passwd"}, "outside"),
    ("search_library", {"how": "seen"}, "cannot be empty"),
    ("search_library", {"words": "x", "how": "seen", "modality": "text"}, "only pictures"),
    ("create", {"brief": "x", "replace": {"picture": "/etc/passwd"}}, "outside"),
    ("create", {"brief": "x", "text_model": "/tmp"}, "unknown model"),
    ("create", {"brief": "x", "out": "/tmp/elsewhere"}, "outside"),
    ("train", {"recipe": "none.yaml"}, "no file"),
    ("train", {"recipe": "learn.yaml", "set": ["data.source=/etc/passwd"]}, "outside"),
    ("evaluate", {"recipe": "learn.yaml", "set": ["data.source=link/passwd"]}, "outside"),
    ("adapt", {"recipe": "learn.yaml", "set": ["model.base=~/model"]}, "outside"),
    ("tune", {"recipe": "learn.yaml", "set": ["data.source={path: ., files: ../*}"], "parameters": ["train.steps=int(1,2)"]}, "outside"),
    ("batch", {"requests": "taken.md", "model": "polly", "out": "o.jsonl"}, "JSON"),
    ("job", {"id": "none"}, "no job"),
    ("jobs", {"state": "happy"}, "unknown state"),
    ("nothing", {}, "unknown tool"),
]


def test_wrong_calls_are_explained(polly: Path, workplace: Path) -> None:
    (workplace / "taken.md").write_text("mine")
    (workplace / "link").symlink_to("/etc")
    (workplace / "film.yaml").write_text("scenes: [{picture: {file: /etc/hostname}, seconds: 2}]\n")
    (workplace / "learn.yaml").write_text("version: 1\nname: learn\ndata: {source: taken.md}\nmodel: {family: ngram}\n")

    async def work(agent: Client) -> None:
        for tool, arguments, says in WRONG:
            assert says in await refused(agent, tool, **arguments), (tool, arguments)

    with_client(workplace, work)
    assert (workplace / "taken.md").read_text() == "mine"


def test_a_batch_is_a_job_that_goes_on_without_the_call(polly: Path, workplace: Path) -> None:
    rows = [json.dumps({"prompt": f"题目{number}"}, ensure_ascii=False) for number in range(3)]
    (workplace / "requests.jsonl").write_text("\n".join(rows))

    async def work(agent: Client) -> None:
        begun = await told(agent, "batch", requests="requests.jsonl", model="polly", out="answers.jsonl", seed=1, wait_seconds=0)
        assert begun["state"] in ("queued", "running")
        ended = await told(agent, "job", id=begun["id"], wait_seconds=60)
        assert ended["state"] == "done"
        assert ended["result"]["requests"] == 3
        assert (await told(agent, "jobs"))["jobs"][0]["id"] == begun["id"]

    with_client(workplace, work)
    answers = [json.loads(line) for line in (workplace / "answers.jsonl").read_text().splitlines()]
    assert [answer["prompt"] for answer in answers] == ["题目0", "题目1", "题目2"]


def test_over_the_pipes_of_the_command(polly: Path, workplace: Path) -> None:
    names = ("MIAOBI_HOME", "MIAOBI_LANG", "PYTHONPATH", "OMP_NUM_THREADS")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    command = StdioServerParameters(command=sys.executable, args=["-m", "miaobi.cli.main", "mcp"], env=environment, cwd=workplace)

    async def main() -> None:
        async with Client(command) as agent:
            assert (await told(agent, "models", model="polly"))["family"] == "parrot"
            made = await told(agent, "generate", model="polly", prompt="题目", seed=1)
            assert made["contents"][0]["text"].startswith("题目")

    asyncio.run(main())
