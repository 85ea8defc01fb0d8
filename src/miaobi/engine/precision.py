"""Which number format trains faster here, found by a probe of a few hundredths of a second.

bf16 is 2.7 times as fast as fp32 on a CPU with AVX512-BF16 or AMX, and 100 times slower on one without: no rule by model name holds.
"""

from __future__ import annotations

import time
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
WORTH = 1.3  # casting costs something too
ROUNDS = 12


def choose_precision(asked: Literal["auto", "fp32", "bf16"], device: str) -> Precision:
    """`asked`, or for `auto` what the device multiplies faster."""
    if asked != "auto":
        return asked
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device != "cpu":
        return "fp32"
    fp32, bf16 = _fastest(torch.float32, torch.bfloat16)
    return "bf16" if fp32 > WORTH * bf16 else "fp32"


def _fastest(*dtypes: torch.dtype) -> list[float]:
    """The best seconds of a small matrix product in each format; taken in turns, so that other work on the machine hits them alike."""
    pairs = [(torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)) for dtype in dtypes]
    best = [float("inf")] * len(dtypes)
    for _ in range(ROUNDS):
        for number, (a, b) in enumerate(pairs):
            start = time.perf_counter()
            a @ b
            best[number] = min(best[number], time.perf_counter() - start)
        if max(best) > 0.1:  # hopeless already: do not wait for more
            break
    return best
