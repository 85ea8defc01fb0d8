"""What a model takes in memory before it is loaded, and what there is: estimates that err on the side of refusing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from miaobi.core.artifact import GGUF, open_artifact
from miaobi.core.errors import MiaobiError
from miaobi.core.families import family

SHARE = 0.8  # of the memory that is free when the pool starts
LIGHT, HEAVY = 120 << 20, 450 << 20  # a process with ONNX Runtime, and one with torch
ROOM = 1.25  # weights once more in part: buffers, caches, rearranged matrices
CACHED = 32 << 20  # of weights
LEAST_CACHE, MOST_CACHE = 32 << 20, 16 << 30
GRAPHS = ("onnx/model_int8.onnx", "onnx/model.onnx")
_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "context", "max_sequence_length", "max_target_positions")


def estimate_bytes(folder: Path, device: str = "cpu") -> int:
    """What a process that holds this model takes, about."""
    artifact = open_artifact(folder)
    try:
        light = bool(family(artifact.family).runtime)
    except MiaobiError:  # the load says what is wrong with the family
        light = False
    sizes = {name: int(entry["bytes"]) for name, entry in artifact.files.items()}
    graphs = {name: size for name, size in sizes.items() if name.startswith("onnx/")}
    if light and graphs and device == "cpu":
        whole = next((graphs[name] + graphs.get(f"{name}_data", 0) for name in GRAPHS if name in graphs), sum(graphs.values()))
        return LIGHT + int(ROOM * whole)
    weights = sum(size * _growth(name) for name, size in sizes.items() if not name.startswith("onnx/"))
    return (LIGHT if light else HEAVY) + int(ROOM * weights)


def fits_a_core(folder: Path, device: str = "cpu") -> bool:
    """Whether it is a decoder so small that its weights stay in a core's caches: then a thread a batch does more than threads a step."""
    files = open_artifact(folder).files
    graph = next((int(files[name]["bytes"]) for name in GRAPHS if name in files), 0)
    return device == "cpu" and 0 < graph <= CACHED


def _growth(name: str) -> int:
    """How many times more memory a file takes than it has bytes: blocks of four bits become numbers of four bytes."""
    return 6 if name.endswith(GGUF) else 1


def context_of(folder: Path) -> int:
    """The longest text of the model in tokens, as its configuration or its GGUF file says; 0 where nothing does."""
    single = folder if folder.suffix == GGUF else next(iter(sorted(folder.glob(f"*{GGUF}"))), None)
    try:
        if single is not None:
            from miaobi.models.common.gguf_file import context_of as context_of_file

            return max(0, context_of_file(single))
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        inner = config.get("text_config")  # of a model that sees: what it writes has a configuration of its own
        kinds = [config, *([inner] if isinstance(inner, dict) else [])]
        found = next((kind[name] for kind in kinds for name in _CONTEXTS if isinstance(kind.get(name), int)), 0)
    except (OSError, ValueError, AttributeError, MiaobiError):
        return 0
    return max(0, int(found))


def free_bytes() -> int:
    """The memory that may be used now: of the machine, or of the control group where that is less."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        free = 4 << 30 if not hasattr(os, "sysconf") else _half_of_all()
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            root = Path("/sys/fs/cgroup")
            free = min(free, int((root / limit).read_text(encoding="ascii")) - int((root / used).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such control group, or the limit is "max"
            continue
    return max(free, 0)


def _half_of_all() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return 4 << 30


def budget_bytes(wanted: int = 0) -> int:
    """What all models may take together."""
    return wanted or int(SHARE * free_bytes())


def cache_bytes(budget: int) -> int:
    """What the texts that one model is reading and writing may take together."""
    return min(max(budget // 4, LEAST_CACHE), MOST_CACHE)
