"""The server under load: every figure that it is held to is a command, against a real `miaobi serve` on a free port.

    python benchmarks/serve.py start                       seconds until it is ready, without a model
    python benchmarks/serve.py streams --clients 64 --requests 50   nothing dropped, nothing mixed up, the text of the request alone
    python benchmarks/serve.py poet --clients 16           poems a second of many clients, beside one
    python benchmarks/serve.py overload --factor 10        whoever is let in finishes, and /health answers meanwhile
    python benchmarks/serve.py mixed --minutes 10          texts, pictures, mistakes, clients that leave: does memory grow?
    python benchmarks/serve.py peers                       time to the first token and tokens a second, beside `transformers serve`

Each prints its figures as JSON and exits with 1 when a target is missed; `--write` puts them into docs/benchmarks.md. Models are made on
the spot with random weights, but for `poet` and `painter`, which ship. Times mean something only on a machine that does nothing else;
whether texts are equal and requests are lost, on any.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from measure import machine, ratio, write_section

WORDS = (
    *("moon", "river", "mountain", "autumn", "wind", "lantern", "harbour", "temple", "snow", "pine"),
    *("crane", "boat", "bridge", "garden", "silk", "tea", "bamboo", "cloud", "rain", "star"),
)
SMOL = {  # the shape of SmolLM2-135M
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
REST_SECONDS = 3.0  # after which the server's processes have given back what they need no more
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
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds

    from miaobi.core.artifact import new_folder, seal
    from miaobi.models.common import decoder_graph

    torch.manual_seed(0)
    folder = models / "smol"
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, SMOL["vocab_size"])}
    tokenizer = Tokenizer(kinds.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse() if not hasattr(decoders, "WordPiece") else decoders.WordPiece(prefix="##", cleanup=False)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = NEVER
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMOL, bos_token_id=1, eos_token_id=2))
    with new_folder(folder) as new:
        model.save_pretrained(new)
        fast.save_pretrained(new)
        decoder_graph.write(new, precisions=(precision,))  # type: ignore[arg-type]
        seal(new, family="gpt", name="smol", licence="CC0-1.0")
    return folder


# ---------------------------------------------------------------------- the server


@dataclass
class Server:
    """A server that runs, and what it takes to ask it."""

    url: str
    process: subprocess.Popen[bytes]

    def memory_mb(self) -> float:
        """Resident memory of the server and of all its processes."""
        return sum(resident_mb(pid) for pid in [self.process.pid, *children(self.process.pid)])


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


async def events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events."""
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield line[5:].strip()


async def ask(client: httpx.AsyncClient, path: str, body: Mapping[str, Any], *, leave_after: int = 0) -> Answer:
    """One streamed request; with `leave_after` the client goes after so many events."""
    began = time.perf_counter()
    answer = Answer(0)
    async with client.stream("POST", path, json={**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
        answer.status, answer.retry_after = response.status_code, response.headers.get("retry-after", "")
        if response.status_code != 200:
            await response.aread()
            return answer
        seen = 0
        async for data in events(response):
            if data == "[DONE]":
                answer.whole = True
                break
            _take(answer, json.loads(data), time.perf_counter() - began)
            seen += 1
            if leave_after and seen >= leave_after:
                break
    answer.seconds = time.perf_counter() - began
    return answer


def _take(answer: Answer, event: Mapping[str, Any], now: float) -> None:
    """One event of either route."""
    if event.get("id"):
        answer.ids.add(event["id"])
    for choice in event.get("choices") or []:
        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        if piece and not answer.first:
            answer.first = now
        answer.text += piece
    if event.get("usage"):
        answer.tokens = event["usage"]["completion_tokens"]


def client_of(server: Server, clients: int) -> httpx.AsyncClient:
    """A client with a connection for everybody."""
    limits = httpx.Limits(max_connections=clients + 8, max_keepalive_connections=clients + 8)
    return httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits)


async def share_out(clients: int, requests: int, one: Callable[[int, int], Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """So many clients, each with so many requests one after the other."""

    async def life(client: int) -> list[Answer]:
        return [await one(client, number) for number in range(requests)]

    return [answer for answers in await asyncio.gather(*map(life, range(clients))) for answer in answers]


# ---------------------------------------------------------------------- the figures


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds until `/ready`, without a model."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            with miaobi(Path(folder)):
                times.append(time.perf_counter() - began)
    return {
        "seconds": round(statistics.median(times), 2),
        "best": round(min(times), 2),
        "target": 3.0,
        "met": statistics.median(times) <= 3.0,
    }


def streams(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every stream against the same request alone, in this process and without a server."""
    from miaobi.engine.load import load

    clients, requests = arguments.clients, arguments.requests
    body = {"model": "scribe", "max_tokens": 24, "temperature": 0}

    def prompt(client: int, number: int) -> str:
        chosen = random.Random(client * 1000 + number)
        return f"{client} {number} " + " ".join(chosen.choices(WORDS, k=chosen.randint(1, 25)))

    with tempfile.TemporaryDirectory() as home:
        folder = make_scribe(Path(home) / "models")
        alone = load(folder, threads=1)
        expected = {
            (client, number): alone.generate(prompt(client, number), max_tokens=24, temperature=0)[0].text
            for client in range(clients)
            for number in range(requests)
        }
        with miaobi(Path(home), "--model", "scribe", "--queue", str(clients)) as server:

            async def whole() -> tuple[list[Answer], float]:
                async with client_of(server, clients) as client:
                    one = lambda who, number: ask(client, "/v1/completions", {**body, "prompt": prompt(who, number)})  # noqa: E731
                    await one(0, 0)
                    began = time.perf_counter()
                    return await share_out(clients, requests, one), time.perf_counter() - began

            answers, seconds = asyncio.run(whole())
    keys = [(client, number) for client in range(clients) for number in range(requests)]
    equal = sum(answer.text == expected[key] for answer, key in zip(answers, keys, strict=True))
    ids = [next(iter(answer.ids)) for answer in answers if len(answer.ids) == 1]
    figures = {
        "requests": len(answers),
        "dropped": sum(not answer.whole for answer in answers),
        "equal_to_alone": equal,
        "different_texts": len(set(expected.values())),
        "streams_with_one_id_of_their_own": len(set(ids)),
        "requests_a_second": round(len(answers) / seconds, 1),
        "tokens_a_second": round(sum(answer.tokens for answer in answers) / seconds),
        "first_token_seconds": quantiles([answer.first for answer in answers]),
    }
    return figures | {"met": equal == len(answers) == len(set(ids)) and not figures["dropped"]}


def poet(arguments: argparse.Namespace) -> dict[str, Any]:
    """Poems a second of one client and of many, in turns."""
    clients = arguments.clients
    values: dict[str, list[float]] = {"one": [], "many": []}

    async def measured(server: Server, number: int, poems: int) -> float:
        async with client_of(server, number) as client:

            async def one(who: int, turn: int) -> Answer:
                words = {
                    "model": "poet",
                    "messages": [{"role": "user", "content": WORDS[(who + turn) % len(WORDS)]}],
                    "seed": who * 100 + turn,
                }
                return await ask(client, "/v1/chat/completions", words)

            began = time.perf_counter()
            answers = await share_out(number, poems, one)
            assert all(answer.whole and answer.text for answer in answers), "every poem arrives"
            return len(answers) / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as home, miaobi(Path(home), "--model", "poet", "--keep", "poet") as server:
        asyncio.run(measured(server, 2, 2))
        for _ in range(arguments.rounds):
            values["one"].append(asyncio.run(measured(server, 1, arguments.requests)))
            values["many"].append(asyncio.run(measured(server, clients, max(1, arguments.requests // 4))))
    times = ratio(values, "many", "one")
    best = {name: round(statistics.median(found), 2) for name, found in values.items()}
    return {"clients": clients, "poems_a_second": best, "times_one_client": round(times, 2), "target": 4.0, "met": times >= 4.0}


def overload(arguments: argparse.Namespace) -> dict[str, Any]:
    """Far more than the queue holds, at once, while somebody asks for the server's health."""
    queue = arguments.queue
    asked = queue * arguments.factor
    body = {"model": "poet", "messages": [{"role": "user", "content": "autumn"}]}

    async def whole(server: Server) -> tuple[list[Answer], list[float]]:
        healths: list[float] = []
        async with client_of(server, asked) as client, client_of(server, 1) as visitor:
            await ask(client, "/v1/chat/completions", body)
            over = asyncio.Event()

            async def visit() -> None:
                while not over.is_set():
                    began = time.perf_counter()
                    assert (await visitor.get("/health")).status_code == 200, "it lives"
                    healths.append(time.perf_counter() - began)
                    await asyncio.sleep(0.01)

            visits = asyncio.create_task(visit())
            answers = await asyncio.gather(*(ask(client, "/v1/chat/completions", {**body, "seed": number}) for number in range(asked)))
            over.set()
            await visits
        return list(answers), healths

    with tempfile.TemporaryDirectory() as home, miaobi(Path(home), "--model", "poet", "--keep", "poet", "--queue", str(queue)) as server:
        answers, healths = asyncio.run(whole(server))
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    figures = {
        "asked": asked,
        "accepted": len(accepted),
        "finished": sum(answer.whole and bool(answer.text) for answer in accepted),
        "refused_with_retry_after": sum(bool(answer.retry_after) for answer in refused),
        "health_p99_ms": round(quantiles(healths)["p99"] * 1000, 1),
    }
    fine = figures["finished"] == len(accepted) >= queue and figures["refused_with_retry_after"] + len(accepted) == asked
    return figures | {"target_p99_ms": 200, "met": fine and figures["health_p99_ms"] < 200}


def mixed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything at once for a while; the slope of the memory over the requests, once half of the time is over.

    Twenty times the clients stop, and memory is read when nothing is under way: else the slope is that of texts which come and go.
    """
    counts: dict[str, int] = {}
    samples: list[tuple[int, float]] = []
    busiest: list[float] = []

    async def one(client: httpx.AsyncClient, chosen: random.Random) -> str:
        seed = chosen.randrange(2**31)
        kind = chosen.choices(("text", "poem", "leaves", "wrong", "unknown", "picture", "list"), (50, 8, 12, 8, 4, 3, 15))[0]
        text = {"model": "scribe", "prompt": " ".join(chosen.choices(WORDS, k=chosen.randint(1, 40))), "max_tokens": 32, "seed": seed}
        if kind == "list":
            status = (await client.get("/v1/models")).status_code
        elif kind == "picture":
            body = {"model": "painter", "prompt": "moon", "options": {"steps": 2, "seed": seed % 1000}}
            status = (await client.post("/v1/images/generations", json={**body, "options": {"steps": 2}})).status_code
        elif kind == "poem":
            words = {"model": "poet", "messages": [{"role": "user", "content": chosen.choice(WORDS)}], "seed": seed}
            status = (await ask(client, "/v1/chat/completions", words)).status
        else:
            change = {"wrong": {"temperature": -1}, "unknown": {"model": "nobody"}}.get(kind, {})
            status = (await ask(client, "/v1/completions", {**text, **change}, leave_after=3 if kind == "leaves" else 0)).status
        return f"{kind} {status}"

    async def whole(server: Server) -> None:
        lives = [random.Random(number) for number in range(arguments.clients)]
        async with client_of(server, arguments.clients) as client:

            async def life(chosen: random.Random, end: float) -> None:
                while time.monotonic() < end:
                    found = await one(client, chosen)
                    counts[found] = counts.get(found, 0) + 1

            for _ in range(20):
                end = time.monotonic() + 3 * arguments.minutes
                await asyncio.gather(*(life(chosen, end) for chosen in lives))
                busiest.append(await asyncio.to_thread(server.memory_mb))
                await asyncio.sleep(REST_SECONDS)
                samples.append((sum(counts.values()), await asyncio.to_thread(server.memory_mb)))

    with tempfile.TemporaryDirectory() as home:
        make_scribe(Path(home) / "models")
        with miaobi(Path(home), "--model", "scribe", "--model", "poet", "--model", "painter") as server:
            asyncio.run(whole(server))
    later = samples[len(samples) // 2 :]
    grows = 1000 * statistics.linear_regression([count for count, _ in later], [memory for _, memory in later]).slope
    failed = {name: count for name, count in counts.items() if name.split()[1][0] == "5"}
    return {
        "requests": sum(counts.values()),
        "outcomes": dict(sorted(counts.items())),
        "memory_mb": [round(memory) for _, memory in samples],
        "busiest_memory_mb": round(max(busiest)),
        "mb_per_1000_requests": round(grows, 3),
        "target": 1.0,
        "met": grows < 1.0 and not failed,
    }


def peers(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same weights, the same prompts, the servers in turns: the first token and the throughput, by the number of clients."""
    prompt = " ".join(f"w{number}" for number in range(10, 10 + arguments.prompt))
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        folder = make_smol(Path(home) / "models", arguments.precision)
        servers = [(name, *stack.enter_context(server_of())) for name, server_of in contenders(Path(home), folder, arguments.device)]
        for turn in range(-1, arguments.requests):  # the first one loads and warms
            for name, server, model in servers:
                for clients in arguments.clients if turn >= 0 else [1]:
                    measured = asyncio.run(speed(server, model, f"w{200 + turn} {prompt}", clients, arguments.new))
                    found.setdefault(name, {}).setdefault(clients, []).extend([measured] if turn >= 0 else [])
    figures = {
        name: {
            f"{clients} clients": {
                "tokens_a_second": round(statistics.median(tokens for tokens, _ in values), 1),
                "first_token_ms": round(1000 * statistics.median(first for _, first in values)),
            }
            for clients, values in by_clients.items()
        }
        for name, by_clients in found.items()
    }
    shape = {"shape": "SmolLM2-135M, random weights", "precision": arguments.precision}
    return {**shape, "prompt_tokens": arguments.prompt, "new_tokens": arguments.new, **figures, "met": True}


def contenders(home: Path, folder: Path, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The servers that are here."""

    @contextlib.contextmanager
    def ours() -> Iterator[tuple[Server, str]]:
        with miaobi(home, "--model", "smol", "--keep", "smol", "--device", device) as server:
            yield server, "smol"

    @contextlib.contextmanager
    def theirs() -> Iterator[tuple[Server, str]]:
        port = free_port()
        program = shutil.which("transformers", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "transformers"
        command = [program, "serve", str(folder), "--port", str(port), "--device", device, "--continuous-batching"]
        with running(command, f"http://127.0.0.1:{port}", ready="/health", home=home) as server:
            yield server, str(folder)

    yield "miaobi serve", ours
    yield "transformers serve", theirs


async def speed(server: Server, model: str, prompt: str, clients: int, new: int) -> tuple[float, float]:
    """Tokens a second of so many clients with one request each, and their median time to the first token."""
    async with client_of(server, clients) as client:

        def one(who: int, _: int) -> Coroutine[Any, Any, Answer]:
            messages = [{"role": "user", "content": f"w{100 + who} {prompt}"}]
            return ask(client, "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": new, "temperature": 0})

        began = time.perf_counter()
        answers = await share_out(clients, 1, one)
        seconds = time.perf_counter() - began
    assert all(answer.whole or answer.text for answer in answers), "every answer arrives"
    return sum(len(answer.text.split()) for answer in answers) / seconds, statistics.median(answer.first for answer in answers)


def quantiles(values: list[float]) -> dict[str, float]:
    """The median, the 95th and the 99th of a hundred."""
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    verbs = parser.add_subparsers(dest="verb", required=True)
    numbers: dict[str, tuple[Callable[[argparse.Namespace], dict[str, Any]], dict[str, float]]] = {
        "start": (start, {"rounds": 5}),
        "streams": (streams, {"clients": 64, "requests": 50}),
        "poet": (poet, {"clients": 16, "requests": 16, "rounds": 5}),
        "overload": (overload, {"queue": 16, "factor": 10}),
        "mixed": (mixed, {"clients": 8, "minutes": 10.0}),
    }
    for name, (measure, defaults) in numbers.items():
        verb = verbs.add_parser(name, help=measure.__doc__)
        verb.set_defaults(measure=measure)
        for option, value in defaults.items():
            verb.add_argument(f"--{option}", type=type(value), default=value)
    verb = verbs.add_parser("peers", help=peers.__doc__)
    verb.set_defaults(measure=peers)
    verb.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    for option, value in {"requests": 3, "prompt": 64, "new": 64}.items():
        verb.add_argument(f"--{option}", type=int, default=value)
    verb.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    verb.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    figures = arguments.measure(arguments)
    said = json.dumps({"machine": machine(), arguments.verb: figures}, indent=1, ensure_ascii=False)
    print(said)
    if arguments.write:
        write_section(f"serve-{arguments.verb}", f"## Serving: {arguments.verb}\n\n{arguments.measure.__doc__}\n\n```json\n{said}\n```")
    sys.exit(0 if figures["met"] else 1)


if __name__ == "__main__":
    main()
