"""llguidance's side of a grammar: a vocabulary as it wants one, and a matcher with limits.

Its limits bound what a matcher does for a token, not what preparing one takes: `trial` finds out, in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.engine.sampling.spelling import Spelling

# Python's own spacing is what models have read most, and free spacing lets a small one write blanks to the end of its days
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_FREE = '%llguidance {"no_forcing": true}\n'  # the model chooses how it spells what the grammar prescribes
MOST_GRAMMAR, MOST_STATES = 200_000, 100_000


class Impossible(Exception):
    """llguidance cannot follow the grammar, and says why."""


def tokenizer_of(spelling: Spelling, *, size: int, end_tokens: Collection[int]) -> Any:
    """The vocabulary for `matcher_of`.

    Raises:
        MissingExtra: llguidance is not installed.
    """
    try:
        from llguidance import LLTokenizer
        from llguidance._tokenizer import TokenizerWrapper
    except ImportError:
        raise MissingExtra(tr("a JSON schema or a regular expression to follow"), "grammar", "llguidance") from None
    return LLTokenizer(TokenizerWrapper(_Vocabulary(spelling, size, end_tokens)), eos_token=sorted(end_tokens))


def matcher_of(tokenizer: Any, text: str, *, regex: bool) -> Any:
    """A fresh matcher of an expression, or of a schema as JSON.

    Raises:
        Impossible: it cannot be followed.
    """
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(max_grammar_size=MOST_GRAMMAR, max_lexer_states=MOST_STATES)
    try:
        rule = _of_regex(LLMatcher.grammar_from_regex(text)) if regex else f"start: %json {text}"
        matcher = LLMatcher(tokenizer, _FREE + rule, log_level=0, limits=limits)
    except (ValueError, RecursionError) as error:
        raise Impossible(reason(str(error))) from None
    if matcher.is_error():
        raise Impossible(reason(matcher.get_error()))
    return matcher


def reason(error: str) -> str:
    """llguidance's words without the grammar that they quote."""
    lines = [line.strip() for line in error.splitlines()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told or lines or [""])[0][:200]


def _of_regex(grammar: str) -> str:
    """The rule of an expression, its slashes and line breaks escaped, out of llguidance's own envelope."""
    rule: str = json.loads(grammar)["grammars"][0]["lark_grammar"]
    return rule


class _Vocabulary:
    """A vocabulary as llguidance wants it. It never has to tokenise: nothing is written ahead of the model."""

    def __init__(self, spelling: Spelling, size: int, end_tokens: Collection[int]) -> None:
        assert end_tokens, "a text that follows a grammar has to be able to end"
        self.eos_token_id, self.bos_token_id = min(end_tokens), None
        self.tokens = [b"" if token in end_tokens else spelling.bytes_of(token) for token in range(size)]
        self.special_token_ids = sorted({*end_tokens, *(token for token in spelling.marks if token < size)})

    def __call__(self, text: bytes) -> list[int]:
        return []
