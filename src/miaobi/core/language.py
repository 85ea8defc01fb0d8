"""Messages in English and Chinese: `tr("English template {field}", field=1)`.

The English template is the key; the Chinese catalogues are the JSON files of `core/messages/zh/`, one for each layer. The language is
that of the reader where one process speaks to several (`speaking`), else `--lang`, else `MIAOBI_LANG`, else the locale's (`LC_ALL`,
`LC_MESSAGES`, `LANG`). A template without a translation is shown in English;
`tests/house/test_language.py` finds every template in the source and fails when one has no Chinese.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

CATALOGUES = Path(__file__).parent / "messages" / "zh"
LANGUAGES = ("en", "zh")
_chosen: str | None = None
_reader: ContextVar[str] = ContextVar("reader", default="")


def set_language(language: str | None) -> None:
    """Choose `en` or `zh` for this process; None goes back to the environment."""
    global _chosen
    _chosen = language


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak `en` or `zh` in this task or thread for the length of the block: a server's pages are read in both at once."""
    token = _reader.set(language)
    try:
        yield
    finally:
        _reader.reset(token)


def language() -> str:
    """The language of messages: `en` or `zh`."""
    if _reader.get() in LANGUAGES:
        return _reader.get()
    if _chosen in LANGUAGES:
        return _chosen
    for name in ("MIAOBI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def tr(template: str, /, **values: object) -> str:
    """The template in the chosen language, its `{named}` fields filled in."""
    if language() == "zh":
        template = _chinese().get(template, template)
    return template.format(**values) if values else template


def described(text: str | None) -> str:
    """A schema's docstring in the chosen language; the catalogues hold it on one line, however the source breaks it."""
    return tr(" ".join((text or "").split()))


@functools.cache
def _chinese() -> dict[str, str]:
    merged: dict[str, str] = {}
    for path in sorted(CATALOGUES.glob("*.json")):
        merged.update(json.loads(path.read_text(encoding="utf-8")))
    return merged
