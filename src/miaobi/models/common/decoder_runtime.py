"""Decoding without torch: the graph of `decoder_graph` run by ONNX Runtime, as a `Stepper` of `engine.sampling`.

Unusual: the key-value cache is allocated once and written in place. The same memory is bound as the graph's past and as its present, so a
step copies nothing but its tokens and its logits. Rows have their own lengths: no row computes on the padding of a longer one after the
prompt, and no row sees another's numbers. Shapes: B rows, K key heads, C capacity, D head width, V vocabulary.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.models.common import large_pages

Logits = npt.NDArray[np.float32]
KEPT_LOGITS = "num_logits_to_keep"  # an input of newer graphs
FILES = {"int8": "onnx/model_int8.onnx", "int4": "onnx/model_q4.onnx", "fp32": "onnx/model.onnx"}  # "auto" takes the first that is there
RESERVE = 128  # columns of the cache beyond the prompts
FEWEST = 16  # rows for which it is not worth while to give memory back
MOST_THREADS = 8  # a step of one row is bound by memory, which few threads saturate


class OnnxStepper:
    """A decoder that reads prompts and then one token a row at a time. `fresh` makes another one on the same weights.

    Rows may join and leave while others go on (`engine.sampling.stepper.Joinable`): the first B of the cache's rows are in use.
    """

    def __init__(self, folder: Path, *, precision: Literal["auto", "int8", "int4", "fp32"] = "auto", threads: int | None = None) -> None:
        """Load the graph.

        Raises:
            ArtifactError: there is no such graph in `folder`, or it is damaged.
        """
        path = graph_file(folder, precision)
        self._session = _session(path, threads or min(_cores(), MOST_THREADS))
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._cache_names = [name.removeprefix("past_key_values.") for name in inputs if name.startswith("past_key_values.")]
        _, self._key_heads, _, self._head_width = inputs["past_key_values.0.key"]
        self.vocab_size: int = self._session.get_outputs()[0].shape[-1]
        # Attention adds up several tokens in another order than one. Exact weights keep that below what decides between two words;
        # where activations are rounded, it may move them by a step, and a guessed text would not be the text.
        tells_several = any(value.name == KEPT_LOGITS for value in self._session.get_overridable_initializers())
        self.looks_ahead = tells_several and path.name == Path(FILES["fp32"]).name
        self.context = int(self._session.get_modelmeta().custom_metadata_map["context"])
        self.column_bytes = len(self._cache_names) * self._key_heads * self._head_width * 4
        self.prefix_width: int = inputs["prefix"][-1] if "prefix" in inputs else 0
        self._prefix: Logits | None = None
        self._bound: tuple[slice, Any] | None = None
        self.lengths: npt.NDArray[np.int64]
        self._cache: Logits
        self._forget()

    @property
    def weights(self) -> Hashable:
        """The session; a prefix is of one request, which then stays alone."""
        return None if self.prefix_width else id(self._session)

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
        self._forget()
        prefix = None if self._prefix is None else np.repeat(self._prefix, len(prompts) // len(self._prefix), axis=0)
        return self._read(prompts, prefix)

    def join(self, prompts: Sequence[Sequence[int]]) -> Logits:
        """More rows behind those that are there; the logits (prompts, V) of theirs."""
        return self._read(prompts, None)

    def step(self, tokens: Sequence[int]) -> Logits:
        """Append one token to each row; logits (B, V) of the next."""
        return self.step_some(tokens)

    def step_some(self, tokens: Sequence[int | None]) -> Logits:
        """`step`; a row without a token computes as well, into a column that its next token overwrites."""
        assert len(tokens) == len(self.lengths), "one token a row"
        moving = np.array([token is not None for token in tokens])
        longest = int((self.lengths + moving).max())
        self._check(longest)
        self._allocate(len(tokens), longest)
        ends = np.minimum(self.lengths + 1, self._cache.shape[3])
        logits = self._run(np.array([[token or 0] for token in tokens], dtype=np.int64), ends, slice(0, len(tokens)))
        self.lengths = self.lengths + moving
        return logits

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        """Several tokens behind those of one row; logits (1, V) of the next."""
        end = self.lengths[row : row + 1] + len(tokens)
        self._check(int(end[0]))
        self._allocate(len(self.lengths), int(end[0]))
        logits = self._run(np.asarray(tokens, dtype=np.int64)[None], end, slice(row, row + 1))
        self.lengths[row] = end[0]
        return logits

    def verify(self, tokens: Sequence[int]) -> Logits:
        """Several tokens behind those of the only row; logits (T, V) of what follows each (`engine.sampling.speculate`)."""
        if len(tokens) == 1:
            return self.step(tokens)
        end = self.lengths + len(tokens)
        self._check(int(end[0]))
        self._allocate(1, int(end[0]))
        binding = self._binding(slice(0, 1))
        logits = np.empty((1, len(tokens), self.vocab_size), dtype=np.float32)
        self._bind_logits(binding, logits)
        self._run(np.asarray(tokens, dtype=np.int64)[None], end, slice(0, 1))
        self._bind_logits(binding, self._logits[:1])
        self.lengths = end
        told: Logits = logits[0]
        return told

    def forget(self, count: int) -> None:
        """Take back the last tokens of the only row; what comes next overwrites them."""
        self.lengths = self.lengths - count

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row `rows[i]` was: beams move, finished rows are left out, a prompt is copied."""
        index = np.asarray(rows, dtype=np.int64)
        moved = np.flatnonzero(index != np.arange(len(index)))
        if not len(moved) and len(index) == len(self.lengths):
            return
        used = int(self.lengths[index].max(initial=0))
        self.lengths = self.lengths[index]
        if FEWEST <= self._cache.shape[1] // 4 >= len(index) or not len(index):  # most have left: their memory goes too
            self._replace(len(index), self._cache.shape[3], keep=used, rows=index)
        elif len(index) <= self._cache.shape[1]:
            self._cache[:, moved, :, :used] = self._cache[:, index[moved], :, :used]
            self._bound = None
        else:
            self._replace(max(len(index), self._grown()), self._cache.shape[3], keep=used, rows=index)

    def keep(self, row: int) -> KeptColumns:
        """A copy of what the row has read."""
        return KeptColumns(self._cache[:, row, :, : int(self.lengths[row])].copy())

    def restore(self, kept: KeptColumns, length: int) -> None:
        """A row more, which has read the first `length` tokens of what was kept."""
        self._allocate(len(self.lengths) + 1, length + 1)
        self._cache[:, len(self.lengths), :, :length] = kept.columns[:, :, :length]
        self.lengths = np.append(self.lengths, length)

    def _read(self, prompts: Sequence[Sequence[int]], prefix: Logits | None) -> Logits:
        """Rows for the prompts behind those that are there; their logits."""
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)  # (N,)
        assert lengths.min(initial=1) > 0, "a prompt has at least one token"
        tokens = np.zeros((len(prompts), int(lengths.max())), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        lengths += 0 if prefix is None else prefix.shape[1]
        self._check(int(lengths.max()))
        first = len(self.lengths)
        self._allocate(first + len(prompts), int(lengths.max()))
        logits = self._run(tokens, lengths, slice(first, first + len(prompts)), prefix)
        self.lengths = np.concatenate((self.lengths, lengths))
        return logits

    def _forget(self) -> None:
        self.lengths = np.zeros(0, dtype=np.int64)  # (B,), of the rows in use
        self._cache = np.zeros((len(self._cache_names), 0, self._key_heads, 0, self._head_width), dtype=np.float32)
        self._bound = None

    def _check(self, length: int) -> None:
        if length > self.context:
            raise UsageError(
                "a text of {length} tokens is longer than the model's context of {context}", length=length, context=self.context
            )

    def _allocate(self, rows: int, columns: int) -> None:
        """Room for so many rows of so many tokens; what is too small doubles."""
        _, have, _, capacity, _ = self._cache.shape
        if rows <= have and columns <= capacity:
            return
        if columns > capacity:
            capacity = max(columns, 2 * capacity) if have else columns + RESERVE
        rows = max(rows, self._grown()) if rows > have else have
        self._replace(rows, min(capacity, self.context), keep=int(self.lengths.max(initial=0)), rows=np.arange(len(self.lengths)))

    def _grown(self) -> int:
        """How many rows the cache has when it has too few: a batch that nobody joins has as many as it starts with."""
        return 2 * len(self._cache[0])

    def _replace(self, num_rows: int, capacity: int, *, keep: int, rows: npt.NDArray[np.int64]) -> None:
        """A new cache (2 * layers, R, K, capacity, D) with the first `keep` columns of these rows of the old one."""
        old = self._cache
        self._cache = np.zeros((old.shape[0], num_rows, self._key_heads, max(capacity, keep), self._head_width), dtype=np.float32)
        if keep:
            self._cache[:, : len(rows), :, :keep] = old[:, rows, :, :keep]
        self._logits = np.empty((num_rows, 1, self.vocab_size), dtype=np.float32)
        self._bound = None

    def _binding(self, rows: slice) -> Any:
        """These rows of the cache, bound as past and present; kept for the next step of the same rows."""
        from onnxruntime import OrtValue

        if self._bound is not None and self._bound[0] == rows:
            return self._bound[1]
        binding = self._session.io_binding()
        binding.bind_ortvalue_output("logits", OrtValue.ortvalue_from_numpy(self._logits[rows]))
        for part, name in zip(self._cache, self._cache_names, strict=True):
            memory = OrtValue.ortvalue_from_numpy(part[rows])  # shares the array's memory
            binding.bind_ortvalue_input(f"past_key_values.{name}", memory)
            binding.bind_ortvalue_output(f"present.{name}", memory)
        self._bound = (rows, binding)
        return binding

    def _bind_logits(self, binding: Any, logits: Logits) -> None:
        """Where the next pass puts the logits (N, L, V) of each row's last L tokens."""
        from onnxruntime import OrtValue

        self._count = np.array(logits.shape[1], dtype=np.int64)  # the binding shares its memory
        binding.bind_ortvalue_input(KEPT_LOGITS, OrtValue.ortvalue_from_numpy(self._count))
        binding.bind_ortvalue_output("logits", OrtValue.ortvalue_from_numpy(logits))

    def _run(self, tokens: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], rows: slice, prefix: Logits | None = None) -> Logits:
        """One pass over new tokens (N, T) of these rows, which have `ends` (N,) tokens with them. The next pass overwrites the logits."""
        mask = (np.arange(int(ends.max())) < ends[:, None]).astype(np.int64)  # (N, S)
        binding = self._binding(rows)
        binding.bind_cpu_input("input_ids", tokens)
        binding.bind_cpu_input("attention_mask", mask)
        if self.prefix_width:
            binding.bind_cpu_input("prefix", np.zeros((len(tokens), 0, self.prefix_width), np.float32) if prefix is None else prefix)
        self._session.run_with_iobinding(binding)
        return self._logits[rows, 0]


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """Keys and values (2 * layers, K, length, D) of one row."""

    columns: Logits

    @property
    def num_bytes(self) -> int:
        """The memory that they take."""
        return self.columns.nbytes


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def graph_file(folder: Path, precision: str) -> Path:
    """The graph of that precision in `folder`; of `auto`, the fastest that is there.

    Raises:
        ArtifactError: there is none.
    """
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
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")  # from node to node of a step, not from step to step
    try:
        with large_pages.moved():
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but RuntimeError's
        raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None
