"""Values are frozen, and equal values have equal hashes, on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pickle
import subprocess
import sys
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaobi.core.types import Card, Media, Modality, Record, Request, Turn, canonical_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


def test_canonical_json_is_sorted_compact_and_utf8() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "月"}) == '{"a":"月","b":[1,2.5,null,true]}'.encode()
    assert canonical_json(MappingProxyType({"x": (1, 2)})) == b'{"x":[1,2]}'
    assert canonical_json({"x": {"b", "a"}}) == b'{"x":["a","b"]}'
    assert canonical_json({"x": MappingProxyType({"z": 1, "y": 2})}) == b'{"x":{"y":2,"z":1}}'
    with pytest.raises(TypeError, match="object has no canonical JSON"):
        canonical_json(object())


@settings(deadline=None)  # a busy machine is no fault
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_the_request_hash_is_fixed() -> None:
    """Labels in the world hold this hash: it must not change by accident."""
    request = Request.of("中秋月夜", seed=7, form="七绝", n=3)
    expected = hashlib.sha256('[[["user",["中秋月夜"]]],{"form":"七绝","n":3},7]'.encode()).hexdigest()
    assert request.sha256 == expected == Request.of("中秋月夜", n=3, form="七绝", seed=7).sha256


@pytest.mark.parametrize(
    "other",
    [
        Request.of("a", seed=1, x=1),
        Request.of("b", seed=0, x=1),
        Request.of("a", seed=0, x=2),
        Request.of("a", seed=0, x="1"),
        Request.of("a", seed=0, y=1),
        Request.of(("a", ""), seed=0, x=1),
        Request(turns=(Turn(role="system", parts=("a",)),), options={"x": 1}),
        Request.of((Media(modality=Modality.IMAGE, mime="image/png", data=b"a"),), x=1),
    ],
)
def test_whatever_matters_changes_the_hash(other: Request) -> None:
    assert other.sha256 != Request.of("a", seed=0, x=1).sha256


def test_media_count_by_their_bytes_and_by_what_they_are_for() -> None:
    def asked(data: bytes, name: str = "") -> str:
        return Request.of(("look", Media(modality=Modality.IMAGE, mime="image/png", data=data, name=name))).sha256

    assert asked(b"1", "image") == asked(b"1", "image") != asked(b"2", "image")
    assert asked(b"1", "image") != asked(b"1", "mask")


def test_the_hash_does_not_depend_on_the_process() -> None:
    code = "from miaobi.core.types import Request; print(Request.of('x', tags=frozenset({'a', 'b', 'c'})).sha256)"
    hashes = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1


def test_the_prompt_is_the_last_thing_the_person_said() -> None:
    turns = (Turn(role="user", parts=("one",)), Turn(role="assistant", parts=("two",)), Turn(role="user", parts=("three", "four")))
    assert Request(turns=(*turns, Turn(role="assistant", parts=("five",)))).prompt == "three\nfour"
    assert Request(turns=()).prompt == ""


def test_values_are_frozen_keyword_only_and_have_no_dict() -> None:
    record = Record(id="1", parts=("a", "b"))
    assert record.text == "a\nb"
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.id = "2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Record("1", ("a",))  # type: ignore[misc]
    assert not hasattr(record, "__dict__")
    with pytest.raises(TypeError):
        Request.of("a", x=1).options["x"] = 2  # type: ignore[index]


def test_records_travel_to_worker_processes() -> None:
    record = Record(id="1", parts=("a",), meta={"era": "唐"})
    assert pickle.loads(pickle.dumps(record)) == record
    card = Card(family="gpt", name="x", outputs=frozenset({Modality.TEXT}), verbs=frozenset())
    assert pickle.loads(pickle.dumps(card)) == card


def test_floats_are_told_apart() -> None:
    assert Request.of(x=0.1).sha256 != Request.of(x=math.nextafter(0.1, 1)).sha256
