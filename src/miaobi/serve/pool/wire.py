"""Frames between the pool and its processes: JSON for what is said, raw bytes for pictures and sounds.

Unusual: no pickle, though both ends are ours. A process computes what a stranger's checkpoint and a stranger's prompt make of it; with a
closed list of types the worst that it can send is a wrong answer.

A frame is `<IQ` (length of the JSON, length of the bytes), the JSON, the bytes. What JSON lacks is an object with one key, whose name
begins with `$`.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from miaobi.core import protocols, types
from miaobi.core.errors import MiaobiError
from miaobi.serve.pool.ask import Ask

HEAD = struct.Struct("<IQ")
MAX_JSON, MAX_BYTES = 1 << 28, 1 << 34
_VALUES: dict[str, Any] = {
    name: kind
    for module in (types, protocols)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, Enum)) and kind.__module__ == module.__name__
} | {"Ask": Ask}


def pack(message: object) -> bytes:
    """One frame."""
    blobs: list[bytes] = []
    said = json.dumps(_plain(message, blobs), ensure_ascii=False, separators=(",", ":"), allow_nan=True).encode("utf-8", "surrogatepass")
    return b"".join([HEAD.pack(len(said), sum(map(len, blobs))), said, *blobs])


def sizes(head: bytes) -> tuple[int, int]:
    """The lengths of the JSON and of the bytes that follow this head.

    Raises:
        ValueError: the head is none of ours.
    """
    said, rest = HEAD.unpack(head)
    if said > MAX_JSON or rest > MAX_BYTES:
        raise ValueError("the frame is out of all measure")
    return said, rest


def unpack(said: bytes, rest: bytes) -> Any:
    """What a frame says.

    Raises:
        ValueError: it is not as `pack` writes it.
    """
    return _value(json.loads(said.decode("utf-8", "surrogatepass")), memoryview(rest))


def _plain(value: Any, blobs: list[bytes]) -> Any:
    """The value as JSON; bytes go to `blobs`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        blobs.append(bytes(value))
        return {"$bytes": [sum(map(len, blobs[:-1])), len(value)]}
    if isinstance(value, Enum):
        return {"$enum": [type(value).__name__, value.value]}
    if isinstance(value, MiaobiError):
        return {"$error": [type(value).__module__, type(value).__qualname__, value.template, _plain(_words(value.values), blobs)]}
    if is_dataclass(value) and type(value).__name__ in _VALUES:
        return {"$value": [type(value).__name__, {field.name: _plain(getattr(value, field.name), blobs) for field in fields(value)}]}
    if isinstance(value, Mapping):
        return {"$map": [[_plain(key, blobs), _plain(inner, blobs)] for key, inner in value.items()]}
    if hasattr(value, "__array_interface__"):
        return _array(value, blobs)
    for kind, name in ((list, ""), (tuple, "$tuple"), (frozenset, "$frozenset"), (set, "$set")):
        if isinstance(value, kind):
            inner = [_plain(one, blobs) for one in value]
            return {name: inner} if name else inner
    if isinstance(value, str | PurePath):
        return str(value)
    if isinstance(value, int | float):
        return value.real
    raise TypeError(f"{type(value).__name__} does not go over the wire")


def _array(value: Any, blobs: list[bytes]) -> Any:
    import numpy as np

    array = np.ascontiguousarray(value)
    return {"$array": [array.dtype.str, list(np.shape(value)), _plain(array.tobytes(), blobs)]}


def _value(said: Any, rest: memoryview) -> Any:
    """`_plain` undone."""
    if isinstance(said, list):
        return [_value(one, rest) for one in said]
    if not isinstance(said, dict):
        return said
    ((name, inner),) = said.items()
    if name == "$bytes":
        start, length = inner
        return bytes(rest[start : start + length])
    if name == "$enum":
        return _VALUES[inner[0]](inner[1])
    if name == "$value":
        return _VALUES[inner[0]](**{key: _value(one, rest) for key, one in inner[1].items()})
    if name == "$error":
        return _error(inner[0], inner[1], inner[2], _value(inner[3], rest))
    if name == "$map":
        return {_value(key, rest): _value(one, rest) for key, one in inner}
    if name == "$array":
        import numpy as np

        return np.frombuffer(_value(inner[2], rest), dtype=np.dtype(inner[0])).reshape(inner[1])
    makers: Mapping[str, Any] = {"$tuple": tuple, "$frozenset": frozenset, "$set": set}
    if name not in makers:
        raise ValueError(f"a frame with {name}")
    return makers[name](_value(one, rest) for one in inner)


def _words(values: Mapping[str, object]) -> dict[str, Any]:
    """What an error names, as far as JSON holds it."""
    return {key: value if isinstance(value, str | int | float) or value is None else str(value) for key, value in values.items()}


def _error(module: str, name: str, template: str, values: Mapping[str, Any]) -> MiaobiError:
    """An error of ours as it was raised; one of a third party's family is a plain `MiaobiError`."""
    kind: Any = MiaobiError
    if module.partition(".")[0] == "miaobi":
        kind = getattr(importlib.import_module(module), name, MiaobiError)
    if not (isinstance(kind, type) and issubclass(kind, MiaobiError)):
        raise ValueError(f"{module}.{name} is no error")
    error: MiaobiError = kind.__new__(kind)
    MiaobiError.__init__(error, template, **values)
    return error
