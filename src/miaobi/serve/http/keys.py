"""Keys of the server: random, shown once, kept as SHA-256 in `keys.json` of the home folder, each with scopes and limits.

A plain hash is enough because a key is 256 random bits: there is nothing to guess by a dictionary. The file is read again as soon as it
changes, so a key that is removed is refused by the next request. `MIAOBI_API_KEY` is one more key, for containers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from miaobi.core.artifact import read_text, write_text
from miaobi.core.errors import DataError, UsageError, unknown
from miaobi.core.home import home

SCOPES = {  # what a key may be for; `app.AREAS` says which routes each opens
    "models": "see which models are served",
    "text": "chat, completions, responses, embeddings, moderations",
    "media": "pictures, speech, music, films and works of many parts",
    "files": "files and batches",
    "studio": "the studio's pages",
    "metrics": "figures and readiness",
}
EVERYTHING = frozenset(SCOPES)
VARIABLE = "MIAOBI_API_KEY"
SHORTEST = 16  # of a key that a person chose
FORMAT = 1
_KEY = re.compile(r"sk-miaobi-([0-9a-f]{8})-[A-Za-z0-9_-]{43}")
_NOBODY = "0" * 64  # what an unknown id is compared with, so that it takes as long as a known one


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key, without what opens it. Limits of 0 are the server's own, or none."""

    id: str
    name: str
    sha256: str = field(repr=False)
    scopes: frozenset[str] = EVERYTHING
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent: int = 0
    created: str = ""
    expires: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for people: all but the hash."""
        return {name: value for name, value in _plain(self).items() if name != "sha256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: a key, or an address where no key is needed. `id` is what limits count by and logs show."""

    id: str
    scopes: frozenset[str] = EVERYTHING
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent: int = 0


CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


class Keys:
    """The keys of one file, and the one of the environment."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "keys.json"
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        chosen = os.environ.get(VARIABLE, "")
        if chosen and (len(chosen) < SHORTEST or not chosen.isascii() or not chosen.isprintable()):
            raise UsageError("{variable} should be {count} ASCII characters or more", variable=VARIABLE, count=SHORTEST)
        self._chosen = _hash(chosen) if chosen else ""

    def __bool__(self) -> bool:
        return bool(self._chosen or self.all())

    def all(self) -> list[Key]:
        """Every key of the file, the oldest first.

        Raises:
            DataError: the file is damaged. A server that runs then lets nobody in.
        """
        self._read()
        return list(self._keys.values())

    def add(self, name: str = "", *, scopes: Iterable[str] = (), days: float = 0, **limits: int) -> tuple[Key, str]:
        """A new key, and what opens it, which nobody can find out later.

        Raises:
            UsageError: an unknown scope.
        """
        chosen = frozenset(scopes) or EVERYTHING
        for scope in sorted(chosen - EVERYTHING):
            raise unknown("scope", scope, SCOPES)
        id = secrets.token_hex(4)
        secret = f"sk-miaobi-{id}-{secrets.token_urlsafe(32)}"
        expires = _time(datetime.now(UTC).timestamp() + days * 86400) if days else ""
        key = Key(id=id, name=name, sha256=_hash(secret), scopes=chosen, created=_time(), expires=expires, **limits)
        self._write({**{known.id: known for known in self.all()}, id: key})
        return key, secret

    def remove(self, id: str) -> Key:
        """Forget a key, by its id or its name.

        Raises:
            UsageError: nobody has it, or several have that name.
        """
        known = {key.id: key for key in self.all()}
        found = [key for key in known.values() if id in (key.id, key.name)]
        if not found:
            raise unknown("API key", id, known)
        if len(found) > 1:
            raise UsageError(
                "{count} keys are called '{name}'; remove by id: {ids}", count=len(found), name=id, ids=", ".join(key.id for key in found)
            )
        del known[found[0].id]
        self._write(known)
        return found[0]

    def caller(self, authorization: str) -> Caller | None:
        """Who sends this `Authorization` header: `Bearer KEY`, or `Basic` with the key as password, as browsers ask for it."""
        secret = _secret(authorization)
        match = _KEY.fullmatch(secret)
        self._read()
        key = self._keys.get(match[1]) if match else None
        known = hmac.compare_digest(_hash(secret), key.sha256 if key else _NOBODY)
        chosen = hmac.compare_digest(_hash(secret), self._chosen or _NOBODY)
        if chosen:
            return Caller(id="environment")
        if key is None or not known or (key.expires and key.expires <= _time()):
            return None
        limits = {name: getattr(key, name) for name in ("requests_per_minute", "tokens_per_minute", "concurrent")}
        return Caller(id=key.id, scopes=key.scopes, **limits)

    def _read(self) -> None:
        """Read the file if it is another than last time."""
        try:
            stat = self.path.stat()
        except OSError:
            self._stamp, self._keys = None, {}
            return
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            self._keys = _parsed(self.path)
            self._stamp = stamp

    def _write(self, keys: Mapping[str, Key]) -> None:
        """Replace the file; only its owner may read it."""
        values = {"format": FORMAT, "keys": [_plain(key) for key in keys.values()]}
        write_text(self.path, json.dumps(values, ensure_ascii=False, indent=2) + "\n")
        if os.name == "posix":
            self.path.chmod(0o600)


def _parsed(path: Path) -> dict[str, Key]:
    try:
        values = json.loads(read_text(path))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']}")
        keys = [Key(**entry | {"scopes": frozenset(entry["scopes"])}) for entry in values["keys"]]
        if not all(len(key.sha256) == 64 and isinstance(key.expires, str) for key in keys):
            raise ValueError("sha256")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("{path} is not a file of keys ({problem}); mend it or remove it", path=path, problem=error) from None
    return {key.id: key for key in keys}


def _secret(authorization: str) -> str:
    """What was sent as a key; empty when nothing was."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return value.strip() if scheme.lower() == "bearer" else ""


def _plain(key: Key) -> dict[str, Any]:
    return asdict(replace(key, scopes=frozenset())) | {"scopes": sorted(key.scopes)}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _time(seconds: float | None = None) -> str:
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
