"""A Hugging Face folder as a GGUF file for llama.cpp and its kin: names, orders of rows and the tokenizer in their words.

What `gguf_file` changes back on reading is changed here: the rows of Llama's queries and keys (llama.cpp turns neighbouring numbers where
Hugging Face turns halves) and GPT-2's matrices. A tokenizer of single characters becomes one of pieces without merges, in which a space is
written ▁. Tensors are written one after the other, so memory holds one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import ArtifactError, MissingExtra, UsageError, unknown
from miaobi.models.common import rotary
from miaobi.models.common.chat_template import read_template
from miaobi.models.common.decoder_weights import Array, StoredTensors
from miaobi.models.common.gguf_file import TURNED, hub_to_gguf
from miaobi.models.common.gguf_tokenizer import SPLITS
from miaobi.models.common.hub_format import config_from_hub, read_config
from miaobi.models.common.transformer_config import TransformerConfig

FORMS = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # kinds of tokens


def write_gguf(folder: Path, path: Path, *, form: str = "f16", name: str = "", licence: str = "") -> None:
    """Write the language model of `folder` into the file `path`; matrices in `form`, vectors in fp32.

    Raises:
        UsageError: an unknown form, an architecture or a tokenizer that llama.cpp has no words for.
        ArtifactError: the folder lacks weights or is damaged.
        MissingExtra: the package `gguf` is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("GGUF", "hf", "gguf") from None
    if form not in FORMS:
        raise unknown("format", form, FORMS)
    values = read_config(folder)
    config, kind = config_from_hub(values), str(values["model_type"]).replace("mistral", "llama")
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(temporary, kind)
        try:
            writer.add_name(name or folder.name)
            if licence:
                writer.add_license(licence)
            _describe(writer, config, kind)
            _words(writer, folder, values, config.vocab_size)
            writer.add_file_type(int(getattr(gguf.LlamaFileType, f"MOSTLY_{FORMS[form]}", gguf.LlamaFileType.ALL_F32)))
            _tensors(writer, StoredTensors(folder), config, kind, form)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _describe(writer: Any, config: TransformerConfig, kind: str) -> None:
    """The network's shape."""
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    if kind == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_head_count_kv(config.key_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    _stretching(writer, config)


def _stretching(writer: Any, config: TransformerConfig) -> None:
    """How positions are stretched; the rule of Llama 3 is not among these words, its result is stored among the tensors."""
    import gguf

    scaling = dict(config.rope_scaling)
    if config.rope_type not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(config.rope_type))
    writer.add_rope_scaling_factor(scaling["factor"])
    if config.rope_type == "linear":
        return
    if not scaling["truncate"]:
        raise UsageError("llama.cpp rounds the ends of YaRN's ramp, and this model does not; it cannot be a GGUF file")
    writer.add_rope_scaling_orig_ctx_len(int(scaling["original_max_position_embeddings"]))
    writer.add_rope_scaling_attn_factors(scaling["attention_factor"] / rotary.yarn_strength(scaling["factor"]))  # it multiplies by its own
    writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])


# ---------------------------------------------------------------- tensors


def _tensors(writer: Any, tensors: StoredTensors, config: TransformerConfig, kind: str, form: str) -> None:
    """Every tensor under llama.cpp's name."""
    renamed = hub_to_gguf(kind)
    for name in tensors:
        if config.tied and name == "lm_head.weight":
            continue
        theirs = renamed(name)
        if theirs is None:
            continue
        array = tensors[name]
        if kind == "llama" and (".attn_q." in theirs or ".attn_k." in theirs):
            array = _neighbours(array, config.heads if ".attn_q." in theirs else config.key_heads)
        elif kind == "gpt2" and theirs.endswith(TURNED):
            array = array.T
        _add(writer, theirs, np.ascontiguousarray(array), form)
    if config.rope_type == "llama3":
        plain = config.rope_theta ** -(np.arange(0, config.head_width, 2) / config.head_width)
        _add(writer, "rope_freqs.weight", (plain / rotary.frequencies(config)).astype(np.float32), "f32")


def _add(writer: Any, name: str, array: Array, form: str) -> None:
    """A tensor in its form: vectors and positions stay fp32, and rows that no block divides become fp16."""
    import gguf

    array = array.astype(np.float32)
    if array.ndim < 2 or form == "f32" or name.startswith("position_embd"):
        writer.add_tensor(name, array)
    elif form == "f16" or array.shape[-1] % 32:
        writer.add_tensor(name, array.astype(np.float16))
    else:
        chosen = gguf.GGMLQuantizationType[FORMS[form]]
        if name.startswith(("token_embd", "output.")) and form != "q8_0":
            chosen = gguf.GGMLQuantizationType.Q8_0  # an error there reaches every logit
        writer.add_tensor(name, gguf.quants.quantize(array, chosen), raw_dtype=chosen)


def _neighbours(values: Array, heads: int) -> Array:
    """Rows of queries or keys from two halves to pairs of neighbours, head by head; of weights (out, in) and biases (out,)."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


# ---------------------------------------------------------------- the tokenizer


def _words(writer: Any, folder: Path, values: Mapping[str, Any], size: int) -> None:
    """The vocabulary, its kinds, merges or scores, and the chat template."""
    try:
        source: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model = source["model"]
        vocabulary: dict[str, int] = dict(model["vocab"])
        added = {int(token["id"]): token for token in source.get("added_tokens", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("{folder} has no readable tokenizer.json ({error})", folder=folder, error=error) from None
    tokens = {number: token for token, number in vocabulary.items()} | {number: str(token["content"]) for number, token in added.items()}
    unknown_id = vocabulary.get(str(model.get("unk_token")))
    kinds = [_kind(number, tokens, added, unknown_id) for number in range(size)]
    texts = [tokens.get(number, f"[UNUSED{number}]") for number in range(size)]
    if model.get("type") == "BPE" and not model.get("byte_fallback") and _is_byte_level(source):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_split_name(source))
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    elif model.get("type") in ("BPE", "WordLevel") and all(model.get("type") == "BPE" or len(text) == 1 for text in _plain(texts, kinds)):
        texts = [text.replace(" ", "▁") if kind == NORMAL else text for text, kind in zip(texts, kinds)]
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(_scores(texts, model))
        writer.add_add_space_prefix(_prepends(source))
        kinds = [BYTE if text.startswith("<0x") and text.endswith(">") and len(text) == 6 else kind for text, kind in zip(texts, kinds)]
    else:
        raise UsageError(
            "llama.cpp has no tokenizer of the kind {name}; GGUF files are written of byte-level BPE, SentencePiece's BPE and characters",
            name=model.get("type"),
        )
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    _marks(writer, folder, source, values, tokens, unknown_id)


def _marks(
    writer: Any, folder: Path, source: Mapping[str, Any], values: Mapping[str, Any], tokens: Mapping[int, str], unknown_id: int | None
) -> None:
    """The tokens that begin and end a text, and the chat template."""
    begin, end = values.get("bos_token_id"), values.get("eos_token_id")
    end = end[0] if isinstance(end, list) else end
    if isinstance(begin, int):
        writer.add_bos_token_id(begin)
        writer.add_add_bos_token(_begins(source, tokens.get(begin, "")))
    if isinstance(end, int):
        writer.add_eos_token_id(end)
    if unknown_id is not None:
        writer.add_unk_token_id(unknown_id)
    template = read_template(folder)
    if template is not None:
        writer.add_chat_template(template.source)


def _kind(number: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]], unknown_id: int | None) -> int:
    if number not in tokens:
        return UNUSED
    if number == unknown_id:
        return UNKNOWN
    if number in added:
        return CONTROL if added[number].get("special") else USER_DEFINED
    return NORMAL


def _plain(texts: list[str], kinds: list[int]) -> list[str]:
    return [text for text, kind in zip(texts, kinds) if kind == NORMAL]


def _is_byte_level(source: Mapping[str, Any]) -> bool:
    return "ByteLevel" in json.dumps([source.get("pre_tokenizer"), source.get("decoder")])


def _split_name(source: Mapping[str, Any]) -> str:
    """llama.cpp's name for the rule that cuts words.

    Raises:
        UsageError: a rule that has none.
    """
    found = json.dumps(source.get("pre_tokenizer"), ensure_ascii=False)
    if '"Regex"' not in found:
        return "smollm" if '"Digits"' in found else "gpt-2"
    for name, expression in SPLITS.items():
        if expression and expression != "digits" and json.dumps(expression, ensure_ascii=False)[1:-1] in found:
            return name
    raise UsageError("llama.cpp has no name for the way in which this tokenizer cuts words, so no GGUF file is written")


def _scores(texts: list[str], model: Mapping[str, Any]) -> list[float]:
    """What merges first has the highest score; pieces that nothing merges into have the lowest."""
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model.get("merges", ())]
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(text, len(merges))) for text in texts]


def _prepends(source: Mapping[str, Any]) -> bool:
    """Whether a text gets a space before it."""
    return "Prepend" in json.dumps(source.get("normalizer")) or '"prepend_scheme": "first"' in json.dumps(source.get("pre_tokenizer"))


def _begins(source: Mapping[str, Any], mark: str) -> bool:
    """Whether every text begins with the mark: the tokenizer says so; one that says nothing of it is one of ours, which always do."""
    processor = source.get("post_processor")
    return processor is None or mark in json.dumps(processor, ensure_ascii=False)
