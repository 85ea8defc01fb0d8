"""Words to search by: every Han character alone, everything else by words; so a Chinese query finds where its characters follow each other.

A database's own word splitters know no Chinese (SQLite takes a sentence for one word, and its trigrams cannot find words of two
characters). Texts are split here before they are stored, and a run of Han characters in a query becomes a phrase.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TERM = re.compile(rf"[{_HAN}]|[^\W_]+?(?=[{_HAN}]|[\W_]|$)")
_PHRASE = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")


def normalise(text: str) -> str:
    """Compatibility forms folded, lower case, traditional characters as simplified ones, no accents."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if re.search(f"[{_HAN}]", folded):
        folded = _simplifier().convert(folded)
    return "".join(letter for letter in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(letter))


def split(text: str) -> str:
    """The text as terms with spaces between.

    >>> split("中秋月夜, Café 2x")
    '中 秋 月 夜 cafe 2x'
    """
    return " ".join(_TERM.findall(normalise(text)))


def phrases(query: str) -> list[list[str]]:
    """What a text has to hold, each as terms that follow each other.

    >>> phrases("明月 red-apple")
    [['明', '月'], ['red'], ['apple']]
    """
    found = _PHRASE.findall(normalise(query))
    return [list(run) if re.match(f"[{_HAN}]", run) else [run] for run in found]


@functools.cache
def _simplifier() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


def index(session: Session, content: int, text: str) -> None:
    """Let the content of that number be found by a text, and by that of before no more."""
    if session.get_bind().dialect.name == "postgresql":
        statement = (
            "INSERT INTO terms (content, vector) VALUES (:content, to_tsvector('simple', :terms)) "
            "ON CONFLICT (content) DO UPDATE SET vector = excluded.vector"
        )
    else:
        statement = "INSERT OR REPLACE INTO terms (rowid, words) VALUES (:content, :terms)"
    session.execute(sa.text(statement), {"content": content, "terms": split(text)})


def matching(dialect: str, phrases: list[list[str]]) -> sa.Select[Any]:
    """The numbers of contents that hold all phrases."""
    if dialect == "postgresql":
        column = "content"
        tests = [
            sa.text(f"vector @@ phraseto_tsquery('simple', :phrase{place})").bindparams(**{f"phrase{place}": " ".join(phrase)})
            for place, phrase in enumerate(phrases)
        ]
    else:
        column = "rowid"
        query = " AND ".join('"' + " ".join(phrase) + '"' for phrase in phrases)  # a term holds no quotes
        tests = [sa.text("terms MATCH :query").bindparams(query=query)]
    return sa.select(sa.literal_column(column)).select_from(sa.text("terms")).where(*tests)
