"""Options refuse what cannot be meant, with a message that says so."""

from __future__ import annotations

import math
from typing import Any

import pytest

from miaobi.core.errors import UsageError
from miaobi.core.language import set_language
from miaobi.core.schema import validate
from miaobi.engine.sampling.options import Sampling

NUMBERS = [name for name, info in Sampling.model_fields.items() if info.annotation in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, math.nan, math.inf, -math.inf, 10**18, -(10**18), "many", None, []])
def test_every_number_is_bounded_and_is_a_number(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        validate(Sampling, {name: value}, "options")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": 4, "top_p": 0.9}, "beam search draws nothing, so top_p cannot be set"),
        ({"beams": 4, "temperature": 0.7, "top_k": 3}, "so temperature, top_k cannot be set"),
        ({"beams": 2, "n": 3}, "3 texts from 2 beams"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens 9 is above max_tokens 8"),
        ({"temperature": 1e-5}, "at least 0.01"),
        ({"logit_bias": {"-1": 2.0}}, "token numbers"),
        ({"logit_bias": {"moon": 2.0}}, "logit_bias"),
        ({"logit_bias": {"3": 1e9}}, "logit_bias"),
        ({"logit_bias": {"3": True}}, "token numbers"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": ["x" * 201]}, "stop"),
        ({"early_stopping": "soon"}, "early_stopping"),
        ({"top_q": 0.5}, "Did you mean 'top_p'"),
    ],
)
def test_contradictions_and_typing_errors_are_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validate(Sampling, values, "options")


def test_a_contradiction_is_explained_in_chinese() -> None:
    set_language("zh")
    try:
        with pytest.raises(UsageError, match="束搜索不做随机抽取"):
            validate(Sampling, {"beams": 4, "top_p": 0.9}, "options")
    finally:
        set_language(None)


def test_what_a_label_repeats_is_accepted_again() -> None:
    """A label holds every option, defaults too; a replay must not take them for a contradiction."""

    class Bold(Sampling):
        temperature: float = 1.3
        top_p: float = 0.95

    first = validate(Bold, {"beams": 3, "logit_bias": {5: 1.0}, "temperature": 0}, "options")
    assert validate(Bold, first.model_dump(mode="json"), "options") == first
