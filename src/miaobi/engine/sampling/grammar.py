"""JSON schemas and regular expressions as constraints on decoding, whatever the tokenizer: llguidance says which tokens may follow.

Unusual: an answer is not only a beginning of JSON when the tokens run out. From time to time the shortest end is looked for, and as soon
as only it fits into `max_tokens`, it is what is written (`closing`). A hostile grammar cannot stop the house: llguidance counts its work
against a limit, without Python's lock, and who waits for it waits two seconds. Its algorithm is that of Earley over derivatives of regular
expressions (Moskal et al., https://github.com/guidance-ai/llguidance).
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from miaobi.core.errors import MiaobiError, MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.engine.sampling.spelling import Spelling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miaobi.engine.sampling.options import Sampling

SECONDS = 2.0  # the longest that anybody waits for a grammar
KEPT = 64  # prepared grammars of one vocabulary
AT_ONCE = 2  # preparations that run side by side
LONGEST_CLOSING = 400  # tokens that are looked ahead for an end
SPARE = 8  # tokens by which the last steps may lengthen the end
# Python's own spacing is what models have read most, and free spacing lets a small one write blanks to the end of its days
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_FREE = '%llguidance {"no_forcing": true}\n'  # the model chooses how it spells what the grammar prescribes

_gate = threading.BoundedSemaphore(AT_ONCE)
_lock = threading.Lock()
_prepared: WeakKeyDictionary[Spelling, OrderedDict[tuple[object, ...], Grammar]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class State:
    """Where a text stands in a grammar: `matcher` is never changed, but copied. `end` is the end that is being written, if it is."""

    matcher: Any
    left: int
    look: int
    end: tuple[int, ...] | None = None


class Grammar:
    """A `Constraint` of one grammar over one vocabulary; rows and beams share it. `shortest` is its shortest text in tokens, if found."""

    def __init__(self, matcher: Any, spelling: Spelling, *, size: int, end_tokens: Collection[int], max_tokens: int, json: bool) -> None:
        self._matcher, self._size, self._max_tokens = matcher, size, max_tokens
        self._spelling, self._end_tokens = spelling, sorted(end_tokens)
        self._lengths = [len(spelling.bytes_of(token)) for token in range(size)]
        known = {byte: spelling.tokens.index(byte) for byte in (b'"', b"}", b"]", b"0") if byte in spelling.tokens}
        self._outside = [known[byte] for byte in (b"}", b"]", b'"', b"0") if byte in known] if json else []
        self._inside = [known[byte] for byte in (b'"', b"}", b"]") if byte in known]

    def within(self, max_tokens: int) -> Grammar:
        """The same grammar for texts of at most so many tokens."""
        other = Grammar.__new__(Grammar)
        other.__dict__ = {**self.__dict__, "_max_tokens": max_tokens}
        return other

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
        mask = np.zeros(self._size, dtype=bool)
        mask[list(state.end[:1]) or self._end_tokens] = True
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
        mask = np.unpackbits(bits, count=self._size, bitorder="little").view(np.bool_)
        if not matcher.is_accepting():
            mask[self._end_tokens] = False  # llguidance ends a text that it cannot go on with
        if not mask.any() and "TooComplex" in matcher.stop_reason():
            raise MiaobiError("the grammar has become too much to follow: {reason}", reason=_reason(matcher.get_error()))
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
        for token in self._inside if num_possible * 2 > self._size else self._outside:
            if mask[token]:
                return token
        return int(np.where(mask, self._lengths, -1).argmax())


def grammar_of(options: Sampling, spelling: Spelling, *, size: int, end_tokens: Collection[int]) -> Grammar | None:
    """The constraint that the options ask for over a vocabulary of `size` tokens, prepared at most once; None when they ask for none.

    Raises:
        UsageError: the schema or the expression is wrong, not supported, too large, or nothing that the tokens spell can follow it.
        MissingExtra: llguidance is not installed.
    """
    if options.json_schema is None and not options.regex:
        return None
    text = options.regex or json.dumps({**(options.json_schema or {}), "x-guidance": SPACING}, ensure_ascii=False)
    key = (bool(options.regex), text, size, tuple(sorted(end_tokens)))
    with _lock:
        kept = _prepared.setdefault(spelling, OrderedDict())
        found = kept.get(key)
        if found is not None:
            kept.move_to_end(key)
            return found.within(options.max_tokens)
    matcher = _in_time(text, spelling, regex=bool(options.regex), size=size, end_tokens=end_tokens)
    found = Grammar(matcher, spelling, size=size, end_tokens=end_tokens, max_tokens=0, json=not options.regex)
    if not found._mask(matcher.deep_copy()).any():
        raise UsageError("no text that this model can spell follows the {kind}", kind=_kind(bool(options.regex)))
    with _lock:
        kept[key] = found
        while len(kept) > KEPT:
            kept.popitem(last=False)
    return found.within(options.max_tokens)


def _kind(regex: bool) -> str:
    return tr("regular expression") if regex else tr("JSON schema")


def _in_time(text: str, spelling: Spelling, *, regex: bool, size: int, end_tokens: Collection[int]) -> Any:
    """A fresh matcher, or an error after `SECONDS`; what is not ready by then comes to its own limit behind our back."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(_matcher(text, spelling, regex=regex, size=size, end_tokens=end_tokens))
        except Exception as error:
            outcome.append(error)
        finally:
            _gate.release()

    if _gate.acquire(timeout=SECONDS):
        thread = threading.Thread(target=work, name="grammar", daemon=True)
        thread.start()
        thread.join(SECONDS)
    if not outcome:
        raise UsageError("the {kind} takes more than {seconds:g} seconds to prepare. Make it simpler", kind=_kind(regex), seconds=SECONDS)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _matcher(text: str, spelling: Spelling, *, regex: bool, size: int, end_tokens: Collection[int]) -> Any:
    try:
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer
        from llguidance._tokenizer import TokenizerWrapper
    except ImportError:
        raise MissingExtra(tr("a JSON schema or a regular expression to follow"), "grammar", "llguidance") from None
    assert end_tokens, "a text that follows a grammar has to be able to end"
    tokenizer = LLTokenizer(TokenizerWrapper(_Vocabulary(spelling, size, end_tokens)), eos_token=sorted(end_tokens))
    limits = LLParserLimits(max_grammar_size=200_000, max_lexer_states=100_000)
    try:
        rule = _of_regex(LLMatcher.grammar_from_regex(text)) if regex else f"start: %json {text}"
        matcher = LLMatcher(tokenizer, _FREE + rule, log_level=0, limits=limits)
    except (ValueError, RecursionError) as error:
        raise UsageError("the {kind} cannot be followed: {reason}", kind=_kind(regex), reason=_reason(str(error))) from None
    if matcher.is_error():
        raise UsageError("the {kind} cannot be followed: {reason}", kind=_kind(regex), reason=_reason(matcher.get_error()))
    return matcher


def _of_regex(grammar: str) -> str:
    """The rule of an expression, its slashes and line breaks escaped, out of llguidance's own envelope."""
    rule: str = json.loads(grammar)["grammars"][0]["lark_grammar"]
    return rule


class _Vocabulary:
    """A vocabulary as llguidance wants it. It never has to tokenise: nothing is written ahead of the model."""

    def __init__(self, spelling: Spelling, size: int, end_tokens: Collection[int]) -> None:
        self.eos_token_id, self.bos_token_id = min(end_tokens), None
        self.tokens = [b"" if token in end_tokens else spelling.bytes_of(token) for token in range(size)]
        self.special_token_ids = sorted({*end_tokens, *(token for token in spelling.marks if token < size)})

    def __call__(self, text: bytes) -> list[int]:
        return []


def _reason(error: str) -> str:
    """llguidance's words without the grammar that they quote."""
    lines = [line.strip() for line in error.splitlines()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told or lines or [""])[0][:200]
