"""WAV: the implicit label is the chunk `AIGC` with raw JSON (GB 45438-2025); ours is a chunk of its own beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

from miaobi.trust import stored, wav
from miaobi.trust.stored import Data

_CHUNKS = {"AIGC": b"AIGC", "miaobi": b"miao"}


def read(data: Data) -> Mapping[str, Sequence[str]]:
    """The bodies of the two kinds of chunks."""
    found = {name: wav.bodies(data, chunk) for name, chunk in _CHUNKS.items()}
    return {name: [body.rstrip(b"\0").decode("utf-8", "replace") for body in bodies] for name, bodies in found.items() if bodies}


def write(data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
    """Both chunks behind the samples."""
    stored.write(data, wav.with_chunks(data, {_CHUNKS[name]: text.encode() for name, text in texts.items()}), target)
