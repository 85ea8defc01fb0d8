"""`tokenizer.json` from SentencePiece's own file, for checkpoints that came before it: Llama's line (pairs) and T5's (unigrams).

The file is one protocol buffer of few fields, which are read here, so that neither SentencePiece nor protobuf is needed
(https://github.com/google/sentencepiece, `sentencepiece_model.proto`). Pairs merge as in a GGUF file, which is made from the same numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.models.common import gguf_tokenizer
from miaobi.models.common.chat_template import read_settings

NAMES = ("tokenizer.model", "spiece.model")
PAIRED = ("llama", "mistral", "mixtral", "gemma", "phi3")  # model types that begin a text with <s> and end it with nothing
ENDED = ("t5", "mt5", "umt5", "longt5")  # and those that end a text with </s>
EXTRA = 100  # <extra_id_0> …, which T5 has behind its pieces, the last one first
UNIGRAM, BPE = 1, 2  # kinds of models
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # kinds of pieces
LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Pieces:
    """What the file says: pieces with their scores and kinds, how they were found, and how a text is put right before."""

    texts: list[str]
    scores: list[float]
    kinds: list[int]
    model: int
    charsmap: bytes
    has_prefix: bool
    joins_spaces: bool


def convert(folder: Path) -> str | None:
    """The tokenizer as JSON; None where there is no such file, one that is none of SentencePiece's (Llama 3's bears the name, too), or
    one of a model that numbers its pieces otherwise.
    """
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    kind = _model_type(folder)
    if path is None or kind not in PAIRED + ENDED or path.stat().st_size > LARGEST:
        return None
    try:
        pieces = read(path.read_bytes())
    except ValueError:
        return None
    if pieces.model == BPE and kind in PAIRED:
        return _pairs(pieces, read_settings(folder))
    return _unigrams(pieces) if pieces.model == UNIGRAM and kind in ENDED else None


def read(data: bytes) -> Pieces:
    """The file's content.

    Raises:
        ValueError: it is no such file.
    """
    try:
        return _read(data)
    except (IndexError, TypeError, struct.error) as error:
        raise ValueError(str(error)) from None


def _read(data: bytes) -> Pieces:
    texts, scores, kinds = list[str](), list[float](), list[int]()
    trainer, normalizer = dict[int, Any](), dict[int, Any]()
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_bytes(value)))
            texts.append(_bytes(piece[1]).decode() if 1 in piece else "")
            scores.append(struct.unpack("<f", _bytes(piece[2]))[0] if 2 in piece else 0.0)
            kinds.append(int(piece.get(3, NORMAL)))
        elif number in (2, 3):
            (trainer if number == 2 else normalizer).update(_fields(_bytes(value)))
    if not texts or UNKNOWN not in kinds:
        raise ValueError("no pieces")
    charsmap, model = _bytes(normalizer.get(2, b"")), int(trainer.get(3, UNIGRAM))
    return Pieces(texts, scores, kinds, model, charsmap, bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))


def _pairs(pieces: Pieces, settings: Mapping[str, Any]) -> str:
    """Llama's kind, in llama.cpp's words for the same."""
    ids = {text: number for number, text in enumerate(pieces.texts)}
    values = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces.texts,
        "tokenizer.ggml.scores": pieces.scores,
        "tokenizer.ggml.token_type": pieces.kinds,
        "tokenizer.ggml.unknown_token_id": pieces.kinds.index(UNKNOWN),
        "tokenizer.ggml.bos_token_id": ids.get("<s>", ids.get("<bos>")),
        "tokenizer.ggml.add_bos_token": bool(settings.get("add_bos_token", True)),
        "tokenizer.ggml.add_space_prefix": pieces.has_prefix,
    }
    return gguf_tokenizer.build(values)


def _unigrams(pieces: Pieces) -> str:
    """T5's kind: spaces put right, the likeliest pieces, </s> at the end."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    known = set(pieces.texts)
    extra = [f"<extra_id_{number}>" for number in reversed(range(EXTRA)) if f"<extra_id_{number}>" not in known]
    vocabulary = [*zip(pieces.texts, pieces.scores, strict=True), *((text, 0.0) for text in extra)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=pieces.kinds.index(UNKNOWN), byte_fallback=6 in pieces.kinds))
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.joins_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if pieces.has_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    marks = [text for text, kind in zip(pieces.texts, pieces.kinds, strict=True) if kind in (CONTROL, UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in [*marks, *extra]])
    if "</s>" in known:
        end = ("</s>", pieces.texts.index("</s>"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[end]
        )
    return str(tokenizer.to_str())


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: their numbers, and whole numbers or bytes."""
    place = 0
    while place < len(data):
        key, place = _whole(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _whole(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _whole(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("no protocol buffer")
        if place + length > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[place : place + length]
        place += length


def _whole(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next thing is."""
    value = shift = 0
    while True:
        byte = data[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number too long")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number in the place of a message")
    return value


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""
