"""The pool with real processes: loading, letting go, cancelling, dying, refusing."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.artifact import new_folder, seal
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.types import Content, Done, Piece, Record, Request, TokenLogprob, Turn
from miaobi.engine.load import load
from miaobi.serve.pool import Ask, Options, Overloaded, Pool, TooLarge, WorkerLost
from miaobi.serve.pool.process import News

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def run(work: Callable[[Pool], Awaitable[Any]], **settings: Any) -> Any:
    """What `work` gives, asked of a pool."""

    async def whole() -> Any:
        async with Pool(Options(**{"threads": 1} | settings)) as pool:
            return await work(pool)

    return asyncio.run(asyncio.wait_for(whole(), 60))


async def until(happened: Callable[[], bool], seconds: float = 10.0) -> float:
    """Wait for something; how long it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, "it did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def moody(prompt: str = "a", **options: Any) -> Ask:
    return Ask.of("moody", prompt, seed=0, **options)


def diary(home: Path) -> list[str]:
    """What the moody family was about to say."""
    path = home / "models" / "diary.txt"
    return path.read_text(encoding="utf-8").split() if path.is_file() else []


def test_a_pool_gives_what_the_model_gives(home: Path, scribe: Path) -> None:
    async def work(pool: Pool) -> None:
        ask = Ask.of("scribe", "the quick", seed=5, max_tokens=20, n=2)
        chunks = [chunk async for chunk in pool.stream(ask)]
        expected = list(load(scribe, threads=1).answer(Request.of("the quick", seed=5, max_tokens=20, n=2)))
        contents = [chunk for chunk in chunks if isinstance(chunk, Content)]
        assert [chunk for chunk in chunks if isinstance(chunk, Done)] == [chunk for chunk in expected if isinstance(chunk, Done)]
        assert [content.parts for content in contents] == [chunk.parts for chunk in expected if isinstance(chunk, Content)]
        assert contents[0].label.model == "scribe"
        assert [said(chunks, index) for index in range(2)] == [said(expected, index) for index in range(2)]
        in_order = sorted(contents, key=lambda content: content.label.index)
        assert [content.parts for content in await pool.collect(ask)] == [content.parts for content in in_order]

    run(work)


def said(chunks: Sequence[Any], index: int) -> tuple[str, tuple[TokenLogprob, ...]]:
    """The text of one of the contents as it was streamed, in pieces of whatever length, and its log-probabilities."""
    pieces = [chunk for chunk in chunks if isinstance(chunk, Piece) and chunk.index == index]
    return "".join(str(piece.part) for piece in pieces), tuple(entry for piece in pieces for entry in piece.logprobs)


def test_who_hears_slowly_hears_longer_pieces() -> None:
    async def work() -> list[tuple[str, Any]]:
        news, told = News(), [("began", None), *(("chunk", Piece(part=letter, index=place // 3)) for place, letter in enumerate("abcdef"))]
        for what, value in [*told, ("chunk", Done(index=0, reason="stop")), ("end", None)]:
            news.tell(what, value)
        return [await news.hear() for _ in range(5)]

    pieces = [("chunk", Piece(part="abc")), ("chunk", Piece(part="def", index=1))]
    assert asyncio.run(work()) == [("began", None), *pieces, ("chunk", Done(index=0, reason="stop")), ("end", None)]


def test_turns_and_drawn_seeds_reach_the_model(home: Path) -> None:
    async def work(pool: Pool) -> None:
        turns = (Turn(role="system", parts=("be brief",)), Turn(role="user", parts=("fox",)))
        first, second = [(await pool.collect(Ask(model="scribe", turns=turns, options={"max_tokens": 5})))[0] for _ in range(2)]
        assert first.label.prompt == "fox"
        assert first.label.seed != second.label.seed

    run(work)


def test_models_are_told_with_what_they_take(home: Path) -> None:
    async def work(pool: Pool) -> None:
        served = {model.name: model for model in pool.models()}
        assert {"scribe", "moody", "poet"} <= served.keys()
        assert served["scribe"].context == 1024
        assert served["scribe"].bytes > 10 << 20
        assert not served["scribe"].loaded
        await pool.collect(Ask.of("scribe", "fox", max_tokens=2))
        assert next(model for model in pool.models() if model.name == "scribe").loaded
        assert pool.status()["models"]["scribe"]["tokens"] >= 0

    run(work)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (Ask.of("mody", ""), "Did you mean 'moody'"),
        (Ask.of("../models/moody", ""), "unknown model"),
        (Ask.of("http://example.com/x", ""), "unknown model"),
        (Ask.of("moody", "", temper=1), "unknown key 'temper'"),
        (Ask.of("moody", "", pieces=10**12), "at most 10000"),
        (Ask.of("moody", "", pieces=True), "a number is wanted"),
        (Ask.of("moody", "", seconds=float("nan")), "finite"),
        (Ask.of("moody", "", n=10**9), "at most 1024"),
        (Ask.of("moody", "\ud800"), "lone surrogate"),
        (Ask(model="moody", turns=(Turn(role="user", parts=("",)),), given={"image": b"x"}), "takes no image"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(home: Path, ask: Ask, words: str) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(UsageError, match=words):
            await pool.collect(ask)
        assert pool.counts.loads == 0

    run(work)


def test_errors_of_the_model_end_the_request_and_nothing_else(home: Path) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(MiaobiError, match="I will not say tea"):
            await pool.collect(moody("tea", mood="refusing"))
        with pytest.raises(MiaobiError, match="ZeroDivisionError: a mistake of the family"):
            await pool.collect(moody(mood="wrong"))
        contents = await pool.collect(moody("b", mood="loud"))
        assert contents[0].text == "b0 b1 b2 "
        assert pool.counts.restarts == 0
        assert pool.status()["failed"] == 2

    run(work)


def test_who_leaves_stops_the_generation(home: Path) -> None:
    async def work(pool: Pool) -> None:
        async with aclosing(pool.stream(moody("gone", pieces=1000, seconds=0.05))) as chunks:
            await anext(chunks)
        await until(lambda: pool.status()["models"]["moody"]["running"] == 0, 2.0)
        said = len(diary(home))
        assert said < 60
        await asyncio.sleep(0.3)
        assert len(diary(home)) == said, "it stopped"
        assert pool.counts.cancelled == 1
        assert pool.counts.restarts == 0

    run(work)


def test_a_task_that_is_cancelled_stops_the_generation_too(home: Path) -> None:
    async def work(pool: Pool) -> None:
        task = asyncio.create_task(pool.collect(moody("gone", pieces=1000, seconds=0.05)))
        await until(lambda: bool(diary(home)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: pool.status()["models"]["moody"]["running"] == 0, 2.0)

    run(work)


def test_who_waits_and_leaves_is_never_begun(home: Path) -> None:
    async def work(pool: Pool) -> None:
        first = asyncio.create_task(pool.collect(moody("first", pieces=20, seconds=0.05)))
        await until(lambda: "first" in diary(home))
        second = asyncio.create_task(pool.collect(moody("second")))
        await until(lambda: pool.status()["waiting"] == 1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert pool.status()["waiting"] == 0
        assert len((await first)[0].text.split()) == 20
        assert "second" not in diary(home)

    run(work)


def test_what_cannot_be_interrupted_loses_its_process(home: Path) -> None:
    async def work(pool: Pool) -> None:
        async with aclosing(pool.stream(moody("stuck", mood="stuck"))) as chunks:
            stuck = asyncio.ensure_future(anext(chunks))
            await until(lambda: "stuck" in diary(home))
            process = pool.status()["models"]["moody"]["pid"]
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
        took = await until(lambda: not alive(process), 4.0)
        assert took < 2.5
        assert (await pool.collect(moody("c")))[0].text == "c0 c1 c2 "

    run(work)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_dies_is_replaced_and_those_who_only_waited_are_served(home: Path) -> None:
    async def work(pool: Pool) -> None:
        await pool.collect(moody("warm"))
        doomed = asyncio.create_task(pool.collect(moody("doomed", pieces=1000, seconds=0.05)))
        await until(lambda: "doomed" in diary(home))
        waiting = asyncio.create_task(pool.collect(moody("waiting")))
        await until(lambda: pool.status()["waiting"] == 1)
        other = asyncio.create_task(pool.collect(Ask.of("moody2", "other", pieces=20, seconds=0.05)))
        await until(lambda: "other" in diary(home))
        first = pool.status()["models"]["moody"]["pid"]
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WorkerLost, match="died while it worked"):
            await doomed
        took = await until(lambda: pool.status()["models"].get("moody", {}).get("loaded", False), 5.0)
        assert took < 5.0
        assert pool.status()["models"]["moody"]["pid"] != first
        assert (await waiting)[0].text == "waiting0 waiting1 waiting2 "
        assert len((await other)[0].text.split()) == 20, "another model's process is another's"
        assert pool.counts.restarts == 1

    run(work)


def test_what_kills_its_process_every_time_is_not_started_for_ever(home: Path) -> None:
    async def work(pool: Pool) -> None:
        for _ in range(4):
            with pytest.raises(WorkerLost):
                await pool.collect(moody(mood="dead"))
        await asyncio.sleep(0.5)
        assert pool.counts.restarts < 4
        assert (await pool.collect(moody("d")))[0].text == "d0 d1 d2 "

    run(work)


def test_a_model_that_dies_while_it_loads_is_an_error_and_no_loop(home: Path) -> None:
    with (home / "models" / "moody" / "mood.txt").open("w", encoding="utf-8") as file:
        file.write("bad!")

    async def work(pool: Pool) -> None:
        with pytest.raises(MiaobiError, match="damaged"):
            await pool.collect(moody())
        assert pool.status()["models"] == {}

    run(work)


def test_so_many_wait_and_no_more(home: Path) -> None:
    async def work(pool: Pool) -> None:
        await pool.collect(moody("warm"))
        most = 0

        async def one(number: int) -> list[Content] | Overloaded:
            nonlocal most
            try:
                async with aclosing(pool.stream(moody(f"{number}", pieces=5, seconds=0.1))) as chunks:
                    async for _ in chunks:
                        most = max(most, pool.status()["waiting"])
                return []
            except Overloaded as error:
                return error

        results = await asyncio.gather(*(one(number) for number in range(40)))
        refused = [result for result in results if isinstance(result, Overloaded)]
        assert 4 <= 40 - len(refused) < 40, "those who were let in finished"
        assert most <= 4
        assert all(0 < error.retry_after <= 60 for error in refused)
        assert pool.status()["refused"] == len(refused)
        assert pool.status()["waiting"] == 0

    run(work, queue=4)


def test_the_longest_unused_model_goes_when_another_needs_its_memory(home: Path) -> None:
    async def work(pool: Pool) -> None:
        for name in ("moody", "moody2", "scribe"):
            await pool.collect(Ask.of(name, "fox"))
        assert set(pool.status()["models"]) == {"moody2", "scribe"}
        await pool.collect(Ask.of("moody2", "fox"))
        await pool.collect(moody())
        assert set(pool.status()["models"]) == {"moody2", "moody"}
        assert pool.counts.evictions == 2

    run(work, workers=2)


def test_a_model_that_is_kept_stays_and_one_at_work_is_waited_for(home: Path) -> None:
    async def work(pool: Pool) -> None:
        assert set(pool.status()["models"]) == {"moody2"}
        slow = asyncio.create_task(pool.collect(moody("slow", pieces=10, seconds=0.05)))
        await until(lambda: "slow" in diary(home))
        contents = await pool.collect(Ask.of("scribe", "fox", max_tokens=3))
        assert slow.done(), "it was waited for"
        assert len(contents) == 1
        assert set(pool.status()["models"]) == {"moody2", "scribe"}

    run(work, workers=2, keep=("moody2",))


def test_a_model_larger_than_the_memory_is_refused_by_the_estimate(home: Path) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(TooLarge, match="may take 50 MB together"):
            await pool.collect(moody())
        assert pool.status()["models"] == {}
        assert pool.status()["waiting"] == 0

    run(work, memory_bytes=50 << 20)


def test_a_request_larger_than_the_memory_is_refused_by_the_estimate(home: Path) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(UsageError, match="64 texts of up to 1024 tokens take 64 MB at once"):
            await pool.collect(Ask.of("scribe", "f", n=64, max_tokens=2000))
        assert not pool.status()["models"]["scribe"].get("steps")
        assert (await pool.collect(Ask.of("scribe", "f", n=2, max_tokens=3)))[0].text

    run(work, memory_bytes=200 << 20)


def test_calls_reach_the_model_and_only_those_that_are_meant(home: Path) -> None:
    async def work(pool: Pool) -> None:
        assert await pool.call("moody", "score", [Record(id="1", parts=("four",))]) == [4.0]
        for method in ("save", "__class__", "classify"):
            with pytest.raises(UsageError, match="cannot be asked"):
                await pool.call("moody", method)

    run(work)


def test_a_model_that_was_trained_again_is_loaded_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool) -> None:
        old = (await pool.collect(moody()))[0].label.source
        with new_folder(home / "models" / "moody", replace=True) as new:
            (new / "mood.txt").write_text("good", encoding="utf-8")
            (new / "more.txt").write_text("learned", encoding="utf-8")
            seal(new, family="moody", name="moody")
        await asyncio.sleep(0.1)
        assert (await pool.collect(moody()))[0].label.source != old

    monkeypatch.setattr("miaobi.serve.pool.pool.LISTED_SECONDS", 0.05)
    run(work)


def test_only_the_models_that_were_named_are_served(home: Path) -> None:
    async def work(pool: Pool) -> None:
        assert [model.name for model in pool.models()] == ["scribe"]
        with pytest.raises(UsageError, match="Known: scribe"):
            await pool.collect(moody())

    run(work, models=("scribe",))


@pytest.mark.parametrize("batches", [1, 2])
def test_requests_to_one_text_model_share_its_batches(home: Path, batches: int) -> None:
    """One batch, or one a core where the memory holds two; with guesses for every second request."""

    async def work(pool: Pool) -> None:
        asks = [Ask.of("scribe", f"the quick {number % 6}", seed=number, max_tokens=60, temperature=0) for number in range(12)]
        alone = [(await pool.collect(ask))[0].text for ask in asks]
        figures = pool.status()["models"]["scribe"]
        asks = [dataclasses.replace(ask, options={**ask.options, "draft": 8 * (number % 2)}) for number, ask in enumerate(asks)]
        together = await asyncio.gather(*(pool.collect(ask) for ask in asks))
        steps, tokens = (pool.status()["models"]["scribe"][name] - figures[name] for name in ("steps", "tokens"))
        assert [contents[0].text for contents in together] == alone
        assert steps < 0.75 * tokens, "without a batch each token is a step"

    run(work, threads=batches, memory_bytes=3 << 30)


def test_guesses_save_steps_of_who_is_alone_and_change_nothing(home: Path, scribe: Path) -> None:
    from miaobi.models.gpt.model import GPT

    with new_folder(home / "models" / "exact") as new:  # a graph whose weights are not rounded: others do not guess
        model = GPT.load(scribe)
        model.save(new)
        model.export(new, formats=("fp32",))
        seal(new, family="gpt", name="exact", licence="CC0-1.0")

    async def work(pool: Pool) -> None:
        texts, steps = [], []
        for draft in (0, 8):
            before = pool.status()["models"].get("exact", {}).get("steps", 0)
            texts.append((await pool.collect(Ask.of("exact", "fox " * 20, max_tokens=200, temperature=0, draft=draft)))[0].text)
            steps.append(pool.status()["models"]["exact"]["steps"] - before)
        assert texts[0] == texts[1]
        assert steps[1] < 0.8 * steps[0]

    run(work)


SERVING = """
import asyncio, sys
from miaobi.serve.pool import Ask, Options, Pool
async def main():
    async with Pool(Options(threads=1)) as pool:
        await pool.collect(Ask.of("moody", "x"))
        print(pool.status()["models"]["moody"]["pid"], flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_processes_do_not_outlive_a_pool_that_is_killed(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert alive(pid)
        server.kill()
        server.wait()
        began = time.monotonic()
        while alive(pid) and time.monotonic() - began < 5:
            time.sleep(0.02)
        assert not alive(pid)


def test_the_last_thing_that_is_said_is_that_it_is_done(home: Path) -> None:
    async def work(pool: Pool) -> None:
        chunks = [chunk async for chunk in pool.stream(moody("e"))]
        assert isinstance(chunks[-2], Done)
        assert isinstance(chunks[-1], Content)

    run(work)
