"""The tokenizer that a GGUF file describes in llama.cpp's words, as the `tokenizer.json` that it was made of.

Two kinds exist in the models that are read: byte pairs over bytes (GPT-2's line), which the file names with the rule that cuts words, and
SentencePiece's pairs, whose merges are not stored and follow from the scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from miaobi.core.errors import ArtifactError

CONTROL, USER_DEFINED, UNKNOWN = 3, 4, 2  # kinds of tokens
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SPLITS = {  # the expression that cuts words, by llama.cpp's name of it; "" is GPT-2's own, "digits" cuts digits apart before
    "gpt-2": "",
    "default": "",
    "smollm": "digits",
    "starcoder": "digits",
    "codeshell": "digits",
    "refact": "digits",
    "llama-bpe": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "smaug-bpe": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
    "deepseek-r1-qwen": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
    "megrez": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
}
_COMPOSED = ("qwen2", "deepseek-r1-qwen", "megrez")  # those that read text in Unicode's composed form


def build(values: Mapping[str, Any]) -> str:
    """`tokenizer.json` from the file's values.

    Raises:
        ArtifactError: a kind of tokenizer that is not read.
    """
    kind = values.get("tokenizer.ggml.model")
    tokens: list[str] = values["tokenizer.ggml.tokens"]
    if kind == "gpt2":
        tokenizer = _bytes(values, tokens)
    elif kind == "llama":
        tokenizer = _pieces(values, tokens)
    else:
        raise ArtifactError("GGUF files with a tokenizer of the kind '{name}' are not read. Take the model's safetensors folder", name=kind)
    begin = values.get("tokenizer.ggml.bos_token_id")
    if values.get("tokenizer.ggml.add_bos_token", kind == "llama") and isinstance(begin, int):
        from tokenizers.processors import TemplateProcessing

        mark = tokens[begin]
        tokenizer.post_processor = TemplateProcessing(single=[mark, "$A"], pair=[mark, "$A", "$B"], special_tokens=[(mark, begin)])
    return _marked(tokenizer, tokens, values.get("tokenizer.ggml.token_type") or [])


def _bytes(values: Mapping[str, Any], tokens: Sequence[str]) -> Any:
    """Byte pairs over bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    name = str(values.get("tokenizer.ggml.pre", "default"))
    if name not in SPLITS:
        raise ArtifactError("GGUF files with a tokenizer of the kind '{name}' are not read. Take the model's safetensors folder", name=name)
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in values["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(models.BPE(vocab=_numbered(tokens), merges=merges, ignore_merges="llama" in name or "smaug" in name))
    split = SPLITS[name]
    if split == "digits":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif split:
        words = pre_tokenizers.Split(Regex(split), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name in _COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces(values: Mapping[str, Any], tokens: Sequence[str]) -> Any:
    """SentencePiece's pairs: two pieces merge when they are a piece together, those of the highest score first."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    ids, scores = _numbered(tokens), values["tokenizer.ggml.scores"]
    found = []
    for number, token in enumerate(tokens):
        cuts = ((token[:place], token[place:]) for place in range(1, len(token)))
        pairs = sorted((ids[left], ids[right], left, right) for left, right in cuts if left in ids and right in ids)
        found += [(-float(scores[number]), place, left, right) for place, (_, _, left, right) in enumerate(pairs)]
    found.sort(key=lambda merge: merge[0])
    unknown = values.get("tokenizer.ggml.unknown_token_id", 0)
    merges = [(left, right) for _, _, left, right in found]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token=tokens[unknown], fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if values.get("tokenizer.ggml.add_space_prefix", True) else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return tokenizer


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    ids = {token: number for number, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise ValueError("a token twice in the vocabulary")
    return ids


def _marked(tokenizer: Any, tokens: Sequence[str], kinds: Sequence[int]) -> str:
    """The tokenizer as JSON, with the tokens that are marks; written by hand, since the library would renumber them."""
    source: dict[str, Any] = json.loads(tokenizer.to_str())
    source["added_tokens"] = [
        {
            "id": number,
            "content": token,
            "special": kind in (CONTROL, UNKNOWN),
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for number, (token, kind) in enumerate(zip(tokens, kinds))
        if kind in (CONTROL, USER_DEFINED, UNKNOWN)
    ]
    return json.dumps(source, ensure_ascii=False)
