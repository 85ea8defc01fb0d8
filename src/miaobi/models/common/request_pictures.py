"""The pictures of a request: parts of the user's turn, told apart by their names (`image`, `mask`, `style_image`)."""

from __future__ import annotations

from miaobi.core.errors import UsageError
from miaobi.core.types import Media, Modality, Request


def find_picture(request: Request, name: str = "image") -> Media | None:
    """The last picture of that name; for `image` also one without a name. None where there is none."""
    media = [part for turn in request.turns for part in turn.parts if isinstance(part, Media) and part.modality is Modality.IMAGE]
    named = [part for part in media if part.name == name]
    if not named and name == "image":
        named = [part for part in media if not part.name]
    return named[-1] if named else None


def picture_in(request: Request, name: str = "image") -> Media:
    """`find_picture` where there has to be one.

    Raises:
        UsageError: there is none.
    """
    found = find_picture(request, name)
    if found is None:
        raise UsageError("the request has no picture '{name}', which this model looks at", name=name)
    return found
