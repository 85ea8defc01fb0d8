"""A timeline as a file: read with the line of every key, so that whatever is wrong with it is told by line and field.

Two scenes that overlap, a picture that is missing, a voice that is longer than its scene show only when the film is put together; the
`Script` goes along until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miaobi.apps.common.timeline import Timeline
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import tr
from miaobi.core.recipe import read_yaml
from miaobi.core.schema import validate

Step = int | str
Place = tuple[Step, ...]  # a field's path: ("scenes", 2, "picture")
LARGEST = 4 << 20  # bytes of a timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A timeline, the folder that its files are in, and where its keys stand."""

    timeline: Timeline
    folder: Path
    name: str = ""
    text: str = field(default="", repr=False)  # as it was written
    lines: Mapping[Place, int] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path) -> Script:
        """The timeline of a YAML file.

        Raises:
            UsageError: no such file, not YAML, too large, a key twice, an unknown key, an impossible value.
        """
        values = _read(path)
        text = path.read_text(encoding="utf-8")
        lines = _lines(text, path)
        where = str(path)
        timeline = validate(Timeline, values, where, place=lambda location: _line_of(lines, location))
        return cls(timeline=timeline, folder=path.parent, name=where, text=text, lines=lines)

    @classmethod
    def of(cls, timeline: Timeline, folder: Path) -> Script:
        """A timeline that was made by a program."""
        import yaml

        text = yaml.safe_dump(timeline.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False)
        return cls(timeline=timeline, folder=folder, name=tr("timeline"), text=text)

    def path(self, file: str, place: Place) -> Path:
        """The file that a field names.

        Raises:
            UsageError: there is none.
        """
        path = self.folder / file
        if not path.is_file():
            raise self.at(place, UsageError("there is no file at {path}", path=path))
        return path

    def at(self, place: Place, error: MiaobiError) -> MiaobiError:
        """The error, told with the line and the field that it is about."""
        kind = UsageError if type(error) in (MiaobiError, UsageError) else type(error)
        return kind("{where}: {problem}", where=self.where(place), problem=error)

    def where(self, place: Place) -> str:
        """File, line and field, as messages begin."""
        dotted = ".".join(map(str, place))
        return f"{self.name}: {_line_of(self.lines, place)}'{dotted}'"


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UsageError("there is no file at {path}", path=path)
    if path.is_file() and path.stat().st_size > LARGEST:
        raise UsageError("{path} has more than {most} bytes, which no timeline has", path=path, most=LARGEST)
    return read_yaml(path)


def _line_of(lines: Mapping[Place, int], location: Sequence[Step]) -> str:
    """`line 7: ` for the nearest key above a location that stands in the file; pydantic's own words in between are stepped over."""
    place: Place = ()
    for step in location:
        if (*place, step) in lines:
            place = (*place, step)
    return tr("line {line}: ", line=lines[place]) if place in lines else ""


def _lines(text: str, path: Path) -> dict[Place, int]:
    """The line of every key and list item.

    Raises:
        UsageError: an alias is used.
    """
    import yaml

    found: dict[Place, int] = {(): 1}

    def walk(node: yaml.Node, place: Place) -> None:
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                found[*place, number] = item.start_mark.line + 1
                walk(item, (*place, number))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner: Place = (*place, str(key.value))
                found[inner] = key.start_mark.line + 1
                walk(value, inner)

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):  # a few lines can stand for a billion scenes
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise UsageError("{path}: line {line}: aliases (*{name}) are not read in a timeline", path=path, line=line, name=event.anchor)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None, "an empty file is no mapping"
    walk(root, ())
    return found
