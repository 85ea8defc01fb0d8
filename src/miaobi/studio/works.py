"""Works of `create` and films in the room's folder `works`: what there is of each by now, part by part.

A work's manifest says which parts are finished while the others are still being made, so a page that reads it again and again shows every
stage as it comes. Only files that a manifest names are ever sent.
"""

from __future__ import annotations

import html
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.studio import cards
from miaobi.studio.room import Room

MANIFEST = "manifest.json"
PAGE, WHOLE = "index.html", "all.zip"
SAFE = re.compile(r"[\w][\w.-]{0,99}")
LONGEST_NAME = 24
SENT = (
    ".mp4",
    ".webm",
    ".wav",
    ".mp3",
    ".flac",
    ".ogg",
    ".srt",
    ".vtt",
    ".yaml",
    ".json",
    ".png",
    ".jpg",
)  # films and edits have no manifest
ORDER = ("film", "poem", "cover", "picture", "music", "narration")  # what is looked at first stands first


def new_name(brief: str) -> str:
    """A folder's name for a new work: the day, the first words, and letters that make it the only one."""
    words = "-".join(re.findall(r"\w+", brief))[:LONGEST_NAME].strip("-") or "work"
    return f"{datetime.now(UTC):%Y%m%d}-{words}-{secrets.token_hex(2)}"


def folder_of(room: Room, name: str) -> Path:
    """The folder of a work.

    Raises:
        UsageError: no work has such a name.
    """
    if not SAFE.fullmatch(name):
        raise UsageError("there is no work '{name}'", name=name[:100])
    return room.works / name


def works(room: Room) -> list[tuple[str, str]]:
    """Titles and names of all works, the newest first."""
    if not room.works.is_dir():
        return []
    found = [path for path in room.works.iterdir() if (path / MANIFEST).is_file()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [(f"{order_of(path).get('brief') or path.name} · {path.name}", path.name) for path in found]


def order_of(folder: Path) -> dict[str, Any]:
    """What was asked for in a work's folder; nothing where it cannot be read."""
    return dict(_manifest(folder).get("order") or {})


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _parts(folder: Path) -> dict[str, Mapping[str, Any]]:
    parts = _manifest(folder).get("parts")
    return {name: made for name, made in parts.items() if isinstance(made, dict)} if isinstance(parts, dict) else {}


def files_of(room: Room, name: str) -> dict[str, Path]:
    """The files of a work that its manifest names, or that a rendered film consists of."""
    if not SAFE.fullmatch(name):
        return {}
    folder = room.works / name
    names = [file for made in _parts(folder).values() for file in made.get("files", {})]
    names += [path.name for path in folder.glob("*") if path.is_file() and path.suffix in SENT]
    inside = folder.resolve()
    return {file: folder / file for file in names if (folder / file).resolve().is_relative_to(inside)}


def ways(room: Room, name: str) -> str:
    """Links to what a finished work is as a whole: its page, its film, and everything in one file."""
    files = files_of(room, name)
    film = next((file for part, made in _parts(folder_of(room, name)).items() if part == "film" for file in made.get("files", {})), "")
    found = []
    if PAGE in files:
        found.append(
            f'<a class="mb-way" href="../works/{name}/{PAGE}" target="_blank" rel="noopener">{html.escape(tr("Open its page"))}</a>'
        )
    if film:
        found.append(f'<a href="../works/{name}/{film}" download>{html.escape(tr("Download the film"))}</a>')
    if files:
        found.append(f'<a href="../works/{name}/{WHOLE}" download>{html.escape(tr("Download everything (zip)"))}</a>')
    return f'<p class="mb-ways">{"".join(found)}</p>' if found else ""


def part_cards(room: Room, name: str) -> list[cards.Card]:
    """What there is of a work, the film first; narrations are heard in the film and stand last."""
    folder = folder_of(room, name)
    parts = _parts(folder)
    poster = f"../works/{name}/cover.png" if "cover" in parts else ""
    found = [_card(name, part, made, poster) for part, made in parts.items()]
    left_out = _manifest(folder).get("left_out") or {}
    missing = [_left_out(stage, str(reason)) for stage, reason in left_out.items()]
    ordered = sorted((each for each in found if each is not None), key=lambda each: _place(each["key"]))
    return [*ordered, *missing]


def _place(part: str) -> tuple[int, str]:
    stage = part.partition("-")[0]
    return (ORDER.index(stage) if stage in ORDER else len(ORDER), part)


def _card(work: str, part: str, made: Mapping[str, Any], poster: str) -> cards.Card | None:
    """A part as a card; the scenes' list and the page are not looked at here."""
    files, about = list(made.get("files", {})), made.get("about", {})
    version = next(iter(made.get("files", {}).values()), "")[:12]
    body = _body(work, files, about, version, poster)
    if not body:
        return None
    who = " · ".join(str(value) for value in (about.get("by"), about.get("prompt"), tr("AI-generated")) if value)
    title = tr("cover") if part == "cover" else " ".join(filter(None, (tr(str(made.get("stage", part))), part.partition("-")[2])))
    links = "".join(f'<a href="../works/{work}/{file}" download>{html.escape(Path(file).suffix)}</a>' for file in files if "/" not in file)
    code = (
        f'<article class="mb-card mb-part mb-part-{made.get("stage")}" tabindex="0"><h3>{html.escape(title)}</h3>{body}'
        f'<footer><p class="mb-who">{html.escape(who)}</p><div class="mb-acts">{links}</div></footer></article>'
    )
    return cards.finished(part, code)


def _body(work: str, files: list[str], about: Mapping[str, Any], version: str, poster: str) -> str:
    """The first file that can be shown, or the text."""
    if "text" in about:
        lines = html.escape(str(about["text"])).replace("\n", "<br>")
        return f'<div class="mb-text"><b>{html.escape(str(about.get("title", "")))}</b><br>{lines}</div>'
    for file in files:
        url = f"../works/{work}/{file}?v={version}"
        match Path(file).suffix:
            case ".png" | ".jpg" | ".webp":
                return f'<img loading="lazy" src="{url}" alt="{html.escape(str(about.get("prompt", about.get("title", ""))))}">'
            case ".mp3" | ".wav":
                return f'<audio controls preload="none" src="{url}"></audio>'
            case ".mp4" | ".webm":
                return f'<video controls preload="metadata" poster="{poster}" src="{url}"></video>'
    return ""


def _left_out(stage: str, reason: str) -> cards.Card:
    words = tr("left out: {stage} ({reason})", stage=tr(stage), reason=reason)
    return cards.finished(f"left-out-{stage}", f'<p class="mb-card mb-note">{html.escape(words)}</p>')
