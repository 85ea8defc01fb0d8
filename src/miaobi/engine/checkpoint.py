"""Checkpoints that survive kill -9: a folder is written beside its name, synced and renamed, and its `state.json` holds the others' hashes.

`checkpoints/step-000500/{model,optim}.safetensors state.json`. A damaged or half-written one is passed over for the one before it.
Optimizer state is stored by parameter name, so it can be read without the code that made it. No pickle.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from miaobi.core.artifact import explain_os_errors, file_sha256, new_folder
from miaobi.core.errors import ArtifactError, Busy
from miaobi.core.lock import taken

STATE, MODEL, OPTIM = "state.json", "model.safetensors", "optim.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One whole checkpoint, read back."""

    folder: Path
    state: Mapping[str, Any]  # step, seconds, best, precision, threads …
    model: Mapping[str, Tensor]
    optim: Mapping[str, Tensor]


def save(run: Path, *, step: int, model: Mapping[str, Tensor], optim: Mapping[str, Tensor], state: Mapping[str, Any], keep: int) -> Path:
    """Write the checkpoint of `step` and remove all but the newest `keep`; the best one (`state["best_step"]`) always stays."""
    target = run / "checkpoints" / f"step-{step:06d}"
    with new_folder(target, replace=True) as folder:
        save_file(_contiguous(model), folder / MODEL)
        save_file(_contiguous(optim), folder / OPTIM)
        hashes = {name: file_sha256(folder / name) for name in (MODEL, OPTIM)}
        (folder / STATE).write_text(json.dumps({**state, "step": step, "files": hashes}, indent=2, ensure_ascii=False), encoding="utf-8")
    best = run / "checkpoints" / f"step-{state.get('best_step', step):06d}"
    for old in _folders(run)[:-keep]:
        if old != best:
            shutil.rmtree(old, ignore_errors=True)
    return target


def newest(run: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none at all.

    Raises:
        ArtifactError: checkpoints exist and every one is damaged.
    """
    folders = _folders(run)
    for folder in reversed(folders):
        found = read(folder)
        if found is not None:
            return found
    if folders:
        raise ArtifactError(
            "every checkpoint in {folder} is damaged. Remove the folder, or choose another name in the recipe, and start anew",
            folder=run / "checkpoints",
        )
    return None


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None when it is not whole."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if any(file_sha256(folder / name) != digest for name, digest in state["files"].items()):
            return None
        return Checkpoint(folder=folder, state=state, model=load_file(folder / MODEL), optim=load_file(folder / OPTIM))
    except (OSError, ValueError, KeyError):
        return None


def optimizer_tensors(optimizers: Mapping[str, torch.optim.Optimizer], network: nn.Module) -> dict[str, Tensor]:
    """`<phase>/<parameter>/<state>` for all optimizers; plain numbers become tensors."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    tensors: dict[str, Tensor] = {}
    for phase, optimizer in optimizers.items():
        for parameter, values in optimizer.state.items():
            for key, value in values.items():
                if value is not None:
                    tensors[f"{phase}/{names[id(parameter)]}/{key}"] = torch.as_tensor(value)
    return tensors


def restore_optimizers(optimizers: Mapping[str, torch.optim.Optimizer], network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(network.named_parameters())
    for key, tensor in tensors.items():
        phase, _, rest = key.partition("/")
        name, _, slot = rest.rpartition("/")
        if phase in optimizers and name in parameters:
            parameter = parameters[name]
            # AdamW keeps its step counter on the CPU in fp32, all other state beside the parameter and in its order in memory, which the
            # fused step takes for granted: convolutions may be channels-last, and a file is not
            value = tensor.clone() if slot == "step" else torch.empty_like(parameter.detach()).copy_(tensor)
            optimizers[phase].state[parameter][slot] = value


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, also under kill -9.

    Raises:
        Busy: another process trains there.
    """
    with explain_os_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("a+")
    with file:
        if taken(file):
            raise Busy("another training holds {folder}. Wait for it, stop it, or choose another name in the recipe", folder=run)
        yield


def _folders(run: Path) -> list[Path]:
    """All finished checkpoint folders, oldest first; a million steps have a digit more than the name provides for."""
    found = (path for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdecimal() and path.is_dir())
    return sorted(found, key=lambda path: int(path.name[5:]))


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
