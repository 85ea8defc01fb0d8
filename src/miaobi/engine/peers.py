"""What processes that train together say to each other: every one has the same weights, takes its share of a batch, and all add up.

Data-parallel training (Li et al., 2020, arXiv:2006.15704) in its plainest form: gradients are summed once a step, after the last
micro-batch. The parts of a batch, and the random numbers of each, do not depend on who takes them, and a sum is always made in the same
order: a resumed training of as many processes equals an unbroken one bit for bit, as one of a single process does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miaobi.engine.batches import micro_batches

PATIENCE = timedelta(days=30)  # the others wait while the first evaluates; one that has died is noticed by its connection
HERE = "127.0.0.1"
T = TypeVar("T")
Indices = NDArray[np.int64]


class Sums(NamedTuple):
    """What micro-batches add up to, besides gradients."""

    total: float
    number: int
    logs: dict[str, float]


class Peers:
    """One process of `count`; the first (rank 0) also measures, saves and tells. Alone, every method gives back what it got."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self.first, self.alone = rank == 0, count == 1

    def parts(self, indices: Indices, micro: int | None) -> list[tuple[int, Indices]]:
        """This process's micro-batches of a batch, each with its number among all."""
        size = micro if micro or self.alone else -(-len(indices) // self.count)
        return list(enumerate(micro_batches(indices, size)))[self.rank :: self.count]

    def add(self, sums: Sums, parameters: Sequence[nn.Parameter]) -> Sums:
        """The sums of all processes; the gradients of `parameters` are added up in place."""
        if self.alone:
            return sums
        moving = self._each([parameter.grad is not None for parameter in parameters])
        for parameter, moves in zip(parameters, moving, strict=True):
            if moves and parameter.grad is None:  # nothing of this process's share reached it
                parameter.grad = torch.zeros_like(parameter)
        self._add([parameter.grad for parameter in parameters if parameter.grad is not None])
        logs: dict[str, float] = {}
        said = [Sums(total, number, found) for total, number, found in self._all((sums.total, sums.number, sums.logs))]
        for one in said:
            for name, value in one.logs.items():
                logs[name] = logs.get(name, 0.0) + value
        return Sums(sum(one.total for one in said), sum(one.number for one in said), logs)

    def average(self, buffers: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """Give all processes the mean of what their passes moved (running means, codebooks); whole numbers are the first one's."""
        if self.alone:
            return
        moved = self._each([not torch.equal(buffer, kept) for buffer, kept in zip(buffers, before, strict=True)])
        found = [buffer for buffer, moves in zip(buffers, moved, strict=True) if moves]  # the mean of equal numbers may not equal them
        fractions = [buffer for buffer in found if buffer.is_floating_point()]
        self._add(fractions)
        for buffer in fractions:
            buffer.div_(self.count)
        self.share([buffer for buffer in found if not buffer.is_floating_point()])

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes what the first has."""
        for tensor in tensors if not self.alone else ():
            whole = tensor.contiguous()
            dist.broadcast(whole, 0)
            tensor.copy_(whole)

    def told(self, value: T) -> T:
        """What the first process says."""
        return value if self.alone else self._all(value)[0]

    def agree(self, mine: bool) -> bool:
        """Whether one of all processes says so."""
        return mine if self.alone else any(self._all(mine))

    def _each(self, mine: Sequence[bool]) -> list[bool]:
        """Of several questions, which one of all processes says yes to."""
        return [any(answers) for answers in zip(*self._all(list(mine)), strict=True)]

    def _all(self, mine: T) -> list[T]:
        """What every process says, by rank; it travels as JSON."""
        text = torch.frombuffer(bytearray(json.dumps(mine).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(text)]))
        rows = [torch.zeros(int(max(sizes)), dtype=torch.uint8) for _ in range(self.count)]
        dist.all_gather(rows, F.pad(text, (0, len(rows[0]) - len(text))))
        return [json.loads(bytes(row[: int(size)].tolist())) for row, size in zip(rows, sizes, strict=True)]

    def _add(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all processes in place, in one message for each number format."""
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            group = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view(tensor.shape))


def meeting(count: int, *, port: int = 0, host: bool = False) -> Any:
    """Where `count` processes of this machine find each other: opened by the `host`, visited at its `port` by the others."""
    return dist.TCPStore(HERE, port, count, is_master=host, wait_for_workers=False, timeout=PATIENCE)  # type: ignore[attr-defined]


def join(store: Any, rank: int, count: int, *, device: str) -> Peers:
    """Be one of `count` processes that meet at `store`."""
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    return Peers(rank, count)


def leave() -> None:
    """End the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
