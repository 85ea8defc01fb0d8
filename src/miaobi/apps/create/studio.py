"""The folder of a work and its memory: `manifest.json` says of every part which inputs made it, so only what changed is made again.

A part is known by a key, the hash of everything that decides it: options, seeds, the model's SHA-256 and the hashes of the files before it.
It is made, its files stand whole under their names, then the manifest is replaced; a kill between the two costs one part. A file that a
person changed by hand is moved aside, never overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import miaobi
from miaobi.apps.create.schema import Inputs
from miaobi.core.artifact import explain_os_errors, file_sha256, write_bytes, write_text
from miaobi.core.errors import ArtifactError, Busy, UsageError
from miaobi.core.lock import taken
from miaobi.core.schema import validate
from miaobi.core.types import NOTHING, canonical_json

MANIFEST, LOCK, YOURS, FORMAT = "manifest.json", ".lock", "yours", "miaobi.create/1"
NOT_REMEMBERED = frozenset({"only"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A part of the work as the manifest remembers it: `picture-2` of the stage `picture`, the SHA-256 of its files, what made it."""

    part: str
    stage: str
    key: str
    files: Mapping[str, str]
    seconds: float = 0.0
    about: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def file(self) -> str:
        """Its first file."""
        return next(iter(self.files))


def key_of(stage: str, inputs: Mapping[str, Any]) -> str:
    """The hash of what decides a part."""
    return hashlib.sha256(canonical_json([FORMAT, stage, dict(inputs)])).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a manifest holds: the order, the parts in the order in which they were made, and why stages are missing."""

    order: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    parts: Mapping[str, Made] = field(default_factory=lambda: NOTHING)
    left_out: Mapping[str, str] = field(default_factory=lambda: NOTHING)


class Studio:
    """An open folder. `order` is what is asked now, over what was asked before."""

    def __init__(self, folder: Path, order: Inputs, memory: Memory) -> None:
        self.folder, self.order = folder, order
        self.parts = dict(memory.parts)
        self.left_out = dict(memory.left_out)

    def path(self, name: str) -> Path:
        """A file of the work."""
        return self.folder / name

    def begin(self, part: str) -> None:
        """Forget what a part was before its files are written anew: after a kill they are then nobody's, and not a person's changes."""
        if self.parts.pop(part, None) is not None:
            self.save()

    def known(self, part: str) -> Made | None:
        """The part, if all its files are there as they were written."""
        made = self.parts.get(part)
        whole = made is not None and all(_is(self.path(name), sha) for name, sha in made.files.items())
        return made if whole else None

    def keep(self, made: Made) -> Made:
        """Remember a part whose files are written."""
        self.parts[made.part] = made
        self.save()
        return made

    def forget(self, stage: str, parts: frozenset[str]) -> None:
        """Take out the parts of a stage that the work no longer has (a shorter poem has fewer pictures), with their files."""
        for part, made in list(self.parts.items()):
            if made.stage == stage and part not in parts:
                for name, sha in made.files.items():
                    if _is(self.path(name), sha):
                        self.path(name).unlink()
                        _sidecar(self.path(name)).unlink(missing_ok=True)
                del self.parts[part]
        self.save()

    def set_aside(self, part: str) -> list[str]:
        """Move files of the part that a person changed to names of their own; returns those names."""
        moved = []
        for name, sha in self.parts[part].files.items() if part in self.parts else ():
            path = self.path(name)
            if path.is_file() and file_sha256(path) != sha:
                new = next(free for number in range(1, 10_000) if not (free := path.with_stem(f"{path.stem}.edited-{number}")).exists())
                path.rename(new)
                moved.append(new.relative_to(self.folder).as_posix())
        return moved

    def take_back(self, before: Memory) -> None:
        """Remember what was asked before instead of what turned out to be wrong: an unknown style would fail every later call as well."""
        if not before.order and not self.parts:
            shutil.rmtree(self.folder / YOURS, ignore_errors=True)
            (self.folder / MANIFEST).unlink(missing_ok=True)  # the folder is as free as it was
            return
        for part, made in before.parts.items():  # the part that failed is there still, when nothing was written
            if part not in self.parts and all(_is(self.path(name), sha) for name, sha in made.files.items()):
                self.parts[part] = made
        kept = before.order or {"brief": self.order.brief, "seed": self.order.seed}
        self.order = validate(Inputs, {**kept, "replace": self.order.replace}, str(self.folder / MANIFEST))
        self.save()

    def save(self) -> None:
        """Replace the manifest."""
        order = self.order.model_dump(mode="json", exclude=set(NOT_REMEMBERED))
        parts = {name: {key: value for key, value in asdict_plain(made).items() if key != "part"} for name, made in self.parts.items()}
        values = {"format": FORMAT, "software": f"miaobi {miaobi.__version__}", "order": order, "left_out": self.left_out, "parts": parts}
        write_text(self.folder / MANIFEST, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def asdict_plain(made: Made) -> dict[str, Any]:
    """A part as values for JSON."""
    plain = {"files": dict(made.files), "about": dict(made.about)}
    return {name: plain.get(name, getattr(made, name)) for name in ("part", "stage", "key", "files", "seconds", "about")}


@contextlib.contextmanager
def open_studio(folder: Path, inputs: Inputs) -> Iterator[Studio]:
    """The folder of a new work, or of one that goes on, held for this process.

    Raises:
        UsageError: a file, a folder with other files in it, a new work without a brief, or another brief than the work's.
        ArtifactError: the manifest is damaged or of a newer format.
        Busy: another process works here.
        MiaobiError: no permission.
    """
    _check(folder)
    new = not folder.exists()
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("a") as file:
            if taken(file):
                raise Busy("another process works in {folder}. Wait for it or stop it", folder=folder)
            try:
                yield from _opened(folder, inputs)
            finally:
                (folder / LOCK).unlink(missing_ok=True)
                if new:
                    with contextlib.suppress(OSError):  # something was made
                        folder.rmdir()


def _opened(folder: Path, inputs: Inputs) -> Iterator[Studio]:
    """The folder with what is asked now, which is forgotten when it turns out to be wrong."""
    _sweep(folder)
    memory = remembered(folder / MANIFEST)
    order, before = _order(inputs, memory.order, folder), dict(memory.order.get("replace", {}))
    studio = Studio(folder, order.model_copy(update={"replace": before}), memory)
    studio.save()  # before a person's files are copied: after a kill they are part of a work
    studio.order = _adopted(order, inputs, folder)
    studio.save()
    for file in set(before.values()) - set(studio.order.replace.values()):
        (folder / file).unlink(missing_ok=True)
    try:
        yield studio
    except UsageError:
        studio.take_back(memory)
        raise


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError("{path} is a file; a work needs a folder", path=folder)
    if not folder.is_dir():
        return
    with explain_os_errors(folder):
        foreign = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not path.name.startswith("."))
    if foreign and MANIFEST not in foreign:
        names = ", ".join(foreign[:3]) + (" …" if len(foreign) > 3 else "")
        raise UsageError("{folder} holds other files ({names}); choose a new or an empty folder", folder=folder, names=names)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed here left half written."""
    for path in (*folder.glob(".film-*"), *folder.glob(".*.tmp"), *folder.glob("parts/.*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remembered(path: Path) -> Memory:
    """What the manifest says; nothing where there is none."""
    if not path.is_file():
        return Memory()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ArtifactError(
                "{path} is of the format {format}; this miaobi reads {known}", path=path, format=values["format"], known=FORMAT
            )
        parts = {name: Made(part=name, **{**made, "files": dict(made["files"])}) for name, made in values["parts"].items()}
        return Memory(order=dict(values["order"]), parts=parts, left_out=dict(values["left_out"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            "{path} is not a manifest of `miaobi create`, or is damaged ({problem}); choose another folder", path=path, problem=error
        ) from None


def _order(inputs: Inputs, remembered: Mapping[str, Any], folder: Path) -> Inputs:
    """What is asked now over what was asked before; a seed is drawn for a new work."""
    typed = inputs.model_dump(mode="json", include=set(inputs.model_fields_set))
    before = str(remembered.get("brief", ""))
    if before and typed.get("brief") and typed["brief"].strip() != before:
        raise UsageError("{folder} holds the work “{brief}”; choose another folder for another brief", folder=folder, brief=before)
    merged = {**remembered, **{key: value for key, value in typed.items() if key != "brief" or value.strip()}}
    merged["replace"] = {key: file for key, file in {**remembered.get("replace", {}), **typed.get("replace", {})}.items() if file}
    merged["brief"] = str(merged.get("brief", "")).strip()
    if not merged["brief"]:
        raise UsageError('the brief is empty: say what the work is about, such as "中秋月夜" or "a rainy harbour at night"')
    if merged.get("seed") is None:
        import secrets

        merged["seed"] = secrets.randbits(31)
    return validate(Inputs, merged, str(folder / MANIFEST))


def _adopted(order: Inputs, inputs: Inputs, folder: Path) -> Inputs:
    """The order with the person's files copied into the work's folder `yours`, so that it does not hang on files elsewhere."""
    own = dict(order.replace)
    for target, file in inputs.replace.items():
        if file:
            own[target] = f"{YOURS}/{target}{Path(file).suffix.lower()}"
            write_bytes(folder / own[target], Path(file).read_bytes())
    return order.model_copy(update={"replace": own})


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _sidecar(path: Path) -> Path:
    from miaobi.trust.label import sidecar

    return sidecar(path)
