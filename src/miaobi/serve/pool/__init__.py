"""Models in processes of their own, shared by many requests: loaded on demand, let go when memory is short, replaced when they die.

Plain asyncio, without a web framework: the server, the studio and the agents' tools ask the same pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from miaobi.serve.pool.ask import Ask as Ask
from miaobi.serve.pool.ask import Options as Options
from miaobi.serve.pool.ask import Overloaded as Overloaded
from miaobi.serve.pool.ask import Served as Served
from miaobi.serve.pool.ask import TooLarge as TooLarge
from miaobi.serve.pool.ask import WorkerLost as WorkerLost

if TYPE_CHECKING:
    from miaobi.serve.pool.pool import Pool as Pool


def __getattr__(name: str) -> Any:
    """`Pool` on first use: the processes import this package too, and start quicker without it."""
    if name != "Pool":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from miaobi.serve.pool.pool import Pool

    return Pool
