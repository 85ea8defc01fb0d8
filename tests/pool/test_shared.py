"""Requests that share a batch get what they would get alone, to the last bit, whatever the others do."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import UsageError
from miaobi.core.types import Content, Request
from miaobi.engine.load import Loaded, load
from miaobi.engine.sampling import shared
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.prefix import SHORTEST, PrefixCache
from miaobi.engine.sampling.shared import Seat
from miaobi.engine.sampling.table import Table
from miaobi.engine.sampling.tokens import Finished, decode
from miaobi.engine.sampling.turns import Unwanted

LONG = "the quick brown fox jumps over the lazy dog while seven wizards brew potions "


@pytest.fixture(scope="module", params=["onnx", "torch"])
def model(request: pytest.FixtureRequest, scribe: Path) -> Loaded:
    return load(scribe, runtime=request.param, threads=1)


def stepper_of(model: Loaded) -> Any:
    """An empty stepper of either runtime."""
    from miaobi.models.common.transformer import TorchStepper

    inner: Any = model.model
    stepper = getattr(inner, "stepper", None)
    return stepper.fresh() if hasattr(stepper, "fresh") else TorchStepper(inner.network.eval())


def array(logits: Any) -> np.ndarray:
    return logits.copy() if isinstance(logits, np.ndarray) else logits.numpy().copy()


def asks() -> list[Request]:
    """Forty requests that differ in everything: prompts, lengths, copies, beams, chances."""
    made = []
    for number in range(40):
        options: dict[str, Any] = {"max_tokens": 5 + 7 * number % 40, "temperature": [0.0, 1.0, 0.7][number % 3]}
        options |= {"n": 3} if number % 5 == 0 else {}
        if number % 8 == 3:
            options = {"beams": 3, "n": 2, "max_tokens": 12}
        made.append(Request.of(LONG[number % 20 : 25 + 3 * (number % 11)] + "fox " * (40 * (number % 7 == 0)), seed=number, **options))
    return made


def texts(model: Loaded, request: Request) -> list[str]:
    return [chunk.text for chunk in model.answer(request) if isinstance(chunk, Content)]


def test_forty_requests_at_once_say_what_each_says_alone(model: Loaded) -> None:
    alone = [texts(model, request) for request in asks()]
    table = Table(rows=24)

    def one(request: Request) -> list[str]:
        with table.share():
            return texts(model, request)

    with ThreadPoolExecutor(40) as threads:
        together = list(threads.map(one, asks()))
    figures = table.figures()
    assert together == alone
    assert len({str(text) for text in alone}) > 30, "they are different texts"
    assert figures["seats"] == 40
    assert figures["tokens"] > 3 * figures["steps"], "steps were shared"


def test_two_batches_side_by_side_say_what_each_request_says_alone(model: Loaded) -> None:
    """A batch a core: requests go to the one with fewer seats, guesses are checked wherever somebody is alone, and nothing stays behind."""
    requests = [dataclasses.replace(ask, options={**ask.options, **({} if "beams" in ask.options else {"draft": 6})}) for ask in asks()]
    alone = [texts(model, request) for request in requests]
    table, stepper = Table(rows=12, batches=2), stepper_of(model)

    def one(number: int) -> list[str]:
        with table.share():
            if number % 10 == 9:
                next(iter(model.answer(requests[number])))  # and goes
                return alone[number]
            return texts(model, requests[number])

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(one, range(40))) == alone
    gc.collect()
    sides = table._batches[stepper.weights]
    assert len(sides) == 2
    assert min(side.figures["seats"] for side in sides) >= 10
    assert sum(side.figures["steps"] for side in sides) == table.figures()["steps"] < table.figures()["tokens"] / 2
    assert not any(side.seats or side._guests or side._rows for side in sides)


def test_what_was_read_of_one_request_is_not_read_again_for_the_next(model: Loaded) -> None:
    table = Table()
    requests = [Request.of(f"{LONG}and {end}", max_tokens=12, seed=seed) for seed, end in enumerate(("dance", "a day", "dance"))]
    alone = [texts(model, request) for request in requests]
    for request, expected in zip(requests, alone):
        with table.share():
            assert texts(model, request) == expected
    assert table.figures()["known_tokens"] >= 2 * len(LONG)
    assert table.figures()["prompt_tokens"] < 1.5 * len(LONG)


def test_a_quiet_run_tells_of_whole_rows_only_and_leaves_nothing_to_know(model: Loaded) -> None:
    """Nobody goes on from one of several candidates, so what they read is not copied."""
    options, prompts = Sampling(max_tokens=40, temperature=1.0), [list(range(1, 12))] * 3
    told = [list(decode(stepper_of(model), prompts, options, end_tokens=[], seeds=[1, 2, 3], quiet=quiet)) for quiet in (False, True)]
    assert told[1] == [event for event in told[0] if isinstance(event, Finished)]
    table = Table()
    with table.share():
        shared_events = list(decode(stepper_of(model), prompts, options, end_tokens=[], seeds=[1, 2, 3], quiet=True))
    assert [event.tokens for event in shared_events if isinstance(event, Finished)] == [
        event.tokens for event in told[1] if isinstance(event, Finished)
    ]
    [[batch]] = table._batches.values()
    assert len(batch._prefixes) == 0


def test_nothing_stays_behind(model: Loaded) -> None:
    table = Table()
    for request in asks()[:6]:
        with table.share():
            chunks = model.answer(request)
            next(chunks)  # and the rest is not wanted
            chunks.close()  # type: ignore[attr-defined]
    batch = table.batch(stepper_of(model))
    assert not batch._guests
    assert not batch._rows
    real: Any = batch._stepper
    assert len(real.lengths) == 0


def test_rows_join_stretch_by_stretch_leave_and_are_restored(model: Loaded) -> None:
    rng = np.random.default_rng(0)
    first, second, third = (rng.integers(1, 20, size).tolist() for size in (40, 7, 90))
    stepper, alone = stepper_of(model), stepper_of(model)
    stepper.join([first])
    stepper.join([second, third[:50]])
    kept = stepper.keep(2)
    found = array(stepper.extend(2, third[50:]))
    assert np.allclose(found, array(alone.start([third])), atol=2e-5)
    stepper.reorder([2, 1])
    stepper.restore(kept, 50)
    assert np.allclose(array(stepper.extend(2, third[50:])), found, atol=2e-5)
    logits = array(stepper.step_some([3, None, 4]))
    assert np.allclose(logits[0], array(alone.step([3]))[0], atol=2e-5)
    after = array(stepper.step_some([None, 9, None]))
    alone.start([second])
    assert np.allclose(after[1], array(alone.step([9]))[0], atol=2e-5), "a row that sat out lost nothing"
    assert [int(length) for length in stepper.lengths] == [91, 8, 91]
    assert kept.num_bytes == 50 * stepper.column_bytes


def test_a_graph_of_eight_bits_gives_the_same_bits_in_company(scribe: Path) -> None:
    stepper = stepper_of(load(scribe, runtime="onnx", threads=1))
    rng = np.random.default_rng(1)
    prompts = [rng.integers(1, 20, size).tolist() for size in (33, 5, 64, 1)]
    logits = array(stepper.start(prompts))
    for row, prompt in enumerate(prompts):
        alone = stepper.fresh()
        assert np.array_equal(array(alone.start([prompt]))[0], logits[row])
        pieces = stepper.fresh()
        pieces.start([prompt[: len(prompt) // 2 + 1]])
        rest = prompt[len(prompt) // 2 + 1 :]
        assert not rest or np.array_equal(array(pieces.extend(0, rest))[0], logits[row])


def test_who_does_not_come_is_not_waited_for_and_finds_its_row_untouched(model: Loaded) -> None:
    table, greedy = Table(), Sampling(max_tokens=40, temperature=0)
    prompts = [[5, 6, 7], [8, 9]]

    def tokens(prompt: Sequence[int], pause: float) -> tuple[int, ...]:
        with table.share():
            events = decode(stepper_of(model), [prompt], greedy, end_tokens=[], seeds=[0])
            for event in events:
                if isinstance(event, Finished):
                    return event.tokens
                time.sleep(pause)
        raise AssertionError

    alone = [tokens(prompt, 0.0) for prompt in prompts]
    ended: dict[int, float] = {}

    def timed(number: int, pause: float) -> tuple[int, ...]:
        found = tokens(prompts[number], pause)
        ended[number] = time.monotonic()
        return found

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(timed, (0, 1), (0.05, 0.0))) == alone
    assert ended[1] < ended[0] - 0.5, "the quick one did not wait for the slow one"


def test_too_much_is_refused_before_anything_is_allocated(model: Loaded) -> None:
    table = Table(rows=8, cache_bytes=4 << 20)
    stepper = stepper_of(model)
    with table.share():
        with pytest.raises(UsageError, match="9 texts of up to"):
            texts(model, Request.of("fox", n=9, max_tokens=4))
        with pytest.raises(UsageError, match="MB at once"):
            texts(model, Request.of("fox", n=8, max_tokens=1000))
    assert 8 * 1000 * stepper.column_bytes > 4 << 20
    assert table.figures()["steps"] == 0


def test_those_who_do_not_fit_wait_for_their_turn(model: Loaded) -> None:
    table = Table(rows=4)
    requests = [Request.of("fox", n=3, max_tokens=10, seed=seed) for seed in range(6)]
    alone = [texts(model, request) for request in requests]

    def one(request: Request) -> list[str]:
        with table.share():
            return texts(model, request)

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(one, requests)) == alone


def test_who_waits_for_room_and_is_not_wanted_goes(model: Loaded) -> None:
    table = Table(rows=1)
    inside, wanted = threading.Event(), threading.Event()
    wanted.set()
    outcome: list[BaseException | None] = []

    def blocker() -> None:
        with table.share():
            for _ in model.answer(Request.of("fox", max_tokens=200, seed=1)):
                inside.set()
                time.sleep(0.01)

    def waiter() -> None:
        inside.wait()
        try:
            with table.share(is_wanted=wanted.is_set):
                texts(model, Request.of("dog", max_tokens=5))
            outcome.append(None)
        except Unwanted as error:
            outcome.append(error)

    threads = [threading.Thread(target=work) for work in (blocker, waiter)]
    for thread in threads:
        thread.start()
    inside.wait()
    time.sleep(0.1)
    wanted.clear()
    threads[1].join(1.0)
    assert isinstance(outcome[0], Unwanted)
    assert threads[0].is_alive(), "it did not wait until there was room"
    threads[0].join()


def test_a_mistake_of_one_is_not_the_others(model: Loaded) -> None:
    table = Table()
    good = Request.of("fox", max_tokens=60, temperature=0.0)
    alone = texts(model, good)
    results: list[Any] = []

    def wrong() -> None:
        with table.share():
            seat = shared.seat(stepper_of(model), rows=1, columns=100)
            assert isinstance(seat, Seat)
            with pytest.raises(UsageError, match="longer than the model's context"):
                seat.start([[1] * 1100])
            seat.leave()

    def right() -> None:
        with table.share():
            results.append(texts(model, good))

    threads = [threading.Thread(target=work) for work in (right, wrong, wrong)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone]


def test_what_the_stepper_says_when_it_fails_reaches_everybody_and_the_batch_goes_on(model: Loaded) -> None:
    table = Table()
    alone = texts(model, Request.of("fox", max_tokens=5, temperature=0.0))
    batch = table.batch(stepper_of(model))
    seats = [batch.seat(1, 50) for _ in range(2)]
    gathered: list[str] = []

    def life(seat: Seat) -> None:
        try:
            seat.start([[1, 2, 3]])
            seat.step([10**9])  # no such token
        except Exception as error:
            gathered.append(type(error).__name__)
        finally:
            seat.leave()

    threads = [threading.Thread(target=life, args=(seat,)) for seat in seats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(gathered) == 2
    with table.share():
        assert texts(model, Request.of("fox", max_tokens=5, temperature=0.0)) == alone


class Counted:
    """What is kept, of a given size."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes


def test_the_longest_known_beginning_is_found_and_the_oldest_is_forgotten() -> None:
    known = PrefixCache(300)
    base = list(range(SHORTEST))
    assert not known.wants(base[:-1]), "short ones are read quicker than they are found"
    assert known.find(base) is None
    known.add(base, Counted(100))
    assert not known.wants(base)
    assert known.find([*base, 7]) is not None
    found = known.find(base)
    assert found is not None
    assert found[1] == SHORTEST - 1, "one token at least is left to read, or there were no logits"
    known.add([*base, 7, 8], Counted(100))
    assert len(known) == 1, "the longer one contains the shorter one"
    others = [[number, *base] for number in (100, 101, 102)]
    for other in others[:2]:
        known.add(other, Counted(100))
    assert known.find([*base, 7, 9]) is not None  # used: not the oldest any more
    known.add(others[2], Counted(100))
    assert known.num_bytes == 300
    assert known.find([*others[0], 5]) is None
    assert known.find([*base, 7, 9]) is not None
    known.add(list(range(200, 300)), Counted(1000))
    assert known.num_bytes <= 300, "what is larger than everything is not kept"
