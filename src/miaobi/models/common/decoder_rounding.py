"""Weights rounded to four bits in groups along the input dimension, each with a scale and a zero point, packed as ONNX Runtime reads them.

Unusual: a group's range is not simply its smallest to its largest number. A few narrower ranges are tried, and that with the least squared
error is kept: one far weight then costs itself some precision, and not the fifteen or thirty-one others of its group.
"""

from __future__ import annotations

import numpy as np

from miaobi.models.common.decoder_weights import Array

LEVELS = 15  # the largest number of four bits
NARROWER = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # shares of a group's range that are tried
GROUPS = (16, 32, 64)  # from 128 on, ONNX Runtime sums two rows in another order than one


def round_to_four_bits(matrix: Array, *, group: int) -> tuple[Array, Array, Array]:
    """Values (out, groups, group) from 0 to 15, scales (out, groups) and zero points (out, groups) of a matrix (out, in).

    A weight is (value - zero) * scale. A last group that the input dimension does not fill is padded with zeros.
    """
    out, inner = matrix.shape
    groups = -(-inner // group)
    blocks = np.pad(matrix, ((0, 0), (0, groups * group - inner))).reshape(out, groups, group).astype(np.float32)
    low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)  # zero is always a value: padding and pruned weights stay
    best = np.full((out, groups), np.inf, dtype=np.float32)
    kept: tuple[Array, Array, Array] | None = None
    for share in NARROWER:
        values, scales, zeros = _rounded(blocks, low * share, high * share)
        errors = ((values - zeros[..., None]) * scales[..., None] - blocks) ** 2
        better = errors.sum(-1) < best
        best = np.where(better, errors.sum(-1), best)
        found = (values, scales, zeros)
        kept = found if kept is None else (np.where(better[..., None], values, kept[0]), *_chosen(better, found[1:], kept[1:]))
    assert kept is not None
    return kept[0].astype(np.uint8), kept[1].astype(np.float32), kept[2].astype(np.uint8)


def restored(values: Array, scales: Array, zeros: Array, *, inner: int) -> Array:
    """The matrix (out, in) that the rounded numbers stand for."""
    blocks = (values.astype(np.float32) - zeros.astype(np.float32)[..., None]) * scales[..., None]
    return blocks.reshape(len(values), -1)[:, :inner]


def packed(values: Array, zeros: Array) -> tuple[Array, Array]:
    """Two numbers a byte, the first in the lower half: values (out, groups, group / 2), zero points (out, (groups + 1) / 2)."""
    odd = zeros.shape[1] % 2
    zeros = np.pad(zeros, ((0, 0), (0, odd)))
    return values[..., 0::2] | values[..., 1::2] << 4, zeros[:, 0::2] | zeros[:, 1::2] << 4


def _rounded(blocks: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    scales = (high - low) / LEVELS
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    zeros = np.clip(np.rint(-low / scales), 0, LEVELS)
    values = np.clip(np.rint(blocks / scales[..., None] + zeros[..., None]), 0, LEVELS)
    return values, scales, zeros


def _chosen(better: Array, found: tuple[Array, Array], kept: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.where(better, found[0], kept[0]), np.where(better, found[1], kept[1])
