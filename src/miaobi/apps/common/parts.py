"""What is done of a film (or a long narration) that is not whole yet, in the folder `<name>.parts` beside it.

Everything in it has its name only when it is whole, so after Ctrl-C, kill -9 or a power cut the same command goes on with what is there.
What models made is kept by the request that made it; frames are kept as long as nothing that they show has changed. The folder goes when
the film is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import miaobi
from miaobi.core.apps import Desk, LoadedModel
from miaobi.core.artifact import explain_os_errors, new_folder, write_text
from miaobi.core.errors import ArtifactError, Busy, DataError
from miaobi.core.lock import taken
from miaobi.core.types import Content, Media, Modality, Part, canonical_json
from miaobi.engine import generate
from miaobi.trust import label

KEY, LABEL, LOCK = "key", "label.json", "lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a model made, the folder that keeps it, and whether it is new there."""

    content: Content
    folder: Path
    new: bool = True

    def medium(self) -> tuple[Media, Path] | None:
        """The first part that is no text, and its file."""
        parts = enumerate(self.content.parts)
        return next(((part, self.folder / str(number)) for number, part in parts if isinstance(part, Media)), None)


@contextlib.contextmanager
def alone_in(folder: Path, out: Path) -> Iterator[None]:
    """The folder, made where it is not there, for this process alone while it makes `out`.

    Raises:
        Busy: another process is making the same.
    """
    with explain_os_errors(out):
        folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        if taken(file):
            raise Busy("another process is making {path}. Wait for it or stop it", path=out)
        yield


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder."""

    folder: Path

    @classmethod
    @contextlib.contextmanager
    def of(cls, out: Path, desk: Desk) -> Iterator[Parts]:
        """The folder of what becomes `out`, for this process alone. After an error it stays if there is anything in it.

        Raises:
            Busy: another process is making the same.
        """
        parts = cls(out.with_name(f"{out.name}.parts"))
        with alone_in(parts.folder, out):
            try:
                yield parts
            except BaseException:
                if parts._holds_something():
                    desk.news("what is done so far is kept in {folder}; the same command goes on from there", folder=parts.folder)
                else:
                    shutil.rmtree(parts.folder, ignore_errors=True)
                raise
            shutil.rmtree(parts.folder, ignore_errors=True)

    def made(self, model: LoadedModel, prompt: str, *, seed: int, options: Mapping[str, Any]) -> Kept:
        """What the model makes of the request; as it was made before, when it was."""
        card = model.card
        key = key_of([card.name, card.source, card.runtime, prompt, seed, dict(options)])
        folder = self.folder / "made" / key
        with contextlib.suppress(OSError, ValueError, KeyError, ArtifactError, DataError):
            return Kept(_read(folder), folder, new=False)
        content = model.generate(prompt, seed=seed, **options)[0]
        with new_folder(folder, replace=True) as made:
            _write(content, made)
        return Kept(content, folder)

    def keyed(self, name: str, decides: object) -> Path:
        """The folder of that name, which is emptied first when what decides over it has changed."""
        folder, key = self.folder / name, key_of(decides)
        with contextlib.suppress(OSError):
            if (folder / KEY).read_text(encoding="utf-8") == key:
                return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(folder / KEY, key)
        return folder

    def _holds_something(self) -> bool:
        return any(path.is_file() and path.name not in (KEY, LOCK) and path.suffix != ".tmp" for path in self.folder.rglob("*"))


def key_of(decides: object) -> str:
    """What stands for plain values; another version of this program gives another."""
    return hashlib.sha256(canonical_json([miaobi.__version__, decides])).hexdigest()


def _write(content: Content, folder: Path) -> None:
    kinds = [[part.modality, part.mime, part.name] if isinstance(part, Media) else [] for part in content.parts]
    for number, part in enumerate(content.parts):
        (folder / str(number)).write_bytes(part.data if isinstance(part, Media) else part.encode())
    write_text(folder / LABEL, json.dumps({"parts": kinds, "label": label.to_dict(content.label)}, ensure_ascii=False))


def _read(folder: Path) -> Content:
    values, parts = json.loads((folder / LABEL).read_text(encoding="utf-8")), list[Part]()
    for number, kind in enumerate(values["parts"]):
        data = (folder / str(number)).read_bytes()
        parts.append(Media(modality=Modality(kind[0]), mime=kind[1], name=kind[2], data=data) if kind else data.decode())
    return generate.restored(tuple(parts), label.from_dict(values["label"]))
