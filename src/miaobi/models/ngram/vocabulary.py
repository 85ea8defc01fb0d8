"""Text to token numbers and back for n-grams: the characters that occur, or the tokens of a `tokenizer.json`.

Two more numbers follow those of the vocabulary: `begin` and `end` enclose every text, whatever special tokens a tokenizer has.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import ArtifactError
from miaobi.engine.sampling.spelling import Spelling

Array = NDArray[Any]
NUM_CHARACTERS = 0x110000 - 0x800  # all code points but the surrogates
_BEGIN, _END = 0x110000, 0x110001  # no characters


class Characters:
    """The characters of a corpus in the order of their code points; the last token, `unknown`, is any of the `num_unknown` others."""

    def __init__(self, codes: Array) -> None:
        self.codes = codes
        self.size = len(codes) + 1
        self.unknown: int | None = len(codes)
        self.num_unknown = NUM_CHARACTERS - len(codes)
        self._numbers = {chr(code): number for number, code in enumerate(codes.tolist())}

    @classmethod
    def read(cls, texts: Iterable[str]) -> tuple[Characters, Array]:
        """The characters of the texts, and all their tokens (T,) between `begin` and `end`, in one pass of 4 bytes a character."""
        codes = array("I")
        for text in texts:
            codes.append(_BEGIN)
            codes.frombytes(text.encode("utf-32-le", "replace"))
            codes.append(_END)
        flat = np.frombuffer(codes, dtype=np.uint32)
        occurs = np.zeros(_BEGIN, dtype=bool)
        occurs[flat[flat < _BEGIN]] = True
        found = np.flatnonzero(occurs).astype(np.uint32)
        vocabulary = cls(found)
        numbers = np.zeros(_END + 1, dtype=np.int32)
        numbers[found] = np.arange(len(found))
        numbers[_BEGIN], numbers[_END] = vocabulary.size, vocabulary.size + 1
        return vocabulary, numbers[flat]

    def encode(self, text: str) -> list[int]:
        """A number for each character."""
        return [self._numbers.get(character, len(self.codes)) for character in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The characters; U+FFFD for the unknown one."""
        return "".join("\ufffd" if token == self.unknown else chr(self.codes[token]) for token in tokens)

    def spelling(self) -> Spelling:
        """What every token spells."""
        return self._spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of([*map(chr, self.codes.tolist()), "\ufffd"], marks=[len(self.codes)])


class Tokens:
    """The tokens of a `tokenizer.json`; `unknown`, if it has one, stands for `num_unknown` characters.

    Raises:
        ArtifactError: the definition is not one that the library `tokenizers` reads.
    """

    def __init__(self, definition: str) -> None:
        from tokenizers import Tokenizer

        self.definition = definition
        try:
            self._tokenizer = Tokenizer.from_str(definition)
            unknown = json.loads(definition)["model"].get("unk_token")
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ArtifactError("this is not a tokenizer.json: {error}", error=error) from None
        self.size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self.unknown: int | None = self._tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None
        self.num_unknown = NUM_CHARACTERS if self.unknown is not None else 0

    def read(self, texts: Iterable[str]) -> Array:
        """All tokens (T,) of the texts, each between `begin` and `end`."""
        numbers = array("i")
        remaining = iter(texts)
        while some := list(islice(remaining, 1000)):
            for encoding in self._tokenizer.encode_batch(some, add_special_tokens=False):
                numbers.extend((self.size, *encoding.ids, self.size + 1))
        return np.frombuffer(numbers, dtype=np.int32)

    def encode(self, text: str) -> list[int]:
        """The tokenizer's tokens, none of its special ones added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tokens."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def spelling(self) -> Spelling:
        """What every token spells."""
        return self._spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of_tokenizer(self.definition)
