"""Finished models on disk: an immutable folder whose manifest `miaobi.json` is written last and holds every file's SHA-256.

A folder without a manifest is unfinished, or a plain Hugging Face folder. Nothing here unpickles anything. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.errors import ArtifactError, DataError, MiaobiError, UsageError
from miaobi.core.types import canonical_json

MANIFEST = "miaobi.json"
ADAPTER = "adapter_config.json"  # in a folder that holds additions to another model instead of a model
FORMAT = 1
_IGNORED = frozenset({"__pycache__", ".git", ".cache"})
PLAIN = {  # folders that nobody sealed, by the file that tells them, and the family that loads them
    "model_index.json": "hf_diffusers",  # Hugging Face's own layout
    "grammar.yaml": "rules",
    "grammar.json": "rules",
    "config.json": "hf_transformers",  # when it names a model_type: other families have a config.json too
}
GGUF = ".gguf"  # llama.cpp's format: the whole model in one file
WEIGHTS = (".safetensors", GGUF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A sealed model folder. `sha256` is over the hashes of the files that generation depends on, so it names the model in labels."""

    folder: Path
    family: str
    name: str
    files: Mapping[str, Mapping[str, Any]]  # path -> {"sha256", "bytes"}
    sha256: str
    licence: str = ""
    base: str = ""
    data: tuple[str, ...] = ()

    @property
    def weights_sha256(self) -> str:
        """Over the hashes of the weights alone, which stay what they are when a graph joins them; "" where there are none."""
        weights = {name: entry["sha256"] for name, entry in self.files.items() if name.endswith(WEIGHTS)}
        return hashlib.sha256(canonical_json(weights)).hexdigest() if weights else ""

    def verify(self) -> None:
        """Read every file and compare its hash.

        Raises:
            ArtifactError: a file is missing or has other bytes than were sealed.
        """
        for name, entry in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise ArtifactError(
                    "artifact {folder}: the file {name} is missing. Fetch or train the model again", folder=self.folder, name=name
                )
            if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
                raise ArtifactError(
                    "artifact {folder}: {name} is damaged (its SHA-256 is not the sealed one). Fetch or train the model again",
                    folder=self.folder,
                    name=name,
                )


def seal(
    folder: Path,
    *,
    family: str,
    name: str,
    licence: str = "",
    base: str = "",
    data: tuple[str, ...] = (),
    describe: tuple[str, ...] = ("README.md", "eval.json"),
) -> Artifact:
    """Hash every file of `folder` and write the manifest last.

    Files named in `describe` are hashed but do not change the model's `sha256`: mending a card makes no other model.
    """
    files = _hashed(folder)
    manifest = {
        "format": FORMAT,
        "family": family,
        "name": name,
        "licence": licence,
        "base": base,
        "data": list(data),
        "describe": list(describe),
        "files": files,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return open_artifact(folder)


def open_artifact(folder: Path, *, verify: bool = False) -> Artifact:
    """The artifact in `folder`; `verify=True` also reads and hashes every file.

    Raises:
        ArtifactError: no folder, no manifest (an unfinished write), a damaged manifest, a newer format, or (verifying) a damaged file.
    """
    path = folder / MANIFEST
    if _is_gguf(folder):
        return _plain(folder, PLAIN["config.json"])
    if not folder.is_dir():
        raise ArtifactError("there is no model folder at {folder}. `miaobi models` lists what can be loaded", folder=folder)
    if not path.is_file() and (family := _plain_family(folder)):
        return _plain(folder, family)
    if not path.is_file():
        raise ArtifactError("{folder} holds no finished miaobi model: {manifest} is missing", folder=folder, manifest=MANIFEST)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        number = int(manifest["format"])
        if number < 1:
            raise ValueError(f"format {number}")
        if number > FORMAT:
            raise ArtifactError(
                "artifact {folder} has format {number}; this miaobi reads formats up to {known}. Update with: pip install --upgrade miaobi",
                folder=folder,
                number=number,
                known=FORMAT,
            )
        files = {str(key): {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])} for key, entry in manifest["files"].items()}
        if not all(map(_inside, files)):
            raise ValueError("a file outside the folder")
        describe = set(manifest.get("describe", ()))
        digest = hashlib.sha256(canonical_json({key: entry["sha256"] for key, entry in files.items() if key not in describe})).hexdigest()
        artifact = Artifact(
            folder=folder,
            family=str(manifest["family"]),
            name=str(manifest["name"]),
            files=files,
            sha256=digest,
            licence=str(manifest.get("licence", "")),
            base=str(manifest.get("base", "")),
            data=tuple(str(entry) for entry in manifest.get("data", ())),
        )
    except PermissionError:
        raise ArtifactError("no permission to read {path}", path=path) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError("artifact {folder}: {manifest} is damaged ({error})", folder=folder, manifest=MANIFEST, error=error) from None
    if verify:
        artifact.verify()
    return artifact


def is_model(folder: Path) -> bool:
    """Whether `open_artifact` opens it: a sealed model, or what another library made and a family loads as it is."""
    return (folder / MANIFEST).is_file() or _is_gguf(folder) or bool(_plain_family(folder))


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == GGUF and path.is_file()


def _plain_family(folder: Path) -> str:
    """The family that loads a folder in another library's layout; "" for none."""
    for index, family in PLAIN.items():
        if (folder / index).is_file() and (index != "config.json" or _names_a_model_type(folder / index)):
            return family
    return PLAIN["config.json"] if len(list(folder.glob(f"*{GGUF}"))) == 1 else ""


def _names_a_model_type(config: Path) -> bool:
    try:
        with config.open(encoding="utf-8") as file:
            values = json.loads(file.read(1 << 20))
        return isinstance(values, dict) and isinstance(values.get("model_type"), str)
    except (OSError, ValueError, RecursionError):
        return False


def _plain(folder: Path, family: str) -> Artifact:
    """What another library made and nobody sealed: its files are hashed now, so that labels name them all the same."""
    with explain_os_errors(folder):
        files = _hashed(folder, hash_of=_remembered) if folder.is_dir() else {folder.name: _entry(folder, _remembered)}
    digest = hashlib.sha256(canonical_json({name: entry["sha256"] for name, entry in files.items()})).hexdigest()
    name = folder.resolve().name if folder.is_dir() else folder.stem
    return Artifact(folder=folder, family=family, name=name, files=files, sha256=digest)


def _hashed(folder: Path, *, hash_of: Callable[[Path], str] | None = None) -> dict[str, dict[str, Any]]:
    """Hash and size of every file but the manifest, by path; what Python or git keeps there is none of the model's."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    kept = [name for name in names if not _IGNORED & set(name.parts)]
    return {name.as_posix(): _entry(folder / name, hash_of or file_sha256) for name in kept}


def _entry(path: Path, hash_of: Callable[[Path], str]) -> dict[str, Any]:
    return {"sha256": hash_of(path), "bytes": path.stat().st_size}


def _remembered(path: Path) -> str:
    """The hash of a file that nobody sealed: one command opens a model several times, and reads it once while it does not change."""
    state = path.stat()
    return _hash_of_state(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_of_state(path: Path, inode: int, size: int, changed: int) -> str:
    return file_sha256(path)


def _inside(name: str) -> bool:
    """Whether a manifest's path stays in its folder on every system."""
    return bool(name) and not name.startswith("/") and ".." not in name.split("/") and "\\" not in name and name[1:2] != ":"


@contextlib.contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A `<name>.tmp` folder beside `target` that becomes `target` when the block ends well; on an error nothing appears there.

    Raises:
        ArtifactError: `target` exists and `replace` is False.
    """
    temporary, old = target.with_name(target.name + ".tmp"), target.with_name(target.name + ".old")
    with explain_os_errors(target):
        if old.exists() and not target.exists():  # a kill came between the two renames below
            old.rename(target)
        if target.exists() and not replace:
            raise ArtifactError("{folder} exists already; choose another name or remove it", folder=target)
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            _open_up(temporary)
            sync_tree(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
        sync_folder(target.parent)


def _open_up(folder: Path) -> None:
    """Let whoever may read a folder read its files: some libraries (safetensors 0.8) make them for their owner alone."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode | (path.parent.stat().st_mode & 0o444))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` at once: after a crash it holds the old bytes or the new, never a mixture."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text with the line breaks that it has."""
    write_bytes(path, text.encode("utf-8"))


def read_bytes(path: Path, *, limit: int = 256 << 20) -> bytes:
    """The bytes of a file that a person named.

    Raises:
        UsageError: no such file, a folder, no permission, an impossible name.
        DataError: it has more bytes than `limit`.
    """
    with reading(path):
        size = path.stat().st_size
        if size > limit:
            raise DataError("{path} has {size:,} bytes; files up to {limit:,} are read", path=path, size=size, limit=limit)
        return path.read_bytes()


def read_text(path: Path, *, limit: int = 256 << 20) -> str:
    """The text of a file that a person named, its line breaks as they are; raises as `read_bytes`, and UsageError for what is not UTF-8."""
    try:
        return read_bytes(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("{path} is not UTF-8 text", path=path) from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that belongs to a model.

    Raises:
        ArtifactError: it is missing or damaged, or something else than an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError("{path} cannot be read ({error})", path=path, error=error) from None
    return values


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below `folder`."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says when a file that a person named cannot be read into a message that names it."""
    try:
        yield
    except FileNotFoundError:
        raise UsageError("there is no file at {path}", path=path) from None
    except IsADirectoryError:
        raise UsageError("{path} is a folder, not a file", path=path) from None
    except PermissionError:
        raise UsageError("no permission to read {path}", path=path) from None
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise UsageError("{path} cannot be read ({problem})", path=path, problem=error) from None


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into a message that names the path."""
    try:
        yield
    except Exception as error:
        number = _errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise MiaobiError(
                "the disk is full: {path} was not written. Free some space and run the same command again", path=path
            ) from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MiaobiError("no permission to write {path}. Choose another folder or mend its permissions", path=path) from None
        if number in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise MiaobiError("{path} cannot be written: a file is where a folder should be, or the reverse", path=path) from None
        if number == errno.ENAMETOOLONG:
            raise MiaobiError("{path} cannot be written: the name is too long", path=path) from None
        if number in (errno.ENOENT, errno.EINVAL, errno.ELOOP, errno.EIO):  # a place that takes no files, or is none any more
            raise MiaobiError("{path} cannot be written: {problem}", path=path, problem=os.strerror(number)) from None
        raise


def _errno(error: Exception) -> int | None:
    """The number of an operating-system error. Libraries in Rust (safetensors, tokenizers) give it in their message only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
