"""Files of a model from a hub that speaks HTTP: what lies there at one revision, and each file with its hash, gone on with after a cut.

Two hubs of one shape, Hugging Face's and ModelScope's; `HF_ENDPOINT` and `MODELSCOPE_ENDPOINT` name mirrors. Only data is fetched: weights
in safetensors or GGUF, tokenizers, configurations, cards and licences; never code and never pickles.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, Any

from miaobi.core.artifact import explain_os_errors, file_sha256
from miaobi.core.errors import DataError, UsageError

OnBytes = Callable[[str, int, int], None]  # file, bytes that are here, bytes in all
SECONDS = 30  # without a byte, until a connection is given up
TRIES = 4
CHUNK = 1 << 20
MOST_FILES = 2000
WANTED = ("*.safetensors", "*.gguf", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "README.md", "LICENSE*", "LICENCE*", "NOTICE*")
UNWANTED = ("training_args*", "optimizer*", "*.py", "*.bin", "*.pt", "*.msgpack", "*.h5", "*.ckpt", "*onnx*")


class Unreachable(DataError):
    """The hub did not answer, or not to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where a hub is, and how its two answers are asked for."""

    name: str
    endpoint: str
    token: str
    listing: str
    file: str

    def url(self, pattern: str, **parts: str) -> str:
        """An address, its parts made safe."""
        return self.endpoint + pattern.format(**{name: urllib.parse.quote(part, safe="/") for name, part in parts.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file of a model at a hub."""

    path: str
    bytes: int
    sha256: str = ""


def hub(scheme: str) -> Hub:
    """The hub of `hf:` or `modelscope:`, or the mirror that the environment names.

    Raises:
        UsageError: a token that cannot be sent.
    """
    if scheme == "hf":
        return Hub(
            name="Hugging Face",
            endpoint=os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"),
            token=_token("HF_TOKEN"),
            listing="/api/models/{model}/revision/{revision}?blobs=true",
            file="/{model}/resolve/{revision}/{path}",
        )
    return Hub(
        name="ModelScope",
        endpoint=os.environ.get("MODELSCOPE_ENDPOINT", "https://modelscope.cn").rstrip("/"),
        token=_token("MODELSCOPE_API_TOKEN"),
        listing="/api/v1/models/{model}/repo/files?Revision={revision}&Recursive=true",
        file="/models/{model}/resolve/{revision}/{path}",
    )


def _token(name: str) -> str:
    """The token in a variable of the environment; one that cannot be sent would stand in the error's words."""
    token = os.environ.get(name, "").strip()
    if not (token.isascii() and token.isprintable()):
        raise UsageError("{name} has a line break or a letter that no token has; put it into the environment again", name=name)
    return token


def listed(where: Hub, model: str, revision: str) -> tuple[str, list[Listed]]:
    """The exact revision, and the files that a model consists of.

    Raises:
        UsageError: no such model or revision, or one that needs a token.
        Unreachable: the hub does not answer.
        DataError: it answers something else.
    """
    with _ask(where, where.url(where.listing, model=model, revision=revision)) as answer:
        text = answer.read(64 << 20)
    try:
        values: Any = json.loads(text)
        if "siblings" in values:
            found = [_hugging(entry) for entry in values["siblings"]]
            exact = str(values.get("sha") or revision)
        else:
            entries = values["Data"]["Files"]
            found = [_modelscope(entry) for entry in entries if entry.get("Type") != "tree"]
            exact = str(values["Data"].get("LatestCommitter", {}).get("Revision") or revision)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError("{hub} answered something that is no list of files of {model}", hub=where.name, model=model) from None
    if len(found) > MOST_FILES:
        raise DataError("{model} has {count} files; at most {most} are fetched", model=model, count=len(found), most=MOST_FILES)
    for file in found:
        _refuse_outside(file.path)
    return exact, [file for file in found if _is_wanted(file.path)]


def fetch(where: Hub, model: str, revision: str, file: Listed, folder: Path, *, on_bytes: OnBytes | None = None) -> Path:
    """The file in `folder`, gone on with where an earlier try was cut, and compared with the hub's hash.

    Raises:
        Unreachable: the hub does not answer, or not to the end, several times in a row.
        DataError: the bytes are not those that the hub lists.
    """
    target = folder / file.path
    if target.is_file() and target.stat().st_size == file.bytes:
        settled = _COMMIT.fullmatch(revision) or not file.sha256  # under the name of a branch may be other bytes by now
        if settled or file_sha256(target) == file.sha256:
            return target
    part = target.with_name(target.name + ".part")
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(TRIES):
            try:
                _receive(where, where.url(where.file, model=model, revision=revision, path=file.path), file, part, on_bytes)
                break
            except Unreachable:
                if attempt + 1 == TRIES:
                    raise
                time.sleep(min(2**attempt, 8) * _PAUSE)
        if (file.bytes and part.stat().st_size != file.bytes) or (file.sha256 and file_sha256(part) != file.sha256):
            part.unlink()
            raise DataError("{path} arrived damaged (its hash is not the registry's). Try again", path=file.path)
        part.replace(target)
    return target


_COMMIT = re.compile(r"[0-9a-f]{40}")
_PAUSE = 1.0  # seconds, for the first wait


def _receive(where: Hub, url: str, file: Listed, part: Path, on_bytes: OnBytes | None) -> None:
    """Bytes from where `part` ends to the end of the file."""
    begun = part.stat().st_size if part.is_file() else 0
    if file.bytes and begun >= file.bytes:
        return
    with _ask(where, url, **({"Range": f"bytes={begun}-"} if begun else {})) as answer:
        if begun and getattr(answer, "status", 200) != 206:  # the server begins anew
            begun = 0
        with part.open("ab" if begun else "wb") as out:
            try:
                while data := answer.read(CHUNK):
                    begun += len(data)
                    if file.bytes and begun > file.bytes:
                        raise DataError("{path} arrived damaged (its hash is not the registry's). Try again", path=file.path)
                    out.write(data)
                    if on_bytes is not None:
                        on_bytes(file.path, begun, file.bytes)
            except (OSError, HTTPException) as error:
                raise Unreachable("the connection broke while {path} came ({problem})", path=file.path, problem=_said(error)) from None
    if file.bytes and begun < file.bytes:
        raise Unreachable("the connection broke while {path} came ({problem})", path=file.path, problem=f"{begun:,} / {file.bytes:,}")


class _KeepsSecrets(urllib.request.HTTPRedirectHandler):
    """Follows to another host without the token, and never from HTTPS to HTTP or out of the web."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
            raise urllib.error.URLError(f"a redirect to {new.scheme}")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            found.remove_header("Authorization")
        return found


def _ask(where: Hub, url: str, **headers: str) -> Any:
    """The hub's answer, or an error that says what is wrong with the request or the way."""
    request = urllib.request.Request(url, headers={"User-Agent": "miaobi", **headers})
    if where.token:
        request.add_header("Authorization", f"Bearer {where.token}")
    try:
        return urllib.request.build_opener(_KeepsSecrets).open(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise UsageError(
                "{hub} wants to know who asks: the model is closed, or there is none of that name. Accept its terms on its page and put "
                "your token into HF_TOKEN or MODELSCOPE_API_TOKEN",
                hub=where.name,
            ) from None
        if error.code == 404:
            raise UsageError("{hub} has no such model, revision or file", hub=where.name) from None
        raise Unreachable("{hub} answers with the error {code}. Try again later", hub=where.name, code=error.code) from None
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        raise Unreachable(
            "{hub} cannot be reached ({problem}). Connect once; later runs work without", hub=where.name, problem=_said(error)
        ) from None


def _said(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)[:200]


def _hugging(entry: Any) -> Listed:
    large = entry.get("lfs") or {}
    return Listed(
        path=str(entry["rfilename"]), bytes=int(large.get("size") or entry.get("size") or 0), sha256=str(large.get("sha256") or "")
    )


def _modelscope(entry: Any) -> Listed:
    return Listed(path=str(entry["Path"]), bytes=int(entry.get("Size") or 0), sha256=str(entry.get("Sha256") or ""))


def _refuse_outside(path: str) -> None:
    """A list from elsewhere may name any path."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path or re.search(r"[\x00-\x1f]", path):
        raise DataError("the list of files names {path}, which is no file of the model", path=path)


def _is_wanted(path: str) -> bool:
    name = PurePosixPath(path).name
    shallow = path.count("/") <= 1  # a pipeline's parts are one folder deep; deeper are other formats
    return (
        shallow
        and _fits(name, WANTED)
        and not _fits(name, UNWANTED)
        and not _fits(path.split("/")[0], ("onnx", "openvino", "coreml", "original"))
    )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
