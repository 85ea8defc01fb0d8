"""Decoding without torch: the graph of `decoder_graph` run by ONNX Runtime, as a `Stepper` of `engine.sampling`.

Unusual: the key-value cache is allocated once and written in place. The same memory is bound as the graph's past and as its present, so a
step copies nothing but its tokens and its logits. Rows have their own lengths: no row computes on the padding of a longer one after the
prompt, and no row sees another's numbers. Shapes: B rows, K key heads, C capacity, D head width, V vocabulary.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from miaobi.core.errors import ArtifactError, UsageError

Logits = npt.NDArray[np.float32]
FILES = {"int8": "onnx/model_int8.onnx", "fp32": "onnx/model.onnx"}  # "auto" takes the first that is there
RESERVE = 128  # columns of the cache beyond the prompts
MOST_THREADS = 8  # a step of one row is bound by memory, which few threads saturate


class OnnxStepper:
    """A decoder that reads prompts and then one token a row at a time. `fresh` makes another one on the same weights."""

    def __init__(self, folder: Path, *, precision: Literal["auto", "int8", "fp32"] = "auto", threads: int | None = None) -> None:
        """Load the graph.

        Raises:
            ArtifactError: there is no such graph in `folder`, or it is damaged.
        """
        self._session = _session(_graph_file(folder, precision), threads or min(_cores(), MOST_THREADS))
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._cache_names = [name.removeprefix("past_key_values.") for name in inputs if name.startswith("past_key_values.")]
        _, self._key_heads, _, self._head_width = inputs["past_key_values.0.key"]
        self.vocab_size: int = self._session.get_outputs()[0].shape[-1]
        self.context = int(self._session.get_modelmeta().custom_metadata_map["context"])
        self.prefix_width: int = inputs["prefix"][-1] if "prefix" in inputs else 0
        self._prefix: Logits | None = None
        self._forget()

    def fresh(self, prefix: Logits | None = None) -> OnnxStepper:
        """A stepper with its own cache that shares the loaded weights, so that two generations may run side by side.

        `prefix` (1 or B, P, W) stands before the tokens of every row; the graph must have been written for one.
        """
        other = copy.copy(self)
        assert (prefix is not None) == bool(self.prefix_width), "a graph with a prefix needs one, another takes none"
        other._prefix = prefix
        other._forget()
        return other

    def start(self, prompts: Sequence[Sequence[int]]) -> Logits:
        """Read the prompts, of any lengths but zero; logits (B, V) of the token after each."""
        self.lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)  # (B,)
        assert self.lengths.min(initial=1) > 0, "a prompt has at least one token"
        tokens = np.zeros((len(prompts), int(self.lengths.max())), dtype=np.int64)
        prefix = None if self._prefix is None else np.repeat(self._prefix, len(prompts) // len(self._prefix), axis=0)
        self.lengths += 0 if prefix is None else prefix.shape[1]
        longest = int(self.lengths.max())
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        self._check(longest)
        self._allocate(len(prompts), longest + RESERVE)
        return self._run(tokens, prefix)

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append one token to each row; logits (B, V) of the next."""
        assert len(tokens) == len(self.lengths), "one token a row"
        self.lengths += 1
        longest = int(self.lengths.max())
        if longest > self._cache.shape[3]:
            self._check(longest)
            self._allocate(len(tokens), 2 * longest, keep=longest - 1)
        return self._run(np.asarray(tokens, dtype=np.int64)[:, None])

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row `rows[i]` was: beams move, finished rows are left out, a prompt is copied."""
        index = np.asarray(rows, dtype=np.int64)
        if np.array_equal(index, np.arange(len(self.lengths))):
            return
        used = int(self.lengths.max())
        self.lengths = self.lengths[index]
        if len(index) == self._cache.shape[1]:
            moved = np.flatnonzero(index != np.arange(len(index)))
            self._cache[:, moved, :, :used] = self._cache[:, index[moved], :, :used]
        else:
            self._allocate(len(index), self._cache.shape[3], keep=used, rows=index)

    def _forget(self) -> None:
        self.lengths = np.zeros(0, dtype=np.int64)
        self._cache = np.zeros((len(self._cache_names), 0, self._key_heads, 0, self._head_width), dtype=np.float32)

    def _check(self, length: int) -> None:
        if length > self.context:
            raise UsageError(
                "a text of {length} tokens is longer than the model's context of {context}", length=length, context=self.context
            )

    def _allocate(self, rows_now: int, capacity: int, *, keep: int = 0, rows: npt.NDArray[np.int64] | None = None) -> None:
        """A new cache (2 * layers, B, K, C, D), the first `keep` columns copied from (`rows` of) the old one, bound as past and present."""
        from onnxruntime import OrtValue

        old = self._cache
        capacity = max(min(capacity, self.context), keep)
        self._cache = np.zeros((old.shape[0], rows_now, self._key_heads, capacity, self._head_width), dtype=np.float32)
        if keep:
            self._cache[:, :, :, :keep] = old[:, slice(None) if rows is None else rows, :, :keep]
        self._logits = np.empty((rows_now, 1, self.vocab_size), dtype=np.float32)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_output("logits", OrtValue.ortvalue_from_numpy(self._logits))
        for part, name in zip(self._cache, self._cache_names, strict=True):
            memory = OrtValue.ortvalue_from_numpy(part)  # shares the array's memory
            self._binding.bind_ortvalue_input(f"past_key_values.{name}", memory)
            self._binding.bind_ortvalue_output(f"present.{name}", memory)

    def _run(self, tokens: npt.NDArray[np.int64], prefix: Logits | None = None) -> Logits:
        """One pass over new tokens (B, T), which `lengths` counts already. The logits are overwritten by the next pass."""
        columns = np.arange(int(self.lengths.max()))
        mask = (columns < self.lengths[:, None]).astype(np.int64)  # (B, S)
        self._binding.bind_cpu_input("input_ids", tokens)
        self._binding.bind_cpu_input("attention_mask", mask)
        if self.prefix_width:
            self._binding.bind_cpu_input("prefix", np.zeros((len(tokens), 0, self.prefix_width), np.float32) if prefix is None else prefix)
        self._session.run_with_iobinding(self._binding)
        return self._logits[:, 0]


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _graph_file(folder: Path, precision: str) -> Path:
    wanted = list(FILES) if precision == "auto" else [precision]
    for name in wanted:
        if (folder / FILES[name]).is_file():
            return folder / FILES[name]
    raise ArtifactError("{folder} has no {file}; write it with: miaobi export {folder}", folder=folder, file=FILES[wanted[-1]])


def _session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session tuned for decoding."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # more would fuse what is faster apart
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but RuntimeError's
        raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None
