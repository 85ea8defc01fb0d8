"""The tools over the Model Context Protocol, on standard input and output.

A tool's arguments are checked by its schema, so a wrong one is told in the words that the command line uses. Contents come back as blocks
that an agent can look at and listen to, with the words that say who made them; large media are named by their files only.
"""

from __future__ import annotations

import base64
import json
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import miaobi
from miaobi.core.errors import MiaobiError, MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.core.schema import validate
from miaobi.core.types import Content, Media, Modality
from miaobi.serve.mcp.bench import Answer, Bench, Tell, Tool
from miaobi.serve.mcp.tools import tools

try:
    import mcp_types as types
    from mcp.server import Server, ServerRequestContext
except ImportError:
    raise MissingExtra("miaobi mcp", "mcp") from None

if TYPE_CHECKING:
    from miaobi.serve.pool import Pool

MOST_BYTES = 1 << 20  # of a picture or sound inside an answer
INSTRUCTIONS = (
    "Write, draw, compose, speak and film with the models of this machine; train and evaluate them; find what was kept. "
    "`models` tells what there is and which options a model has. Files are named relative to the folder that the server was given. "
    "Everything that is made carries a label that says it is AI-generated: leave it on."
)


def build(bench: Bench) -> Server[Any]:
    """The server for one bench."""
    known = tools()

    async def listed(context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in known.values()])

    async def called(context: ServerRequestContext[Any], params: types.CallToolRequestParams) -> types.CallToolResult:
        return await _call(bench, known, params.name, params.arguments or {}, _teller(context))

    return Server(
        "miaobi", version=miaobi.__version__, title="妙笔 miaobi", instructions=INSTRUCTIONS, on_list_tools=listed, on_call_tool=called
    )


def _described(tool: Tool) -> types.Tool:
    schema = tool.schema.model_json_schema()
    hints = types.ToolAnnotations(read_only_hint=tool.reads, destructive_hint=False, open_world_hint=False)
    return types.Tool(name=tool.name, description=tr(tool.summary), input_schema=schema, annotations=hints)


def _teller(context: ServerRequestContext[Any]) -> Tell:
    """Progress as the protocol has it: a number that only grows, and a line."""
    count = 0

    async def tell(line: str) -> None:
        nonlocal count
        count += 1
        await context.session.report_progress(count, None, line)

    return tell


async def _call(bench: Bench, known: Mapping[str, Tool], name: str, arguments: Mapping[str, Any], tell: Tell) -> types.CallToolResult:
    """What a tool gives, or what was wrong, in words that the agent can act on."""
    try:
        if name not in known:
            raise unknown("tool", name, known)
        tool = known[name]
        return _given(await tool.run(bench, validate(tool.schema, arguments, tr("tool '{name}'", name=name)), tell))
    except MiaobiError as error:
        return _failed(str(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return _failed(tr("unexpected: {kind}: {problem}", kind=type(error).__name__, problem=error))


def _failed(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=message)], is_error=True)


def _given(answer: Answer) -> types.CallToolResult:
    """Texts, pictures and sounds as blocks, then all values as JSON."""
    values = json.loads(json.dumps(answer.values, ensure_ascii=False, default=_plain))
    blocks: list[Any] = [block for content in answer.contents for block in _blocks(content)]
    told = types.TextContent(type="text", text=json.dumps(values, ensure_ascii=False, indent=1))
    return types.CallToolResult(content=[*blocks, told], structured_content=values)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def _blocks(content: Content) -> list[Any]:
    """A content as an agent can take it in, with the words that tell a reader who made it."""
    from miaobi.trust import label

    blocks: list[Any] = []
    if content.text:
        words = label.visible(label.visible_language(content.text))
        blocks.append(types.TextContent(type="text", text=f"{content.text}\n\n{words}"))
    for part in content.parts:
        if not isinstance(part, Media) or len(part.data) > MOST_BYTES:
            continue
        data = base64.b64encode(part.data).decode()
        if part.modality is Modality.IMAGE:
            blocks.append(types.ImageContent(type="image", data=data, mime_type=part.mime))
        elif part.modality is Modality.AUDIO:
            blocks.append(types.AudioContent(type="audio", data=data, mime_type=part.mime))
    return blocks


@asynccontextmanager
async def opened(pool: Pool, folder: Path, *, library: str = "") -> AsyncIterator[Server[Any]]:
    """A server whose pool runs and whose jobs end with it."""
    bench = Bench(pool, folder, library)
    async with pool:
        try:
            yield build(bench)
        finally:
            await bench.close()


async def serve(pool: Pool, folder: Path, *, library: str = "") -> None:
    """Serve on standard input and output until it ends."""
    from mcp.server.stdio import stdio_server

    async with opened(pool, folder, library=library) as server, stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
