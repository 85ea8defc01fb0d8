"""Tokenizers out of SentencePiece's own files, which are written here by hand, field by field."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from miaobi.models.hf_transformers import sentence_pieces

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return whole(number << 3) + whole(value)
    return whole(number << 3 | 2) + whole(len(value)) + value


def whole(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + whole(rest) if rest else bytes([low])


def file(pieces: list[tuple[str, float, int]], *, model: int, charsmap: bytes = b"", **flags: int) -> bytes:
    """A model of SentencePiece."""
    data = b""
    for text, score, kind in pieces:
        number = whole(2 << 3 | 5) + struct.pack("<f", score)
        data += field(1, field(1, text.encode()) + number + (field(3, kind) if kind != NORMAL else b""))
    normal = field(2, charsmap) + field(3, flags.get("prefix", 1)) + field(4, flags.get("joins", 1))
    return data + field(2, field(3, model)) + field(3, normal)


def convert(folder: Path, data: bytes, *, kind: str, name: str = "tokenizer.model") -> Tokenizer | None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / name).write_bytes(data)
    found = sentence_pieces.convert(folder)
    return Tokenizer.from_str(found) if found else None


def test_pairs_are_those_of_the_tokenizer_that_the_file_came_from(tmp_path: Path, llama_tokenizer: Tokenizer) -> None:
    vocabulary = sorted(llama_tokenizer.get_vocab().items(), key=lambda item: item[1])
    kinds = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    data = file([(text, -float(number), kinds.get(text, NORMAL)) for text, number in vocabulary], model=2, joins=0)
    found = convert(tmp_path, data, kind="llama")
    assert found is not None
    for text in ("Hello there, how are you today?", "床前明月光，疑是地上霜。", "The  fox"):
        ids = found.encode(text).ids
        assert ids == [1, *llama_tokenizer.encode(text).ids], "a text begins with <s>"
        assert found.decode(ids) == text
    assert found.encode("</s>", add_special_tokens=False).ids == [2]


def test_unigrams_are_the_likeliest_and_end(tmp_path: Path) -> None:
    pieces = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), ("▁", -3.0, NORMAL), ("▁the", -1.0, NORMAL),
              ("▁t", -2.0, NORMAL), ("he", -2.0, NORMAL), ("▁fox", -2.5, NORMAL), ("x", -4.0, NORMAL)]  # fmt: skip
    found = convert(tmp_path, file(pieces, model=1), kind="t5", name="spiece.model")
    assert found is not None
    assert found.encode("  the   fox ").tokens == ["▁the", "▁fox", "</s>"]
    assert found.encode("the x").tokens == ["▁the", "▁", "x", "</s>"]
    assert found.decode(found.encode("the fox").ids) == "the fox"
    assert found.get_vocab_size() == len(pieces) + sentence_pieces.EXTRA
    assert found.token_to_id("<extra_id_0>") == len(pieces) + 99
    assert isinstance(found.model, models.Unigram)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "llama"),
        (b"\n\x00", "llama"),
        (b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "llama"),
        (b"IQ== 0\nIg== 1\n" * 50, "llama"),  # Llama 3's
        (bytes(range(256)) * 4, "t5"),
        (file([("<unk>", 0.0, UNKNOWN)], model=2)[:-3], "llama"),
        (file([("<unk>", 0.0, UNKNOWN)], model=1), "llama"),  # not of that line
        (file([("<unk>", 0.0, UNKNOWN)], model=1), "xlm-roberta"),  # which numbers its pieces otherwise
    ],
    ids=str,
)
def test_other_files_give_none(tmp_path: Path, data: bytes, kind: str) -> None:
    assert convert(tmp_path, data, kind=kind) is None
