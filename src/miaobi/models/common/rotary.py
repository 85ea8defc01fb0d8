"""The angles of rotary positions (Su et al., 2021), plain and stretched for longer texts than a model first learned from.

In NumPy, for the network in torch, the exported graph and the files of others alike. Shapes: D head width, T positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaobi.models.common.transformer_config import TransformerConfig

Array = NDArray[np.float32]
Kind = Literal["default", "linear", "llama3", "yarn"]
KINDS: tuple[Kind, ...] = ("default", "linear", "llama3", "yarn")
MOST = 1 << 26  # positions; a configuration that promises more is a mistake
LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def frequencies(config: TransformerConfig) -> Array:
    """Angles per position (D / 2,)."""
    D, scaling = config.head_width, dict(config.rope_scaling)
    plain = (config.rope_theta ** -(np.arange(0, D, 2, dtype=np.float32) / D)).astype(np.float32)
    match config.rope_type:
        case "linear":
            kept = np.zeros_like(plain)
        case "llama3":
            turns = scaling["original_max_position_embeddings"] * plain / (2 * np.pi)  # made within the original context
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            kept = np.clip((turns - low) / (high - low), 0, 1)
        case "yarn":
            kept = _kept_by_yarn(config.rope_theta, D, scaling)
        case _:
            return plain
    return np.asarray(plain * (kept + (1 - kept) / scaling["factor"]), dtype=np.float32)  # 1: fast, kept; 0: slow, divided by the factor


def _kept_by_yarn(theta: float, D: int, scaling: Mapping[str, float]) -> Array:
    """Which pairs of a head keep their speed (D / 2,): Peng et al. (2023), YaRN, section 3.2."""
    context = scaling["original_max_position_embeddings"]
    ends = (context / (2 * math.pi * turns) for turns in (scaling["beta_fast"], scaling["beta_slow"]))
    low, high = (D * math.log(end) / (2 * math.log(theta)) for end in ends)
    if scaling["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, D - 1)
    ramp = (np.arange(D // 2, dtype=np.float32) - low) / (high - low or 0.001)
    return np.asarray(1 - np.clip(ramp, 0, 1), dtype=np.float32)


def strength(config: TransformerConfig) -> float:
    """What cosines and sines are multiplied by: YaRN makes attention a little sharper where more can be looked at."""
    return dict(config.rope_scaling).get("attention_factor", 1.0)


def table(config: TransformerConfig) -> tuple[Array, Array]:
    """Cosines and sines (T, D / 2) of every position of the context."""
    angles = np.arange(config.context, dtype=np.float32)[:, None] * frequencies(config)
    much = np.float32(strength(config))
    return np.cos(angles) * much, np.sin(angles) * much


def scaling_from_hub(kind: Kind, rope: Mapping[str, Any], context: int) -> tuple[tuple[str, float], ...]:
    """What `frequencies` needs, from what `config.json` says of it; `context` is its `max_position_embeddings`.

    Raises:
        KeyError, TypeError, ValueError: a number is missing or none.
    """
    if kind == "default":
        return ()
    if kind == "linear":
        return (("factor", float(rope["factor"])),)
    if kind == "llama3":
        return tuple((key, float(rope[key])) for key in LLAMA3)
    original = float(rope.get("original_max_position_embeddings") or context)
    factor = float(rope["factor"] or context / original)
    values = {
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": float(rope.get("beta_fast") or 32),
        "beta_slow": float(rope.get("beta_slow") or 1),
        "truncate": float(rope.get("truncate", True)),
        "attention_factor": _attention_factor(rope, factor),
    }
    return tuple(values.items())


def scaling_to_hub(config: TransformerConfig) -> dict[str, Any]:
    """What `config.json` says of it."""
    values: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": config.rope_type, **dict(config.rope_scaling)}
    if "original_max_position_embeddings" in values:
        values["original_max_position_embeddings"] = int(values["original_max_position_embeddings"])
    if "truncate" in values:
        values["truncate"] = bool(values["truncate"])
    return values


def stretched(rope: Mapping[str, Any], context: int) -> int:
    """The most tokens that a model reads. With YaRN some configurations name the length before it was stretched, others the one after."""
    original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    if rope.get("rope_type", rope.get("type")) != "yarn" or not isinstance(original, int) or not isinstance(factor, int | float):
        return context
    reach = factor * original
    return int(reach) if context < reach <= MOST else context


def _attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    much, rest = rope.get("mscale"), rope.get("mscale_all_dim")
    return yarn_strength(factor, much) / yarn_strength(factor, rest) if much and rest else yarn_strength(factor)


def yarn_strength(factor: float, much: float = 1.0) -> float:
    """What YaRN's authors found best for a factor."""
    return 1.0 if factor <= 1 else 0.1 * much * math.log(factor) + 1
