"""JSON schemas and regular expressions as constraints on decoding, whatever the tokenizer: llguidance says which tokens may follow.

Unusual: an answer is not only a beginning of JSON when the tokens run out. From time to time the shortest end is looked for, and as soon
as only it fits into `max_tokens`, it is what is written (`closing`). A hostile grammar cannot stop the house: it is tried in a process of
its own (`trial`), and who waits for it waits two seconds, aside, so that others begin. The algorithm is that of Earley over derivatives of
regular expressions (Moskal et al., https://github.com/guidance-ai/llguidance).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import tr
from miaobi.engine.sampling.guide import SPACING, Impossible, matcher_of, reason, tokenizer_of
from miaobi.engine.sampling.spelling import Spelling
from miaobi.engine.sampling.trial import CROWDED, trial
from miaobi.engine.sampling.turns import aside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miaobi.engine.sampling.options import Sampling

KEPT = 64  # prepared grammars of one vocabulary
LONGEST_CLOSING = 400  # tokens that are looked ahead for an end
SPARE = 8  # tokens by which the last steps may lengthen the end

_lock = threading.Lock()
_known: WeakKeyDictionary[Spelling, dict[tuple[object, ...], Vocabulary]] = WeakKeyDictionary()


class Crowded(MiaobiError):
    """Too many want a new grammar at once."""

    status = 429
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("too many schemas and expressions are being prepared. Try again in a second")


class Vocabulary:
    """What all grammars over one vocabulary share, and those that were prepared."""

    def __init__(self, spelling: Spelling, *, size: int, end_tokens: Collection[int]) -> None:
        import numpy as np

        self.size, self.end_tokens = size, sorted(end_tokens)
        self.tokenizer = tokenizer_of(spelling, size=size, end_tokens=end_tokens)
        self.lengths = np.array([len(spelling.bytes_of(token)) for token in range(size)])
        self.ends = {byte: spelling.tokens.index(byte) for byte in (b'"', b"}", b"]", b"0") if byte in spelling.tokens}
        self.prepared: OrderedDict[tuple[bool, str], Grammar] = OrderedDict()

    def find(self, key: tuple[bool, str]) -> Grammar | None:
        """A grammar that was prepared before."""
        found = self.prepared.get(key)
        if found is not None:
            self.prepared.move_to_end(key)
        return found

    def keep(self, key: tuple[bool, str], grammar: Grammar) -> None:
        """Keep one more, and let the one go that was wanted least lately."""
        self.prepared[key] = grammar
        while len(self.prepared) > KEPT:
            self.prepared.popitem(last=False)


@dataclass(frozen=True, slots=True)
class State:
    """Where a text stands in a grammar: `matcher` is never changed, but copied. `end` is the end that is being written, if it is."""

    matcher: Any
    left: int
    look: int
    end: tuple[int, ...] | None = None


class Grammar:
    """A `Constraint` of one grammar over one vocabulary; rows and beams share it. `shortest` is its shortest text in tokens, if found."""

    def __init__(self, matcher: Any, words: Vocabulary, *, max_tokens: int, json: bool) -> None:
        self._matcher, self._words, self._max_tokens, self._json = matcher, words, max_tokens, json
        self._outside = [words.ends[byte] for byte in (b"}", b"]", b'"', b"0") if byte in words.ends] if json else []
        self._inside = [words.ends[byte] for byte in (b'"', b"}", b"]") if byte in words.ends]

    def within(self, max_tokens: int) -> Grammar:
        """The same grammar for texts of at most so many tokens."""
        return Grammar(self._matcher, self._words, max_tokens=max_tokens, json=self._json)

    def start(self) -> State:
        """The state before the first token."""
        return self._watched(State(self._matcher.deep_copy(), self._max_tokens, self._max_tokens))

    def allowed(self, state: State) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (V,).

        Raises:
            MiaobiError: the grammar has become too much to follow.
        """
        import numpy as np

        if state.end is None:
            return self._mask(state.matcher)
        mask = np.zeros(self._words.size, dtype=bool)
        mask[list(state.end[:1]) or self._words.end_tokens] = True
        return mask

    def advance(self, state: State, token: int) -> State:
        """The state after an allowed token."""
        matcher = state.matcher.deep_copy()
        matcher.consume_token(token)
        end = state.end[1:] if state.end is not None else None
        return self._watched(State(matcher, state.left - 1, state.look, end))

    def _mask(self, matcher: Any) -> NDArray[np.bool_]:
        import numpy as np

        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, count=self._words.size, bitorder="little").view(np.bool_)
        if not matcher.is_accepting():
            mask[self._words.end_tokens] = False  # llguidance ends a text that it cannot go on with
        if not mask.any() and "TooComplex" in matcher.stop_reason():
            raise MiaobiError("the grammar has become too much to follow: {reason}", reason=reason(matcher.get_error()))
        return mask

    # ------------------------------------------------------------------ ends

    def _watched(self, state: State) -> State:
        """The state, with its end to write when nothing longer fits. It is looked for rarely while there is room to spare, then often."""
        if not self._outside or state.end is not None or state.left > state.look:
            return state
        end = self.closing(state.matcher)
        room = state.left if end is None else state.left - len(end) - 1 - SPARE
        return State(state.matcher, state.left, state.left - max(1, room // 3), end if room <= 0 else None)

    def closing(self, matcher: Any) -> tuple[int, ...] | None:
        """A short way to the end of the text: strings, lists and objects are closed as soon as they may be; None when none was found."""
        matcher, path = matcher.deep_copy(), list[int]()
        while not matcher.is_accepting():
            token = self._nearest_end(self._mask(matcher))
            if token is None or len(path) == LONGEST_CLOSING or not matcher.consume_token(token):
                return None
            path.append(token)
        return tuple(path)

    def _nearest_end(self, mask: NDArray[np.bool_]) -> int | None:
        """The token that closes what is open, else the longest one that may follow: what has to be written takes fewer of those."""
        import numpy as np

        num_possible = int(mask.sum())
        if not num_possible:
            return None
        # inside of a string nearly everything is allowed, a bracket too, and only the quotation mark ends it
        for token in self._inside if num_possible * 2 > self._words.size else self._outside:
            if mask[token]:
                return token
        return int(np.where(mask, self._words.lengths, -1).argmax())


def grammar_of(options: Sampling, spelling: Spelling, *, size: int, end_tokens: Collection[int]) -> Grammar | None:
    """The constraint that the options ask for over a vocabulary of `size` tokens, prepared at most once; None when they ask for none.

    Raises:
        UsageError: the schema or the expression is wrong, not supported, too much, or nothing that the tokens spell can follow it.
        Crowded: too many are being prepared.
        MissingExtra: llguidance is not installed.
    """
    if options.json_schema is None and not options.regex:
        return None
    text = options.regex or json.dumps({**(options.json_schema or {}), "x-guidance": SPACING}, ensure_ascii=False)
    words, key = _words(spelling, size, end_tokens), (bool(options.regex), text)
    with _lock:
        found = words.find(key)
    if found is None:
        with aside():
            found = _prepare(text, words, regex=bool(options.regex))
        with _lock:
            words.keep(key, found)
    return found.within(options.max_tokens)


def _words(spelling: Spelling, size: int, end_tokens: Collection[int]) -> Vocabulary:
    """The vocabulary, made once."""
    key = (size, *sorted(end_tokens))
    with _lock:
        known = _known.setdefault(spelling, {})
        if key not in known:
            known[key] = Vocabulary(spelling, size=size, end_tokens=end_tokens)
        return known[key]


def _prepare(text: str, words: Vocabulary, *, regex: bool) -> Grammar:
    kind = tr("regular expression") if regex else tr("JSON schema")
    problem = trial().problem(text, regex=regex)
    if problem == CROWDED:
        raise Crowded
    if problem:
        raise UsageError("the {kind} takes too much time or memory to prepare. Make it simpler", kind=kind)
    try:
        matcher = matcher_of(words.tokenizer, text, regex=regex)
    except Impossible as error:
        raise UsageError("the {kind} cannot be followed: {reason}", kind=kind, reason=str(error)) from None
    found = Grammar(matcher, words, max_tokens=0, json=not regex)
    if not found.allowed(State(matcher.deep_copy(), 0, 0)).any():
        raise UsageError("no text that this model can spell follows the {kind}", kind=kind)
    return found
