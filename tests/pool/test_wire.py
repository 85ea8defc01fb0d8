"""What goes over the wire comes out as it went in, and nothing else does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import MiaobiError, MissingExtra, UsageError, unknown
from miaobi.core.types import Content, Done, Label, Media, Modality, Piece, Progress, Record, Turn, Usage
from miaobi.serve.pool import wire
from miaobi.serve.pool.ask import Ask, Overloaded
from miaobi.trust.safety import Refused

LABEL = Label(
    family="gpt",
    model="scribe",
    source="0" * 64,
    seed=7,
    request_sha256="1" * 64,
    options=MappingProxyType({"n": 2, "logit_bias": {3: -1.5}, "stop": ["\n"], "deep": {"": None}}),
    created="2026-01-01T00:00:00Z",
    software="miaobi",
    notes=MappingProxyType({}),
    parents=("image:00",),
)
PICTURE = Media(modality=Modality.IMAGE, mime="image/png", data=b"\x89PNG\x00\xff", name="image")


def there(value: Any) -> Any:
    """The value as the other end has it."""
    frame = wire.pack(["it", value])
    said, rest = wire.sizes(frame[: wire.HEAD.size])
    body = frame[wire.HEAD.size :]
    assert len(body) == said + rest
    kind, found = wire.unpack(body[:said], body[said:])
    assert kind == "it"
    return found


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        -0.25,
        float("inf"),
        "春 \ud800 half a character",
        b"",
        [1, (2, [b"three", {"four": (5,)}]), {6, 7}, frozenset({8})],
        {"$bytes": "no, a text", 3: "a number as a key", (1, 2): None},
        Turn(role="user", parts=("describe", PICTURE, PICTURE)),
        Piece(part=PICTURE, index=3),
        Progress(step=1, total=2, preview=PICTURE),
        Done(reason="length", usage=Usage(prompt=3, generated=4)),
        Record(id="1", parts=("text",)),
        Ask(model="scribe", turns=(Turn(role="system", parts=("x",)),), options={"n": 1}, given={"image": [b"1", b"2"]}, watermark="none"),
    ],
)
def test_values_arrive_as_they_were(value: Any) -> None:
    assert there(value) == value
    assert type(there(value)) is type(value)


def test_a_content_arrives_with_its_label() -> None:
    found = there(Content(parts=("春", PICTURE), label=LABEL))
    assert found == Content(parts=("春", PICTURE), label=LABEL)
    assert found.label.options["logit_bias"] == {3: -1.5}


def test_arrays_and_numpy_numbers_arrive() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1]
    found = there({"embedding": array, "score": np.float64(0.5)})
    assert np.array_equal(found["embedding"], array)
    assert found["embedding"].dtype == np.float32
    assert found["score"] == 0.5


@pytest.mark.parametrize(
    "error",
    [
        UsageError("the seed is {seed!r}", seed=-1),
        unknown("model", "poetx", ["poet"]),
        MissingExtra("a thing", "hf", "transformers"),
        Refused("the request was refused: it has words of the category '{category}'", category="x"),
        MiaobiError("at {path}", path=Path("/somewhere")),
    ],
)
def test_errors_of_ours_are_raised_again_as_what_they_were(error: MiaobiError) -> None:
    found = there(error)
    assert type(found) is type(error)
    assert str(found) == str(error)


def test_an_error_of_another_house_is_a_plain_one() -> None:
    class Theirs(UsageError):
        """Not importable here."""

    Theirs.__module__ = "somebody.else"
    found = there(Theirs("it is {what}", what="wrong"))
    assert type(found) is MiaobiError
    assert str(found) == "it is wrong"


@pytest.mark.parametrize(
    "said", [{"$value": ["Path", {}]}, {"$call": []}, {"$enum": ["Path", "x"]}, {"$array": ["O", [1], {"$bytes": [0, 8]}]}]
)
def test_no_frame_makes_anything_else(said: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        wire.unpack(json.dumps(said).encode(), b"8 bytes!")


def test_an_error_that_is_none_of_ours_is_only_words() -> None:
    for module, name in (("os", "system"), ("miaobi.core.errors", "tr"), ("miaobi.serve.pool.wire", "pack")):
        try:
            found = wire.unpack(json.dumps({"$error": [module, name, "true", {"$map": []}]}).encode(), b"")
        except ValueError:
            continue
        assert type(found) is MiaobiError


def test_frames_out_of_measure_are_no_frames() -> None:
    with pytest.raises(ValueError, match="measure"):
        wire.sizes(b"\xff" * wire.HEAD.size)
    with pytest.raises(ValueError, match=r".*"):
        wire.unpack(pickle.dumps(["it", 1]), b"")


def test_only_what_has_a_place_goes_over() -> None:
    with pytest.raises(TypeError, match="object does not go over the wire"):
        wire.pack(object())


def test_the_errors_of_the_pool_say_when_to_come_back() -> None:
    error = Overloaded(2.4)
    assert error.retry_after == 2.4
    assert error.status == 429
    assert "2 seconds" in str(error)
