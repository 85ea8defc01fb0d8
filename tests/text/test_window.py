"""A prompt longer than a model of our own reads: refused in words that help, or its end is read."""

from __future__ import annotations

import pytest

from miaobi.core.errors import UsageError
from miaobi.core.types import Record, Request
from miaobi.engine.generate import collect

pytest.importorskip("torch")

from miaobi.models.gpt.model import GPT


def test_a_longer_prompt_is_refused_or_its_end_is_read() -> None:
    model = GPT.create({"width": 16, "layers": 1, "heads": 1, "context": 16}, [Record(id="0", parts=("abcdefgh",))], seed=0)
    long = "abcdefgh" * 4
    with pytest.raises(UsageError, match=r"this model reads 16.*window=slide"):
        collect(model, Request.of(long))
    options = {"max_tokens": 3, "temperature": 0}
    slid = collect(model, Request.of(long, window="slide", **options))
    assert slid[0].text == collect(model, Request.of(long[-12:], **options))[0].text, "the mark of the beginning, 12 letters, room for 3"
    assert len(slid[0].text) == 3
    assert collect(model, Request.of("abc", window="slide", **options))[0].text == collect(model, Request.of("abc", **options))[0].text
