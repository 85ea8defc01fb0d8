"""What every token of a vocabulary spells, in bytes: what a grammar is checked against and what log-probabilities are told with.

The strings of a `tokenizer.json` are not the text: GPT-2's stand for bytes by a table of printable characters, SentencePiece's write a
space as ▁ and single bytes as <0x0A>. The `decoder` of the file says which.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Spelling:
    """The bytes of each token, in the order of their numbers; a token that shows no text has none, `marks` may name it."""

    tokens: tuple[bytes, ...]
    marks: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str], *, marks: Collection[int] = ()) -> Spelling:
        """Of a vocabulary whose tokens are their texts; `marks` are those that are shown to nobody."""
        spelled = tuple(b"" if number in marks else text.encode("utf-8", "replace") for number, text in enumerate(texts))
        return cls(spelled, {number: texts[number] for number in marks})

    @classmethod
    def of_tokenizer(cls, definition: str) -> Spelling:
        """Of the JSON text of a `tokenizer.json`, which the library `tokenizers` could read."""
        values = json.loads(definition)
        decode = _decoder(values.get("decoder"))
        vocabulary = _vocabulary(values["model"])
        added = {int(token["id"]): token for token in values.get("added_tokens") or ()}
        vocabulary |= {number: token["content"] for number, token in added.items()}
        spelled = [b""] * (max(vocabulary, default=-1) + 1)
        for number, text in vocabulary.items():
            if number not in added:
                spelled[number] = decode(text)
            elif not added[number].get("special"):
                spelled[number] = text.encode("utf-8", "replace")
        unknown = values["model"].get("unk_token")
        marks = {
            number: text for number, text in vocabulary.items() if text == unknown or (number in added and added[number].get("special"))
        }
        for number in marks:
            spelled[number] = b""
        return cls(tuple(spelled), marks)

    def bytes_of(self, token: int) -> bytes:
        """What the token adds to the text; nothing for tokens beyond the vocabulary (some models have spare rows)."""
        return self.tokens[token] if token < len(self.tokens) else b""

    def name(self, token: int) -> str:
        """The token for a person: its text, or the name of a mark."""
        return self.marks.get(token) or self.bytes_of(token).decode("utf-8", "replace")


def _vocabulary(model: Mapping[str, Any]) -> dict[int, str]:
    """Numbers and strings of a tokenizer's model; a unigram's are listed with their scores."""
    listed = model.get("vocab") or {}
    if isinstance(listed, Mapping):
        return {int(number): text for text, number in listed.items()}
    return {number: entry[0] for number, entry in enumerate(listed)}


def _decoder(decoder: Mapping[str, Any] | None) -> Any:
    """A function from a token's string to its bytes."""
    steps = list(_steps(decoder))
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _from_printable
    replaced = [(step["pattern"].get("String", ""), step["content"]) for step in steps if step["type"] == "Replace"]
    if "Metaspace" in kinds:
        replaced += [(step.get("replacement", "▁"), " ") for step in steps if step["type"] == "Metaspace"]
    suffix = next((step.get("suffix", "</w>") for step in steps if step["type"] == "BPEDecoder"), "")
    prefix = next((step.get("prefix", "##") for step in steps if step["type"] == "WordPiece"), "")
    fallback = "ByteFallback" in kinds

    def decode(text: str) -> bytes:
        if fallback and (found := _BYTE.fullmatch(text)):
            return bytes([int(found[1], 16)])
        if suffix:
            text = text.removesuffix(suffix) + (" " if text.endswith(suffix) else "")
        if prefix:
            text = text.removeprefix(prefix) if text.startswith(prefix) else f" {text}"
        for pattern, content in replaced:
            text = text.replace(pattern, content) if pattern else text
        return text.encode("utf-8", "replace")

    return decode


def _steps(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The decoders of a sequence, or the one that there is."""
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for inner in decoder["decoders"]:
            yield from _steps(inner)
    else:
        yield decoder


def _from_printable(text: str) -> bytes:
    """The bytes that GPT-2's table of printable characters stands for; what is not in it, an added word, is itself."""
    table = _printable()
    if all(letter in table for letter in text):
        return bytes(table[letter] for letter in text)
    return text.encode("utf-8", "replace")


@functools.cache
def _printable() -> dict[str, int]:
    """Radford et al. (2019): a printable byte is its Latin-1 character, the others are U+0100 and up, in order."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
