"""A timeline as a table of scenes, and back: what the table does not show stays in the YAML as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from miaobi.core.errors import UsageError

COLUMNS = ("picture", "card", "narration", "caption", "seconds", "move", "transition")
TELLING = ("card", "caption", "narration")  # the columns that hold words
SHORT = {"picture": "file", "clip": "file", "card": "text", "narration": "text", "caption": "text", "move": "kind", "transition": "kind"}
FILMS = (".mp4", ".webm", ".mov", ".mkv", ".gif")
BEGINNING = """version: 1
size: landscape
scenes:
  - card: 中秋月夜
    seconds: 3
    transition: fade
"""


def parsed(text: str) -> dict[str, Any]:
    """The timeline's YAML as values.

    Raises:
        UsageError: it is no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("the timeline is not YAML: {problem}", problem=" ".join(str(error).split())[:300]) from None
    if not isinstance(values, dict):
        raise UsageError("the timeline is no mapping of keys and values")
    return values


def rows(text: str) -> list[list[Any]]:
    """Its scenes as rows of the table."""
    scenes = parsed(text).get("scenes")
    return [[_cell(scene, column) for column in COLUMNS] for scene in scenes or () if isinstance(scene, dict)]


def title_of(text: str) -> str:
    """The first words that a film shows or says, else what its first picture is of; empty for what is no timeline."""
    try:
        scenes = parsed(text).get("scenes")
    except UsageError:
        return text
    told = [scene for scene in scenes or () if isinstance(scene, dict)] if isinstance(scenes, list) else []
    for column in TELLING:
        for scene in told:
            if words := str(_cell(scene, column)).strip():
                return words.splitlines()[0]
    asked = (scene.get("picture", scene.get("clip")) for scene in told)
    return next((str(thing["prompt"]) for thing in asked if isinstance(thing, dict) and thing.get("prompt")), "")


def _cell(scene: Mapping[str, Any], column: str) -> Any:
    value = scene.get("clip", scene.get("picture")) if column == "picture" else scene.get(column)
    if isinstance(value, dict):
        value = value.get(SHORT.get(column, ""), "")
    return "" if value is None else str(value)


def written(text: str, table: Sequence[Sequence[Any]]) -> str:
    """The timeline with the table's scenes in it.

    Raises:
        UsageError: a length that is no number.
    """
    values = parsed(text)
    before = [scene for scene in values.get("scenes") or () if isinstance(scene, dict)]
    scenes = []
    for number, row in enumerate(table):
        cells = dict(zip(COLUMNS, row))
        if not any(str(cell or "").strip() for cell in cells.values()):
            continue
        scenes.append(_scene(before[number] if number < len(before) else {}, cells))
    return yaml.safe_dump({**values, "scenes": scenes}, allow_unicode=True, sort_keys=False, width=120)


def _scene(before: Mapping[str, Any], cells: Mapping[str, Any]) -> dict[str, Any]:
    """A scene with what its row says; a mapping that has more keys than the table shows keeps them."""
    scene = dict(before)
    for column, cell in cells.items():
        words = "" if cell is None else str(cell).strip()
        key = column
        if column == "picture":
            scene.pop("clip" if not words.lower().endswith(FILMS) else "picture", None)
            key = "clip" if words.lower().endswith(FILMS) else "picture"
        if not words:
            if not (isinstance(scene.get(key), dict) and SHORT.get(key, "") not in scene[key]):  # made by a model: nothing to show
                scene.pop(key, None)
        elif key == "seconds":
            scene[key] = _number(words)
        elif isinstance(scene.get(key), dict):
            scene[key] = {**scene[key], SHORT[key]: words}
        else:
            scene[key] = words
    return scene


def _number(words: str) -> float:
    try:
        return float(words)
    except ValueError:
        raise UsageError("the length of a scene is a number of seconds, not '{value}'", value=words) from None


def with_files(text: str, names: Sequence[str]) -> str:
    """The timeline with a scene more for each picture or clip."""
    scenes = [[name, "", "", "", "", "zoom-in" if not name.lower().endswith(FILMS) else "", "dissolve"] for name in names]
    table = [*rows(text), *scenes]
    return written(text, table)


def with_music(text: str, name: str) -> str:
    """The timeline with this music, if it has none."""
    values = parsed(text)
    return yaml.safe_dump({**values, "music": values.get("music") or name}, allow_unicode=True, sort_keys=False, width=120)
