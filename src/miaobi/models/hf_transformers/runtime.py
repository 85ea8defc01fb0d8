"""Open models without torch: the exported graph by onnxruntime, the same tokenizer, the same chat template, the same answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.language import tr
from miaobi.core.types import Card, Chunk, Request
from miaobi.engine.graphs import Plan
from miaobi.models.common.decoder_runtime import FILES, OnnxStepper, graph_file
from miaobi.models.common.hub_format import ARCHITECTURES, config_from_hub
from miaobi.models.hf_transformers.checkpoint import Checkpoint, free_bytes, read
from miaobi.models.hf_transformers.codec import OpenCodec
from miaobi.models.hf_transformers.family import FAMILY
from miaobi.models.hf_transformers.write import answer

BYTES = {"int8": 1.1, "fp32": 4.0}  # of a weight in its graph
LOADED = 1.2  # times its bytes takes a graph in memory, at most, while it is loaded


class OpenRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, steps: OnnxStepper, codec: OpenCodec, folder: Path) -> None:
        self.steps, self.codec, self.folder = steps, codec, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @property
    def context(self) -> int:
        """The most tokens that it reads."""
        return self.codec.reads

    def stepper(self) -> OnnxStepper:
        """What decoding goes on with."""
        return self.steps.fresh()

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The answer, streamed."""
        yield from answer(self.stepper(), self.codec, request)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(OnnxStepper(folder, threads=threads), OpenCodec(read(folder, weights=False)), folder)

    @classmethod
    def file(cls, folder: Path, /) -> str:
        """Which of its graphs `load` takes."""
        return graph_file(folder, "auto").relative_to(folder).as_posix()

    @classmethod
    def plan(cls, folder: Path, form: str, /) -> Plan:
        """The graph of that form that the checkpoint in `folder` could have.

        Raises:
            ArtifactError: something is missing, damaged, too large or dangerous.
        """
        found = read(folder)
        obstacle = _kind_obstacle(found)
        size = 0 if obstacle else _count(found)
        needed = int(BYTES[form] * size)
        return Plan(file=FILES[form], bytes=needed, obstacle=obstacle or _room_obstacle(folder, 4 * size, needed))


def _kind_obstacle(found: Checkpoint) -> str:
    """Why no graph is written of such a model.

    Raises:
        ArtifactError: a variation that our Transformer does not compute.
    """
    name = str(found.config.get("model_type"))
    if name not in ARCHITECTURES or found.kind != "causal":
        return tr("the architecture '{name}' runs only in transformers", name=name)
    try:
        width = config_from_hub(found.config).head_width
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        return tr("config.json is damaged ({error})", error=repr(error))
    return tr("its heads are {width} wide, and ONNX Runtime computes multiples of 8", width=width) if width % 8 else ""


def _count(found: Checkpoint) -> int:
    """How many weights are stored."""
    if found.gguf is not None:
        from miaobi.models.common.gguf_file import TensorsOf

        return TensorsOf(found.gguf).numel
    from miaobi.models.common.decoder_weights import StoredTensors

    return StoredTensors(found.folder).numel


def _room_obstacle(folder: Path, weights: int, graph: int) -> str:
    """Why the machine cannot write and check it: both are in memory, and the graph goes to the disk."""
    needed, free = int(weights + LOADED * graph), free_bytes()
    if needed > free:
        return tr("to write its graph takes {needed:.1f} GB of memory, and {free:.1f} GB are free", needed=needed / 1e9, free=free / 1e9)
    room = shutil.disk_usage(folder).free
    if graph > room:
        return tr("its graph has {needed:.1f} GB, and the disk has {free:.1f} GB free", needed=graph / 1e9, free=room / 1e9)
    return ""
