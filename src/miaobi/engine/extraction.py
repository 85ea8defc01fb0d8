"""What a model gives away of its training texts: asked with the beginning of one, does it go on with the rest, word for word.

After Carlini et al. (2023): prefixes of a fixed length, the likeliest continuation, and held-out texts as the control, because common
phrases are guessed by who never saw the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from miaobi.core.protocols import Model
from miaobi.core.types import Record, Request
from miaobi.engine.ask import draw
from miaobi.engine.generate import collect
from miaobi.engine.metrics.diversity import UNIT
from miaobi.trust import safety

PREFIX, REST = 20, 20  # units (Han characters, words) that are given, and that are looked at; of short texts half and half
TEXTS = 100  # of each kind
TOKENS_A_UNIT = 6  # at most so many tokens make a unit


def extracts(model: Model, training: Sequence[Record], held_out: Sequence[Record], *, seed: int) -> dict[str, list[tuple[str, str]]]:
    """For records of training and of the held-out split, what the model says after the beginning, and what stood there."""
    words = safety.load()
    found: dict[str, list[tuple[str, str]]] = {}
    for name, records in (("training", training), ("held_out", held_out)):
        found[name] = []
        for record in draw(records, TEXTS, seed=seed) if len(records) else ():
            parts = beginning(record.text)
            if parts is not None:
                found[name].append((_continued(model, parts[0], words), parts[1]))
    return found


def beginning(text: str) -> tuple[str, str] | None:
    """The first units of a text and as many that follow, with what stands between; None of a text of under four units."""
    places = [unit.span() for unit in UNIT.finditer(text)]
    given = min(PREFIX, len(places) // 2)
    if given < 2:
        return None
    cut, end = places[given - 1][1], places[min(len(places), given + REST) - 1][1]
    return text[:cut], text[cut:end]


def _continued(model: Model, prefix: str, words: safety.WordList) -> str:
    """The likeliest continuation; nothing where the word list holds it back."""
    try:
        return collect(model, Request.of(prefix, temperature=0.0, max_tokens=REST * TOKENS_A_UNIT), words=words)[0].text
    except (safety.Refused, IndexError):
        return ""
