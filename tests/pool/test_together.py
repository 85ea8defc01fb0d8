"""Calls of one network in one: the rows are each caller's own, and a picture is the same in company."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from miaobi.core.types import Content, Media, Request
from miaobi.engine.load import load
from miaobi.engine.sampling.table import Table
from miaobi.engine.sampling.together import together

CALLS: list[int] = []
Arrays = Mapping[str, Any]


def square(feeds: Arrays) -> Any:
    CALLS.append(len(feeds["x"]))
    time.sleep(0.01)  # as long as a small network takes: the others come meanwhile
    if (feeds["x"] < 0).any():
        raise ValueError("negative")
    return feeds["x"] ** 2 + feeds["time"][:, None]


def feeds(number: int, rows: int = 2, width: int = 3) -> dict[str, Any]:
    return {"x": np.full((rows, width), float(number)), "time": np.full(rows, 0.5)}


def test_rows_of_several_callers_are_one_call_and_come_back_to_each() -> None:
    CALLS.clear()
    table, barrier = Table(), threading.Barrier(4)

    def life(number: int) -> list[float]:
        with table.share():
            barrier.wait()
            return [float(together("network", square, feeds(number + step)).mean()) for step in range(20)]

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(life, range(4)))
    assert results == [[(number + step) ** 2 + 0.5 for step in range(20)] for number in range(4)]
    assert table.figures()["rows"] == 4 * 20 * 2
    assert table.figures()["calls"] < 70
    assert max(CALLS) > 2


def test_other_shapes_and_other_networks_are_other_calls() -> None:
    table = Table()
    with table.share():
        assert together("a", square, feeds(2, width=3)).shape == (2, 3)
        assert together("a", square, feeds(2, width=5)).shape == (2, 5)
        assert together("b", square, feeds(2, rows=1, width=3)).shape == (1, 3)
    assert len(table._circles) == 3
    assert all(not circle._guests for circle in table._circles.values())


def test_without_a_table_it_is_called_at_once() -> None:
    CALLS.clear()
    together("a", square, feeds(1))
    assert CALLS == [2]


def test_a_failure_reaches_those_whose_call_it_was() -> None:
    with Table().share():
        with pytest.raises(ValueError, match="negative"):
            together("a", square, feeds(-1))
        assert together("a", square, feeds(3)).mean() == 9.5


def test_pictures_are_the_same_to_the_last_bit_in_company() -> None:
    model = load("painter", threads=1)
    requests = [Request.of(word, seed=seed, steps=4, n=1 + seed % 2) for seed, word in enumerate(("fox", "月亮", "a house", "sea", "cat"))]

    def picture(request: Request) -> list[bytes]:
        contents = [chunk for chunk in model.answer(request) if isinstance(chunk, Content)]
        return [content.label.content_sha256.encode() for content in contents if isinstance(content.parts[0], Media)]

    alone = [picture(request) for request in requests]
    table = Table()

    def shared(request: Request) -> list[bytes]:
        with table.share():
            return picture(request)

    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(shared, requests)) == alone
    assert len({str(hashes) for hashes in alone}) == 5
    assert table.figures()["calls"] < 20, "evaluations were shared: five requests of four steps have twenty"
