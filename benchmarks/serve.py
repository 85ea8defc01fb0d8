"""The server under load: every figure that it is held to is a command, against a real `miaobi serve` on a free port.

    python benchmarks/serve.py start                       seconds until it is ready, without a model
    python benchmarks/serve.py streams --clients 64 --requests 50   nothing dropped, nothing mixed up, the text of the request alone
    python benchmarks/serve.py poet --clients 16           poems a second of many clients, beside one; who computed how long
    python benchmarks/serve.py overload --factor 10        whoever is let in finishes, and /health answers meanwhile
    python benchmarks/serve.py replaced                    kill -9 of a model's process under load: seconds until another serves
    python benchmarks/serve.py mixed --minutes 10          texts, pictures, mistakes, clients that leave: does memory grow?
    python benchmarks/serve.py peers --llama PYTHON        time to the first token and tokens a second, beside `transformers serve` and
                                                           llama.cpp's server, where PYTHON has the package xllamacpp

Each prints its figures as JSON and exits with 1 when a target is missed; `--write` puts them into docs/benchmarks.md. Models are made on
the spot with random weights, but for `poet` and `painter`, which ship. Times mean something only on a machine that does nothing else;
whether texts are equal and requests are lost, on any.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from measure import machine, ratio, write_section
from serving import (
    WORDS,
    Answer,
    Client,
    Server,
    ask,
    children,
    free_port,
    make_scribe,
    make_smol,
    miaobi,
    quantiles,
    running,
    share_out,
    word,
)

REST_SECONDS = 3.0  # after which the server's processes have given back what they need no more
WARM_SHARE = 0.2  # of the time, in which caches fill
VISIT_SECONDS = 0.01  # between two visits to /health
LOST_SECONDS = 30.0  # after which a process that was killed will not be replaced any more


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
                async with Client(server.url) as client:
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
    """Poems a second of one client and of many, in turns; and what the server, the model's process and the clients computed for a poem."""
    clients = arguments.clients
    values: dict[str, list[float]] = {"one": [], "many": []}
    computed: dict[str, list[list[float]]] = {"one": [], "many": []}

    async def poems(server: Server, number: int, each: int) -> tuple[int, float]:
        async with Client(server.url) as client:

            async def one(who: int, turn: int) -> Answer:
                prompt = WORDS[(who + turn) % len(WORDS)]
                words = {"model": "poet", "messages": [{"role": "user", "content": prompt}], "seed": who * 100 + turn}
                return await ask(client, "/v1/chat/completions", words)

            began = time.perf_counter()
            answers = await share_out(number, each, one)
            assert all(answer.whole and answer.text for answer in answers), "every poem arrives"
            return len(answers), time.perf_counter() - began

    def measured(server: Server, name: str, number: int, each: int) -> None:
        before = [*server.cpu_seconds(), time.process_time()]
        count, seconds = asyncio.run(poems(server, number, each))
        values[name].append(count / seconds)
        after = [*server.cpu_seconds(), time.process_time()]
        computed[name].append([(late - early) / count for late, early in zip(after, before, strict=True)])

    with tempfile.TemporaryDirectory() as home, miaobi(Path(home), "--model", "poet", "--keep", "poet") as server:
        asyncio.run(poems(server, 2, 2))
        for _ in range(arguments.rounds):
            measured(server, "one", 1, arguments.requests)
            measured(server, "many", clients, max(1, arguments.requests // 4))
    times = ratio(values, "many", "one")
    return {
        "clients": clients,
        "poems_a_second": {name: round(statistics.median(found), 2) for name, found in values.items()},
        "cpu_ms_a_poem": {
            name: {part: round(1000 * statistics.median(times), 1) for part, times in zip(("server", "model", "clients"), zip(*found))}
            for name, found in computed.items()
        },
        "times_one_client": round(times, 2),
        "target": 4.0,
        "met": times >= 4.0,
    }


def overload(arguments: argparse.Namespace) -> dict[str, Any]:
    """Far more than the queue holds, at once and again and again, while somebody in another process asks for the server's health."""
    queue = arguments.queue
    asked = queue * arguments.factor
    body = {"model": "poet", "messages": [{"role": "user", "content": "autumn"}]}

    async def burst(server: Server, first: int) -> list[Answer]:
        async with Client(server.url) as client:
            asks = (ask(client, "/v1/chat/completions", {**body, "seed": first + number}) for number in range(asked))
            return list(await asyncio.gather(*asks))

    answers: list[Answer] = []
    with tempfile.TemporaryDirectory() as home, miaobi(Path(home), "--model", "poet", "--keep", "poet", "--queue", str(queue)) as server:
        asyncio.run(burst(server, 0))
        with visited(server) as healths:
            for number in range(arguments.rounds):
                answers += asyncio.run(burst(server, number * asked))
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    figures = {
        "asked": len(answers),
        "accepted": len(accepted),
        "finished": sum(answer.whole and bool(answer.text) for answer in accepted),
        "refused_with_retry_after": sum(bool(answer.retry_after) for answer in refused),
        "visits_to_health": len(healths),
        "health_ms": {name: round(1000 * value, 1) for name, value in quantiles(healths).items()},
    }
    fine = figures["finished"] == len(accepted) >= queue * arguments.rounds
    fine = fine and figures["refused_with_retry_after"] + len(accepted) == len(answers)
    return figures | {"target_p99_ms": 200, "met": fine and figures["health_ms"]["p99"] < 200}


@contextlib.contextmanager
def visited(server: Server) -> Iterator[list[float]]:
    """What `/health` took, filled when the block ends: a process that has nothing else to do asks again and again."""
    found: list[float] = []
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    visitor = spawn.Process(target=visit, args=(server.url, theirs))
    visitor.start()
    try:
        ours.recv()  # it has begun
        yield found
    finally:
        ours.send(None)
        found += ours.recv()
        visitor.join()


def visit(url: str, pipe: Connection) -> None:
    """The visitor: seconds of each answer, until it is told to stop."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    times: list[float] = []
    pipe.send(None)
    while not pipe.poll(VISIT_SECONDS):
        began = time.perf_counter()
        connection.request("GET", "/health")
        assert connection.getresponse().read(), "it lives"
        times.append(time.perf_counter() - began)
    pipe.send(times)


def replaced(arguments: argparse.Namespace) -> dict[str, Any]:
    """kill -9 of the model's process while clients ask: seconds until another process has answered a new request."""
    times: list[float] = []
    answers: list[Answer] = []
    body = {"model": "poet", "messages": [{"role": "user", "content": "autumn"}]}

    async def whole(server: Server) -> None:
        over = asyncio.Event()
        async with Client(server.url) as client:

            async def life(who: int) -> None:
                while not over.is_set():
                    answers.append(await ask(client, "/v1/chat/completions", {**body, "seed": who}))

            lives = [asyncio.create_task(life(number)) for number in range(arguments.clients)]
            for _ in range(arguments.rounds):
                await asyncio.sleep(2)
                os.kill(children(server.process.pid)[-1], signal.SIGKILL)
                began = time.perf_counter()
                while not (await ask(client, "/v1/chat/completions", {**body, "seed": 1})).whole:
                    assert time.perf_counter() - began < LOST_SECONDS, "nobody took its place"
                times.append(time.perf_counter() - began)
                await asyncio.sleep(5)
            over.set()
            await asyncio.gather(*lives)

    with tempfile.TemporaryDirectory() as home, miaobi(Path(home), "--model", "poet", "--keep", "poet") as server:
        asyncio.run(whole(server))
    told = sum(answer.whole or answer.failed or answer.status == 503 for answer in answers)
    return {
        "seconds": [round(taken, 2) for taken in times],
        "requests": len(answers),
        "lost_and_told": sum(answer.failed or answer.status == 503 for answer in answers),
        "neither_whole_nor_told": len(answers) - told,
        "target": 5.0,
        "met": max(times) <= 5.0 and told == len(answers),
    }


def mixed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything at once for a while; the slope of the memory over the requests, once a fifth of the time is over.

    Forty times the clients stop, and memory is read when nothing is under way: else the slope is that of texts which come and go.
    """
    counts: dict[str, int] = {}
    samples: list[tuple[int, list[float]]] = []
    busiest: list[float] = []

    async def one(client: Client, chosen: random.Random) -> str:
        seed = chosen.randrange(2**31)
        kind = chosen.choices(("text", "poem", "leaves", "wrong", "unknown", "picture", "list"), (50, 8, 12, 8, 4, 3, 15))[0]
        text = {"model": "scribe", "prompt": " ".join(chosen.choices(WORDS, k=chosen.randint(1, 40))), "max_tokens": 32, "seed": seed}
        if kind == "list":
            status = await client.status("GET", "/v1/models")
        elif kind == "picture":
            body = {"model": "painter", "prompt": "moon", "seed": seed, "options": {"steps": 2}}
            status = await client.status("POST", "/v1/images/generations", body)
        elif kind == "poem":
            words = {"model": "poet", "messages": [{"role": "user", "content": chosen.choice(WORDS)}], "seed": seed}
            status = (await ask(client, "/v1/chat/completions", words)).status
        else:
            change = {"wrong": {"temperature": -1}, "unknown": {"model": "nobody"}}.get(kind, {})
            status = (await ask(client, "/v1/completions", {**text, **change}, leave_after=3 if kind == "leaves" else 0)).status
        return f"{kind} {status}"

    async def whole(server: Server) -> None:
        lives = [random.Random(number) for number in range(arguments.clients)]
        async with Client(server.url) as client:

            async def life(chosen: random.Random, end: float) -> None:
                while time.monotonic() < end:
                    found = await one(client, chosen)
                    counts[found] = counts.get(found, 0) + 1

            for _ in range(40):
                end = time.monotonic() + 1.5 * arguments.minutes
                await asyncio.gather(*(life(chosen, end) for chosen in lives))
                busiest.append(sum(await asyncio.to_thread(server.memory_mb)))
                await asyncio.sleep(REST_SECONDS)
                samples.append((sum(counts.values()), await asyncio.to_thread(server.memory_mb)))

    with tempfile.TemporaryDirectory() as home:
        make_scribe(Path(home) / "models")
        with miaobi(Path(home), "--model", "scribe", "--model", "poet", "--model", "painter") as server:
            asyncio.run(whole(server))
    later = samples[round(WARM_SHARE * len(samples)) :]
    grows, unsure = slope([float(count) for count, _ in later], [sum(memory) for _, memory in later])
    failed = {name: count for name, count in counts.items() if name.split()[1][0] == "5"}
    return {
        "requests": sum(counts.values()),
        "outcomes": dict(sorted(counts.items())),
        "memory_mb": [round(sum(memory)) for _, memory in samples],
        "by_process_first_and_last": [[round(part, 1) for part in memory] for _, memory in (later[0], later[-1])],
        "busiest_memory_mb": round(max(busiest)),
        "mb_per_1000_requests": round(1000 * grows, 3),
        "standard_error": round(1000 * unsure, 3),
        "target": 1.0,
        "met": 1000 * grows < 1.0 and not failed,
    }


def slope(x: list[float], y: list[float]) -> tuple[float, float]:
    """Of the line nearest to the points, and its standard error."""
    line = statistics.linear_regression(x, y)
    middle = statistics.fmean(x)
    rest = sum((value - line.slope * place - line.intercept) ** 2 for place, value in zip(x, y))
    return line.slope, (rest / (len(x) - 2) / sum((place - middle) ** 2 for place in x)) ** 0.5


def peers(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same weights, the same prompts, the servers in turns: the first token and the throughput, by the number of clients."""
    prompt = " ".join(word(number) for number in range(10, 10 + arguments.prompt))
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        folder = make_smol(Path(home) / "models", arguments.precision)
        servers = [(name, *stack.enter_context(server_of())) for name, server_of in contenders(Path(home), folder, arguments)]
        for turn in range(-1, arguments.requests):  # the first one loads and warms
            for name, server, model in servers:
                for clients in arguments.clients if turn >= 0 else [1]:
                    measured = asyncio.run(speed(server, model, f"{word(200 + turn)} {prompt}", clients, arguments.new))
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


def contenders(home: Path, folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The servers that are here."""
    device = arguments.device

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

    @contextlib.contextmanager
    def llama_cpp() -> Iterator[tuple[Server, str]]:
        from miaobi.models.common.gguf_writer import write_gguf

        file, port = home / "smol.gguf", free_port()
        write_gguf(folder, file, form={"fp32": "f32", "int8": "q8_0"}[arguments.precision])
        script = Path(__file__).parent / "peers" / "serve_llama.py"
        threads = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
        command = [arguments.llama, str(script), str(file), str(port), threads, str(max(arguments.clients))]
        with running(command, f"http://127.0.0.1:{port}", ready="/health") as server:
            yield server, "smol"

    yield "miaobi serve", ours
    yield "transformers serve", theirs
    if arguments.llama:
        yield "llama.cpp server", llama_cpp


async def speed(server: Server, model: str, prompt: str, clients: int, new: int) -> tuple[float, float]:
    """Tokens a second of so many clients with one request each, and their median time to the first token."""
    async with Client(server.url) as client:

        def one(who: int, _: int) -> Coroutine[Any, Any, Answer]:
            messages = [{"role": "user", "content": f" {word(100 + who)} {prompt}"}]
            return ask(client, "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": new, "temperature": 0})

        began = time.perf_counter()
        answers = await share_out(clients, 1, one)
        seconds = time.perf_counter() - began
    assert all(answer.whole or answer.text for answer in answers), "every answer arrives"
    counts = [answer.tokens or len(answer.text.split()) for answer in answers]
    return sum(counts) / seconds, statistics.median(answer.first for answer in answers)


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the result into docs/benchmarks.md")
    verbs = parser.add_subparsers(dest="verb", required=True)
    numbers: dict[str, tuple[Callable[[argparse.Namespace], dict[str, Any]], dict[str, float]]] = {
        "start": (start, {"rounds": 5}),
        "streams": (streams, {"clients": 64, "requests": 50}),
        "poet": (poet, {"clients": 16, "requests": 16, "rounds": 5}),
        "overload": (overload, {"queue": 16, "factor": 10, "rounds": 10}),
        "replaced": (replaced, {"clients": 16, "rounds": 5}),
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
    verb.add_argument("--llama", default="", metavar="PYTHON", help="the interpreter of an environment with the package xllamacpp")
    arguments = parser.parse_args()
    figures = arguments.measure(arguments)
    said = json.dumps({"machine": machine(), arguments.verb: figures}, indent=1, ensure_ascii=False)
    print(said)
    if arguments.write:
        write_section(f"serve-{arguments.verb}", f"## Serving: {arguments.verb}\n\n{arguments.measure.__doc__}\n\n```json\n{said}\n```")
    sys.exit(0 if figures["met"] else 1)


if __name__ == "__main__":
    main()
