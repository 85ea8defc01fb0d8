"""What `render` is told."""

from __future__ import annotations

from miaobi.core.schema import Schema


class Inputs(Schema):
    """A timeline, and whether a quick look at it is enough."""

    timeline: str
    """The timeline, a YAML file."""
    draft: bool = False
    """Half the size and 12 frames a second: a quick look."""
