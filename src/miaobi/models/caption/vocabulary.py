"""The tokens of captions: every character, and Latin words that occur often with the blank before them.

What is rare is spelled, so nothing that its letters allow is out of reach, and joining the tokens gives the text back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.engine.sampling.spelling import Spelling

NAME = "vocabulary.json"
SPECIAL = ("<end>", "<zh>", "<en>")  # the marks of the languages begin a caption
END = 0
_PIECE = re.compile(r" ?[A-Za-z]+|.", re.DOTALL)


class Vocabulary:
    """Numbers of tokens, and back."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._numbers = {token: number for number, token in enumerate(self.tokens) if number >= len(SPECIAL)}

    @classmethod
    def fit(cls, texts: Iterable[str], *, min_count: int) -> Vocabulary:
        """All characters of the texts, and their words that occur `min_count` times."""
        pieces = Counter(piece for text in texts for piece in _PIECE.findall(text))
        characters = sorted({character for piece in pieces for character in piece})
        words = sorted(piece for piece, count in pieces.items() if len(piece) > 1 and count >= min_count)
        return cls([*SPECIAL, *characters, *words])

    def __len__(self) -> int:
        return len(self.tokens)

    def begin(self, language: str) -> int:
        """The mark that a caption in this language begins with."""
        return SPECIAL.index(f"<{language}>")

    def encode(self, text: str) -> list[int]:
        """Numbers of a text; a character that no training caption had is left out."""
        numbers: list[int] = []
        for piece in _PIECE.findall(text):
            known = [piece] if piece in self._numbers else piece
            numbers += [self._numbers[part] for part in known if part in self._numbers]
        return numbers

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of numbers; marks vanish."""
        return "".join(self.tokens[number] for number in numbers if number >= len(SPECIAL))

    def spelling(self) -> Spelling:
        """What every token spells."""
        return self._spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of(self.tokens, marks=range(len(SPECIAL)))

    def save(self, folder: Path) -> None:
        """Write `vocabulary.json`."""
        write_text(folder / NAME, json.dumps(self.tokens, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """What `save` wrote.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        path = folder / NAME
        try:
            tokens = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(tokens, list) or tuple(tokens[: len(SPECIAL)]) != SPECIAL:
                raise ValueError("no list of tokens")
        except (OSError, ValueError) as error:
            raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
        return cls(tokens)
