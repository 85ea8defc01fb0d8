"""GGUF, llama.cpp's one-file format, as if it were a Hugging Face folder: configuration, tokenizer and tensors by Hugging Face's names.

What llama.cpp changes when it converts is changed back here: the rows of Llama's queries and keys stand in another order there (its rotary
positions turn neighbours, Hugging Face's turn halves), and GPT-2's matrices are turned over. Quantised blocks become fp32 as they are read.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import ArtifactError, MissingExtra
from miaobi.models.common import gguf_tokenizer
from miaobi.models.common.rotary import yarn_strength

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt2")
_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LLAMA_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_GPT2 = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GPT2_TOP = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head"}
TURNED = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # kinds of values, for struct
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a GGUF file holds beside its tensors, in Hugging Face's words."""

    config: dict[str, Any]
    tokenizer: str
    template: str
    specials: dict[str, str]
    begin: int | None
    ends: tuple[int, ...]
    licence: str = ""
    name: str = ""


def describe(path: Path) -> Description:
    """The configuration, the tokenizer and the chat template of a file.

    Raises:
        ArtifactError: it is damaged, or of an architecture or tokenizer that is not read.
    """
    file = _File(path)
    with _explained(path):
        config = _config(file)
        tokens: list[str] = file.value("tokenizer.ggml.tokens", [])
        tokenizer = gguf_tokenizer.build(file.values)
    named = {name: file.value(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "unknown", "padding", "eot", "eom")}
    ids = {name: int(number) for name, number in named.items() if isinstance(number, int) and 0 <= number < len(tokens)}
    specials = {f"{name}_token": tokens[ids[name]] for name in ("bos", "eos") if name in ids}
    ends = tuple(dict.fromkeys(ids[name] for name in ("eos", "eot", "eom") if name in ids))
    config |= {f"{name}_token_id": ids[name] for name in ("bos", "eos") if name in ids}
    return Description(
        config=config,
        tokenizer=tokenizer,
        template=str(file.value("tokenizer.chat_template", "")),
        specials=specials,
        begin=ids.get("bos"),
        ends=ends,
        licence=str(file.value("general.license", "")),
        name=str(file.value("general.name", "")),
    )


class TensorsOf(Mapping[str, "Tensor"]):
    """The tensors by Hugging Face's names, in fp32, each made when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            ArtifactError: the file is damaged, or of an architecture that is not read.
        """
        self.path = path
        file = _File(path)
        with _explained(path):
            config = _config(file)
            names = _names(str(config["model_type"]))
            heads, key_heads = int(config.get("num_attention_heads", 1)), int(config.get("num_key_value_heads", 1))
        self._tensors: dict[str, tuple[_Tensor, Callable[[Array], Array]]] = {}
        for name, tensor in file.tensors.items():
            theirs = names(name)
            if theirs is None:
                continue
            change: Callable[[Array], Array] = _as_it_is
            if config["model_type"] == "llama" and ".attn_q." in name:
                change = partial(_halves, heads=heads)
            elif config["model_type"] == "llama" and ".attn_k." in name:
                change = partial(_halves, heads=key_heads)
            elif config["model_type"] == "gpt2" and name.endswith(TURNED):
                change = np.transpose
            self._tensors[theirs] = (tensor, change)

    @property
    def numel(self) -> int:
        """How many numbers the file stores."""
        return sum(tensor.numel for tensor, _ in self._tensors.values())

    def array(self, name: str) -> Array:
        """A tensor as numpy has it.

        Raises:
            ArtifactError: it is damaged, or quantised in a way that is not read.
        """
        tensor, change = self._tensors[name]
        with _explained(self.path):
            return np.ascontiguousarray(change(tensor.read(self.path)), dtype=np.float32)

    def __getitem__(self, name: str) -> Tensor:
        import torch

        array = self.array(name)
        return torch.from_numpy(array if array.flags.writeable else array.copy())

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def context_of(path: Path) -> int:
    """The longest text in tokens, 0 where the file says nothing. It stands before the vocabulary, which is not read.

    Raises:
        ArtifactError: the file is damaged.
    """
    header = _Header(path)
    with _explained(path):
        return next((int(value) for key, value in header.pairs() if key.endswith(".context_length")), 0)


class _Header:
    """The keys of a file one after the other. Read by hand, since the library takes seconds for a vocabulary."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path), path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError("it does not begin with GGUF")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._place = 4
            version, self._num_tensors, self._num_keys = self._number("I"), self._number("Q"), self._number("Q")
            if version not in (2, 3):
                raise ValueError(f"version {version}")

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Keys and values."""
        for _ in range(self._within(self._num_keys, 13)):
            yield self._text(), self._value(self._number("I"))

    def _number(self, kind: str) -> Any:
        (value,) = struct.unpack_from("<" + kind, self._data, self._place)
        self._place += struct.calcsize("<" + kind)
        return value

    def _within(self, count: int, least: int) -> int:
        """A count of things of at least so many bytes each, if the file can hold them."""
        if count * least > len(self._data) - self._place:
            raise ValueError(f"{count} entries do not fit into the file")
        return count

    def _text(self) -> str:
        length = self._within(self._number("Q"), 1)
        self._place += length
        return self._data[self._place - length : self._place].decode("utf-8", errors="replace")

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        inner, count = self._number("I"), self._number("Q")
        if inner in (_STRING, _ARRAY):
            if depth > 3:
                raise ValueError("lists in lists in lists")
            return [self._value(inner, depth + 1) for _ in range(self._within(count, 8))]
        letter = _NUMBERS[inner]
        values = struct.unpack_from(f"<{self._within(count, struct.calcsize(letter))}{letter}", self._data, self._place)
        self._place += struct.calcsize(f"<{count}{letter}")
        return list(values)


class _File(_Header):
    """The whole header: values by key, tensors by name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _explained(path):
            self.values = dict(self.pairs())
            found = [self._tensor() for _ in range(self._within(self._num_tensors, 25))]
        self._data.close()
        self.architecture = str(self.values.get("general.architecture", ""))
        align = int(self.values.get("general.alignment", 32))
        start, end = -(-self._place // align) * align, path.stat().st_size
        with _explained(path):
            self.tensors = {tensor.name: replace(tensor, offset=tensor.offset + start) for tensor in found}
            for tensor in self.tensors.values():
                if not 0 < tensor.offset + tensor.num_bytes <= end:
                    raise ValueError(f"the tensor {tensor.name} ends behind the file")

    def value(self, key: str, default: Any = None) -> Any:
        """What stands under the key."""
        return self.values.get(key, default)

    def shape(self, key: str, default: Any = None) -> Any:
        """What stands under the key of the architecture."""
        found = self.values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise ValueError(f"the key {self.architecture}.{key} is missing")
        return found

    def _tensor(self) -> _Tensor:
        name, dimensions = self._text(), self._number("I")
        if dimensions > 4:
            raise ValueError(f"the tensor {name} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]  # theirs begin with the innermost
        return _Tensor(name=name, shape=shape, kind=self._number("I"), offset=self._number("Q"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """Where a tensor lies in its file, and how its numbers are stored."""

    name: str
    shape: tuple[int, ...]  # as numpy has it
    kind: int
    offset: int

    @property
    def numel(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """How many bytes in the file."""
        block, size = _sizes(self.kind)
        if not self.shape or self.shape[-1] % block:
            raise ValueError(f"the tensor {self.name} has rows that its kind cannot have")
        return self.numel // block * size

    def read(self, path: Path) -> Array:
        """The numbers, in fp32."""
        import gguf

        with path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.num_bytes)
        if self.kind == gguf.GGMLQuantizationType.F32:
            return np.frombuffer(data, np.float32).reshape(self.shape)
        if self.kind == gguf.GGMLQuantizationType.F16:
            return np.frombuffer(data, np.float16).astype(np.float32).reshape(self.shape)
        rows = np.frombuffer(data, np.uint8).reshape(*self.shape[:-1], -1)
        found: Array = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType(self.kind)).reshape(self.shape)
        return found


def _sizes(kind: int) -> tuple[int, int]:
    """Numbers in a block, and its bytes.

    Raises:
        MissingExtra: the library is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("GGUF", "hf", "gguf") from None
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    return int(block), int(size)


def _config(file: _File) -> dict[str, Any]:
    """`config.json` as Hugging Face would write it."""
    kind = file.architecture
    if kind not in ARCHITECTURES:
        raise ArtifactError(
            "GGUF files of the architecture '{name}' are not read, only of {known}. Take the model's safetensors folder",
            name=kind,
            known=", ".join(ARCHITECTURES),
        )
    if file.shape("expert_count", 0) or file.shape("rope.scaling.type", "none") not in ("none", "llama3", "linear", "yarn"):
        raise ArtifactError("this GGUF file has experts or stretched positions, which are not read. Take the model's safetensors folder")
    width, layers = int(file.shape("embedding_length")), int(file.shape("block_count"))
    heads = int(file.shape("attention.head_count"))
    vocabulary = file.tensors["token_embd.weight"].shape[0]
    tied = "output.weight" not in file.tensors
    common = {"model_type": kind, "vocab_size": vocabulary, "tie_word_embeddings": tied}
    if kind == "gpt2":
        return common | {
            "n_embd": width,
            "n_layer": layers,
            "n_head": heads,
            "n_positions": int(file.shape("context_length")),
            "n_inner": int(file.shape("feed_forward_length", 4 * width)),
            "layer_norm_epsilon": float(file.shape("attention.layer_norm_epsilon", 1e-5)),
        }
    common |= {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": int(file.shape("attention.head_count_kv", heads)),
        "intermediate_size": int(file.shape("feed_forward_length")),
        "head_dim": int(file.shape("attention.key_length", file.shape("rope.dimension_count", width // heads))),
        "max_position_embeddings": int(file.shape("context_length")),
        "rms_norm_eps": float(file.shape("attention.layer_norm_rms_epsilon", 1e-6)),
        "rope_theta": float(file.shape("rope.freq_base", 10_000.0)),
        "attention_bias": kind == "llama" and "blk.0.attn_q.bias" in file.tensors,
        "hidden_act": "silu",
    }
    if "rope_freqs.weight" in file.tensors:
        common["rope_scaling"] = _llama3(file, common)
    elif file.shape("rope.scaling.type", "none") in ("linear", "yarn"):
        common["rope_scaling"] = _stretched(file, str(file.shape("rope.scaling.type")))
    return common


def _llama3(file: _File, config: Mapping[str, Any]) -> dict[str, Any]:
    """The rule behind Llama 3's stretched positions, of which the file holds the result only: it is found out and checked."""
    stored = file.tensors["rope_freqs.weight"].read(file.path)
    factor, half = float(stored.max()), len(stored)
    frequencies = config["rope_theta"] ** -(np.arange(half) / half)
    turns = LLAMA3["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    blend = np.clip((turns - low) / (high - low), 0, 1)
    if not np.allclose(1 / (blend + (1 - blend) / factor), stored, rtol=1e-3):
        raise ArtifactError("this GGUF file has experts or stretched positions, which are not read. Take the model's safetensors folder")
    return {"rope_type": "llama3", "factor": factor, **LLAMA3}


def _stretched(file: _File, kind: str) -> dict[str, Any]:
    """`rope_scaling` of a file that tells the rule."""
    factor = float(file.shape("rope.scaling.factor"))
    if kind == "linear":
        return {"rope_type": kind, "factor": factor}
    return {
        "rope_type": kind,
        "factor": factor,
        "original_max_position_embeddings": int(file.shape("rope.scaling.original_context_length", file.shape("context_length"))),
        "attention_factor": yarn_strength(factor) * float(file.shape("rope.scaling.attn_factor", 1.0)),
        "beta_fast": float(file.shape("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(file.shape("rope.scaling.yarn_beta_slow", 1.0)),
    }


def _names(kind: str) -> Callable[[str], str | None]:
    """From llama.cpp's names to Hugging Face's; None for what they do not store."""
    inner, top, block = (_GPT2, _GPT2_TOP, "h.{}.") if kind == "gpt2" else (_LLAMA, _LLAMA_TOP, "model.layers.{}.")

    def named(name: str) -> str | None:
        stem, _, part = name.rpartition(".")
        if stem in top:
            return f"{top[stem]}.{part}"
        place, _, stem = stem.removeprefix("blk.").partition(".")
        return f"{block.format(place)}{inner[stem]}.{part}" if stem in inner else None

    return named


def hub_to_gguf(kind: str) -> Callable[[str], str | None]:
    """From Hugging Face's names to llama.cpp's, for those who write; None for what it does not store."""
    inner, top, block = (_GPT2, _GPT2_TOP, "h.") if kind == "gpt2" else (_LLAMA, _LLAMA_TOP, "model.layers.")
    stems, tops = {theirs: own for own, theirs in inner.items()}, {theirs: own for own, theirs in top.items()}

    def named(name: str) -> str | None:
        stem, _, part = name.rpartition(".")
        if stem in tops:
            return f"{tops[stem]}.{part}"
        place, _, stem = stem.removeprefix(block).partition(".")
        return f"blk.{place}.{stems[stem]}.{part}" if stem in stems else None

    return named


def _as_it_is(values: Array) -> Array:
    return values


def _halves(values: Array, *, heads: int) -> Array:
    """Rows of queries or keys from pairs of neighbours to two halves, head by head; of weights (out, in) and biases (out,)."""
    paired = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return paired.swapaxes(1, 2).reshape(values.shape)


class _explained:  # noqa: N801  (used as a statement)
    """Whatever goes wrong in a file of strangers is said as one error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ArtifactError | MissingExtra):
            raise ArtifactError("{path} is damaged, or no GGUF file ({error})", path=self.path, error=error) from None
