"""What the server's benchmarks share: models made on the spot, a server in a process of its own, and clients that cost next to nothing.

Unusual: the clients speak HTTP by hand. On a machine of two cores they share them with the server, and a client library that takes longer
to read an event than the server takes to send it would be what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from shapes import SMOL

WORDS = (
    *("moon", "river", "mountain", "autumn", "wind", "lantern", "harbour", "temple", "snow", "pine"),
    *("crane", "boat", "bridge", "garden", "silk", "tea", "bamboo", "cloud", "rain", "star"),
)
NEVER = "{% for message in messages %}{{ message['content'] }} {% endfor %}"  # a chat template without marks


# ---------------------------------------------------------------------- models


def make_scribe(models: Path) -> Path:
    """A tiny decoder over characters whose greedy texts differ from prompt to prompt."""
    import torch

    from miaobi.core.artifact import new_folder, seal
    from miaobi.core.types import Record
    from miaobi.models.gpt.model import GPT

    torch.manual_seed(0)
    model = GPT.create({"width": 64, "layers": 2, "heads": 2, "context": 512}, [Record(id="0", parts=(" ".join(WORDS) + " 0123456789",))])
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder = models / "scribe"
    with new_folder(folder) as new:
        model.save(new)
        model.export(new, formats=("int8",))
        seal(new, family="gpt", name="scribe", licence="CC0-1.0")
    return folder


def make_smol(models: Path, precision: str) -> Path:
    """SmolLM2-135M's shape with random weights; every token is a word, so that each is seen as it comes."""
    import torch
    import transformers

    from miaobi.core.artifact import new_folder, seal
    from miaobi.models.common import decoder_graph

    torch.manual_seed(0)
    folder = models / "smol"
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words_alone(SMOL["vocab_size"]), bos_token="<s>", eos_token="</s>")
    fast.chat_template = NEVER
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMOL, bos_token_id=1, eos_token_id=2))
    with new_folder(folder) as new:
        model.save_pretrained(new)
        fast.save_pretrained(new)
        decoder_graph.write(new, precisions=(precision,))  # type: ignore[arg-type]
        seal(new, family="gpt", name="smol", licence="CC0-1.0")
    return folder


def word(number: int) -> str:
    """The word of that number: digits are letters, which no tokenizer parts from each other."""
    return "w" + str(number).translate(str.maketrans("0123456789", "abcdefghij"))


def words_alone(size: int) -> Any:
    """A tokenizer of bytes, as GPT-2's, in which a space and a `word` are one token: each grows out of the one that it begins with."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds

    names = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "\u0120w"]
    merges = [("\u0120", "w")]
    for number in range(1, size - len(names) + 1):
        whole = "\u0120" + word(number)
        merges.append((whole[:-1], whole[-1]))
        names.append(whole)
    tokenizer = Tokenizer(kinds.BPE({name: place for place, name in enumerate(names)}, merges))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names[:3]])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


# ---------------------------------------------------------------------- the server


@dataclass
class Server:
    """A server that runs, and what it takes to ask it."""

    url: str
    process: subprocess.Popen[bytes]

    def memory_mb(self) -> list[float]:
        """The memory of the server and of each of its processes, the oldest first."""
        return [resident_mb(pid) for pid in [self.process.pid, *children(self.process.pid)]]

    def cpu_seconds(self) -> list[float]:
        """What the server and each of its processes have computed, the oldest first."""
        return [cpu_seconds(pid) for pid in [self.process.pid, *children(self.process.pid)]]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def children(pid: int) -> list[int]:
    """All processes below this one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text(encoding="ascii").split():
                found += [int(child), *children(int(child))]
    return found


def resident_mb(pid: int) -> float:
    """Its share of the memory: what several processes map counts once."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024
    return 0.0


def cpu_seconds(pid: int) -> float:
    """The time that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(command: list[str], url: str, *, home: Path | None = None, ready: str = "/ready", seconds: float = 120.0) -> Iterator[Server]:
    """The command as a server, until the block ends."""
    environment = os.environ | ({"MIAOBI_HOME": str(home)} if home else {})
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process:
        try:
            began = time.monotonic()
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(url + ready, timeout=5):  # lighter than a client of httpx
                    break
                if process.poll() is not None or time.monotonic() - began > seconds:
                    said.seek(0)
                    raise SystemExit(f"{' '.join(command)} does not serve: {said.read()[-3000:].decode(errors='replace')}")
                time.sleep(0.01)
            yield Server(url, process)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


@contextlib.contextmanager
def miaobi(home: Path, *words: str) -> Iterator[Server]:
    """`miaobi serve` with a home of its own."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "miaobi"), "serve", "--port", str(port), "--log", "off", *words]
    with running(command, f"http://127.0.0.1:{port}", home=home) as server:
        yield server


# ---------------------------------------------------------------------- clients


@dataclass
class Answer:
    """What came of a request. Times are seconds since it was sent."""

    status: int
    text: str = ""
    tokens: int = 0
    ids: set[str] = field(default_factory=set)
    first: float = 0.0
    seconds: float = 0.0
    retry_after: str = ""
    whole: bool = False  # its end was seen
    failed: bool = False  # an event said that it failed


@dataclass
class Reply:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    read: bool = False  # to its end, so that the connection can be used again

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body."""
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers.get("content-length", "0")))
        else:
            while size := int((await self.reader.readline()).split(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        self.read = True

    async def events(self) -> AsyncIterator[bytes]:
        """The data of server-sent events."""
        rest = b""
        async for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip()


class Client:
    """Connections to one server, kept for the next request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _, writer in self._idle:
            writer.close()

    @contextlib.asynccontextmanager
    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> AsyncIterator[Reply]:
        """Ask; who leaves the block before the end of the body closes the connection."""
        data = b"" if body is None else json.dumps(body).encode()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        kind = "content-type: application/json\r\n" if body is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n{kind}content-length: {len(data)}\r\n\r\n"
        reply = None
        try:
            writer.write(head.encode() + data)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
            reply = Reply(int(lines[0].split()[1]), headers, reader)
            yield reply
        finally:
            if reply is not None and reply.read and reply.headers.get("connection") != "close":
                self._idle.append((reader, writer))
            else:
                writer.close()

    async def status(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> int:
        """The status of a request whose body does not matter."""
        async with self.request(method, path, body) as reply:
            async for _ in reply.chunks():
                pass
            return reply.status


async def ask(client: Client, path: str, body: Mapping[str, Any], *, leave_after: int = 0) -> Answer:
    """One streamed request; with `leave_after` the client goes after so many events."""
    began, seen = time.perf_counter(), 0
    async with client.request("POST", path, {**body, "stream": True, "stream_options": {"include_usage": True}}) as reply:
        answer = Answer(reply.status, retry_after=reply.headers.get("retry-after", ""))
        async for data in reply.events():
            if data == b"[DONE]":
                answer.whole = not answer.failed
                continue
            _take(answer, json.loads(data), time.perf_counter() - began)
            seen += 1
            if leave_after and seen >= leave_after:
                break
    answer.seconds = time.perf_counter() - began
    return answer


def _take(answer: Answer, event: Mapping[str, Any], now: float) -> None:
    """One event of either route."""
    answer.failed |= "error" in event
    if event.get("id"):
        answer.ids.add(event["id"])
    for choice in event.get("choices") or []:
        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        if piece and not answer.first:
            answer.first = now
        answer.text += piece
    if event.get("usage"):
        answer.tokens = event["usage"]["completion_tokens"]


async def share_out(clients: int, requests: int, one: Callable[[int, int], Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """So many clients, each with so many requests one after the other."""

    async def life(client: int) -> list[Answer]:
        return [await one(client, number) for number in range(requests)]

    return [answer for answers in await asyncio.gather(*map(life, range(clients))) for answer in answers]


def quantiles(values: list[float]) -> dict[str, float]:
    """The median, the 95th and the 99th of a hundred."""
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
