"""A folder of Hugging Face, or a GGUF file, looked over before anything is loaded: no code of its own, no pickle, no network, no giants.

What a checkpoint says about itself is data from strangers. Its configuration loses every key that could make a library run or fetch
something; the weights are read by their headers alone until their number fits what the configuration describes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miaobi.core.artifact import read_json
from miaobi.core.errors import ArtifactError
from miaobi.models.common import rotary
from miaobi.models.common.chat_template import Chat, ChatTemplate, read_settings, read_template, special_texts
from miaobi.models.common.hub_format import read_config, rope_of
from miaobi.models.common.text_codec import BEGIN_NAMES, END_NAMES

Kind = Literal["causal", "seq2seq", "masked"]
WEIGHTS, INDEX, TOKENIZER, GENERATION = "model.safetensors", "model.safetensors.index.json", "tokenizer.json", "generation_config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
DANGEROUS = frozenset({"auto_map", "trust_remote_code", "attn_implementation", "custom_pipelines", "torchscript", "name_or_path"})
LARGEST = {  # beyond these a number in config.json is a mistake or an attack: the libraries would build as many Python objects
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "layers": 1024,
    "heads": 4096,
    "experts": 4096,
    "vocab_size": 1 << 22,
    "position": 1 << 26,
}
CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length", "max_seq_len")
_ENCODERS = """albert bert big_bird camembert convbert deberta deberta-v2 distilbert electra ernie esm modernbert mpnet nystromformer
    roberta roberta-prelayernorm roformer xlm-roberta xlm-roberta-xl"""
ENCODERS = frozenset(_ENCODERS.split())  # of these transformers also builds decoders, which nobody trained
ENDLESS = 1 << 20  # tokens, of a model whose configuration names no longest context


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a model folder holds, but for the weights themselves."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: str
    template: ChatTemplate | None
    begin: int | None
    ends: tuple[int, ...]
    first: int | None = None  # what every answer of an encoder-decoder begins with, behind its start token
    gguf: Path | None = None

    @property
    def kind(self) -> Kind:
        """What the model does with text: goes on with it, makes another text of it, or fills its gaps."""
        named = " ".join(map(str, self.config.get("architectures") or ()))
        if self.config.get("is_encoder_decoder"):
            return "seq2seq"
        if "MaskedLM" in named:
            return "masked"
        fills = self.config.get("model_type") in ENCODERS and not self.config.get("is_decoder")
        return "masked" if fills and not any(part in named for part in ("CausalLM", "LMHead")) else "causal"

    @property
    def context(self) -> int:
        """The most tokens that the model reads."""
        found = (self.config.get(name) for name in CONTEXTS)
        plain = next((int(value) for value in found if isinstance(value, int) and value > 0), ENDLESS)
        return rotary.stretched(rope_of(self.config), plain)

    def chat(self) -> Chat | None:
        """The template over the tokenizer, where there is one."""
        return Chat(self.template, self.tokenizer) if self.template else None


def read(path: Path, *, weights: bool = True) -> Checkpoint:
    """The checkpoint in a folder, or in a GGUF file or a folder that holds one; without `weights`, for what runs an exported graph.

    Raises:
        ArtifactError: something is missing, damaged, too large or dangerous.
    """
    gguf = gguf_in(path)
    if gguf is not None and (weights or not (path / TOKENIZER).is_file()):
        from miaobi.models.common import gguf_file

        found = gguf_file.describe(gguf)
        template = ChatTemplate(found.template, specials=found.specials) if found.template else None
        config = _checked(path, found.config)
        return Checkpoint(
            folder=path, config=config, tokenizer=found.tokenizer, template=template, begin=found.begin, ends=found.ends, gguf=gguf
        )
    config = clean(path, read_config(path))
    if weights:
        weight_files(path)  # no pickles, nothing missing
    tokenizer = read_tokenizer(path)
    settings = read_settings(path)
    ids = {str(token["content"]): int(token["id"]) for token in json.loads(tokenizer).get("added_tokens", ())}
    specials = special_texts(settings)
    begin, generation = config.get("bos_token_id"), _generation(path)
    first = generation.get("forced_bos_token_id", config.get("forced_bos_token_id"))
    named = [ids[text] for text in (specials.get("eos_token"),) if text in ids]
    ends = _numbers(generation.get("eos_token_id")) + _numbers(config.get("eos_token_id")) + named
    return Checkpoint(
        folder=path,
        config=config,
        tokenizer=tokenizer,
        template=read_template(path),
        begin=begin if isinstance(begin, int) else _first(ids, (specials.get("bos_token", ""), *BEGIN_NAMES, "[CLS]")),
        ends=tuple(dict.fromkeys(ends or [number for number in (_first(ids, (*END_NAMES, "[SEP]")),) if number is not None])),
        first=next(iter(_numbers(first)), None),
    )


def gguf_in(path: Path) -> Path | None:
    """The GGUF file that a path means: itself, or the only one in a folder without safetensors.

    Raises:
        ArtifactError: there are several.
    """
    if path.is_file():
        return path
    if (path / WEIGHTS).is_file() or (path / INDEX).is_file():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ArtifactError("{folder} holds several GGUF files; name the one that is meant: {names}", folder=path, names=names)
    return found[0] if found else None


def clean(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without anything that could run or fetch something, its numbers within reason.

    Raises:
        ArtifactError: weights that another library quantised, or numbers beyond all reason.
    """
    if values.get("quantization_config") or values.get("compression_config"):
        raise ArtifactError(
            "{folder} holds weights that another library quantised, which are not read here. Take the plain weights, or a GGUF file",
            folder=folder,
        )
    if not isinstance(values.get("model_type"), str):
        raise ArtifactError("{folder}: config.json does not say which model_type it is, so nothing can load it", folder=folder)
    return _checked(folder, _plain(values))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without private keys and those that point to code, inner configurations too."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if not key.startswith("_") and key not in DANGEROUS and "attn_implementation" not in key
    }


def _checked(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _checked(folder, value)
        most = next((most for part, most in LARGEST.items() if part in key), 1 << 40)
        if isinstance(value, int) and not isinstance(value, bool) and not -most <= value <= most:
            raise ArtifactError(
                "{folder}: config.json says {key} = {value}; at most {most} is loaded", folder=folder, key=key, value=value, most=most
            )
    return dict(values)


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that its index names.

    Raises:
        ArtifactError: there are none, a shard is missing or lies elsewhere, or the weights are only there pickled.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError("{path} cannot be read ({error})", path=index, error=error) from None
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                raise ArtifactError("{path} names {name}, which is no weight file of its own folder", path=index, name=name)
            if not (folder / name).is_file():
                raise ArtifactError(
                    "artifact {folder}: the file {name} is missing. Fetch or train the model again", folder=folder, name=name
                )
        return [folder / name for name in names]
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLED)
    if pickled:
        raise ArtifactError(
            "{folder}: the weights are there only as {file}, a format that could run anything when it is read. Take the model's "
            "safetensors files; or convert it where nothing can be harmed: torch.load(…, weights_only=True), safetensors.torch.save_file",
            folder=folder,
            file=pickled[0],
        )
    if (folder / "adapter_config.json").is_file():
        raise ArtifactError("{folder} holds an adapter, not a whole model; load it together with its base", folder=folder)
    raise ArtifactError("{folder} has no weights: neither {file} nor a GGUF file", folder=folder, file=WEIGHTS)


def read_tokenizer(folder: Path) -> str:
    """`tokenizer.json`, or the same made from the older files of GPT-2, BERT, Llama and T5.

    Raises:
        ArtifactError: there is none that can be read without running code.
    """
    path = folder / TOKENIZER
    if path.is_file():
        try:
            source = path.read_text(encoding="utf-8")
            if not isinstance(json.loads(source), dict):
                raise ValueError("no object")
        except (OSError, ValueError, RecursionError) as error:
            raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
        return source
    from miaobi.models.hf_transformers import old_tokenizers, sentence_pieces

    made = old_tokenizers.convert(folder) or sentence_pieces.convert(folder)
    if made is None:
        there = ", ".join(sorted(file.name for file in folder.glob("*") if file.suffix in (".model", ".tiktoken", ".txt"))) or "–"
        raise ArtifactError(
            "{folder} has no tokenizer.json (there is: {there}). Take it from the model's page, or save it once with "
            "transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)",
            folder=folder,
            there=there,
        )
    return made


def free_bytes() -> int:
    """The memory that this machine could still give, in bytes; a guess of 1 TiB where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 40


def refuse_giants(folder: Path, *, described: int, stored: int, bytes_each: int) -> None:
    """Compare the numbers that the configuration describes with those that are stored, and their memory with what is free.

    Raises:
        ArtifactError: the two differ, or they do not fit into the memory.
    """
    if described > 1.2 * stored + 1_000_000:
        raise ArtifactError(
            "{folder}: config.json describes a model of {described:,} numbers, and the weights hold {stored:,}",
            folder=folder,
            described=described,
            stored=stored,
        )
    needed, free = stored * bytes_each, free_bytes()
    if needed > free:
        raise ArtifactError(
            "{folder} needs {needed:.1f} GB of memory, and {free:.1f} GB are free. Take a smaller model, or close other programs",
            folder=folder,
            needed=needed / 1e9,
            free=free / 1e9,
        )


def numel(shapes: Sequence[Sequence[int]]) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes)


def _generation(folder: Path) -> dict[str, Any]:
    path = folder / GENERATION
    return read_json(path) if path.is_file() else {}


def _numbers(value: object) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int) and not isinstance(number, bool)]


def _first(ids: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((ids[name] for name in names if name in ids), None)
