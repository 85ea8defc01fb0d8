"""The server against its own description: thousands of requests that follow it, or nearly do, and none may end in a 5xx.

Half of the cases follow the description, half break it somewhere. Where a body names a model, it is mostly one that is here, so that the
requests come further than "no such model".
"""

from __future__ import annotations

import collections
import json
import math
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from tests.serve.conftest import Outside, Server

schemathesis = pytest.importorskip("schemathesis")

CASES = 2000
PARTS = 4  # of the operations, so that several processes can share them
NAMES = ("polly", "daub", "nobody", "")


@pytest.mark.parametrize("part", range(PARTS))
def test_no_request_that_follows_the_description_or_nearly_does_breaks_the_server(
    part: int, outside: Outside, polly: Path, daub: Path
) -> None:
    with outside(models=("polly", "daub"), queue=256) as server:
        described = requests.get(f"{server.url}/openapi.json", timeout=10).json()
        operations = [found.ok() for found in schemathesis.openapi.from_dict(described).get_all_operations()][part::PARTS]
        pairs = [(operation, mode) for operation in operations for mode in modes(operation)]
        each = math.ceil(CASES / PARTS / sum(bool(list(operation.iter_parameters()) or operation.body) for operation, _ in pairs))
        counts: collections.Counter[str] = collections.Counter()
        with requests.Session() as session:
            for operation, mode in pairs:
                attempt(operation, mode, server, session, each, counts)
        assert requests.get(f"{server.url}/ready", timeout=10).status_code == 200
    assert counts["cases"] >= CASES / PARTS, counts
    assert counts["200"] > 10, counts
    assert counts["400"] > 50, counts


def modes(operation: Any) -> list[Any]:
    """Rightly and wrongly; whatever stands in a path is some text, so that alone cannot be wrong."""
    right, wrong = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    return [right, wrong] if operation.body or len(list(operation.query)) else [right]


def attempt(operation: Any, mode: Any, server: Server, session: requests.Session, count: int, counts: collections.Counter[str]) -> None:
    """So many cases of one operation in one mode."""

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(mode), name=st.sampled_from(NAMES))
    def ask(case: Any, name: str) -> None:
        if isinstance(case.body, dict):
            case.body |= {"model": name} if name and "model" in case.body else {}
            case.body |= {"n": 2} if case.body.get("n") in range(3, 1000) else {}  # right, but the test would wait for each
        counts.update(["cases"])
        answer = case.call(base_url=server.url, session=session, timeout=60)
        counts.update([str(answer.status_code)])
        assert answer.status_code < 500, f"{operation.label}: {answer.status_code} {answer.text[:500]}\n{case.as_curl_command()}"
        if answer.status_code >= 400:
            assert set(json.loads(answer.text)["error"]) == {"message", "type", "param", "code"}, f"{operation.label}: {answer.text[:500]}"

    try:
        ask()
    except Unsatisfiable:  # nothing about it can be asked wrongly
        pass
    except ValueError as problem:  # schemathesis 4.32 cannot make wrong values beside a file
        if "Binary" not in str(problem):
            raise
