"""Trainings as the pages show them: recipes that are here, curves and samples of a run while it goes on."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr
from miaobi.studio import cards
from miaobi.studio.room import Room

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NEWEST = 12  # samples shown
MOST_RECIPES = 500


def recipes(room: Room) -> list[str]:
    """Recipes below the room's folder, by their paths."""
    found = [path for pattern in ("*.yaml", "recipes/**/*.yaml") for path in sorted(room.folder.glob(pattern))]
    named = [
        path for path in found[:MOST_RECIPES] if re.search(r"^model:", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    ]
    return [path.relative_to(room.folder).as_posix() for path in named]


def runs(room: Room) -> list[str]:
    """Names of the runs that have a log, the newest first."""
    found = sorted((room.folder / "runs").glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in found if SAFE.fullmatch(path.parent.name)]


def folder_of(room: Room, run: str) -> Path | None:
    """The folder of a run by its name."""
    return room.folder / "runs" / run if SAFE.fullmatch(run) else None


def sample_file(room: Room, run: str, name: str) -> Path | None:
    """A file that a training made as a sample."""
    folder = folder_of(room, run)
    if folder is None or not SAFE.fullmatch(name):
        return None
    path = folder / "samples" / name
    return path if path.is_file() and not path.is_symlink() else None


def curve(room: Room, run: str) -> str:
    """The losses over the steps as a drawing, with the newest figures above it; empty where there is no log yet."""
    from miaobi.engine.report.log import read_log
    from miaobi.engine.report.plot import lines, style

    folder = folder_of(room, run)
    if folder is None:
        return ""
    try:
        log = read_log(folder / "log.jsonl")
    except MiaobiError:
        return ""
    phases = [name for name in log.values if name.endswith("/loss")]
    series = [log.series(name, colour=number, label=name.removesuffix("/loss")) for number, name in enumerate(phases)]
    series = series or [log.series("loss", colour=0, label=tr("training"))]
    series.append(log.series("val_loss", colour=len(series), label=tr("held out")))
    drawn = [each for each in series if each.xs]
    if not drawn:
        return ""
    return f"<style>{style('#mb-curve')}</style>{_figures(log)}{lines(drawn, x_label=tr('step'), y_label=tr('loss'))}"


def _figures(log: Any) -> str:
    shown = (
        ("step", log.steps),
        ("loss", log.last("loss")),
        ("val_loss", log.last("val_loss")),
        ("units_per_second", log.typical("units_per_second")),
    )
    words = " · ".join(f"{html.escape(tr(name))} {value:,.4g}" for name, value in shown if value is not None)
    return f'<p class="mb-who">{words}</p>'


def samples(room: Room, run: str) -> list[cards.Card]:
    """What the model made on its way, the newest first."""
    folder = folder_of(room, run)
    if folder is None or not (folder / "samples.jsonl").is_file():
        return []
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").split("\n")[-NEWEST - 1 :]
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [_sample(run, row, number) for number, row in reversed(list(enumerate(rows)))]


def _sample(run: str, row: dict[str, Any], number: int) -> cards.Card:
    file = Path(str(row.get("file", ""))).name
    url = f"../runs/{run}/{file}"
    if file.endswith((".png", ".webp", ".jpg")):
        body = f'<img loading="lazy" src="{url}" alt="">'
    elif file.endswith((".wav", ".mp3")):
        body = f'<audio controls preload="none" src="{url}"></audio>'
    else:
        body = f'<div class="mb-text">{html.escape(str(row.get("text", file))).replace(chr(10), "<br>")}</div>'
    who = f"{tr('step')} {row.get('step')} · {row.get('prompt') or ', '.join(row.get('prompts', []))} · {tr('AI-generated')}"
    return cards.finished(
        f"{row.get('step')}-{number}", f'<article class="mb-card">{body}<p class="mb-who">{html.escape(who)}</p></article>'
    )
