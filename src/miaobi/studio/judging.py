"""What is done with a card: rated, chosen as the better one, forgotten. The cards that are shown come back with the change in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import UsageError
from miaobi.studio import cards

if TYPE_CHECKING:
    from miaobi.studio.room import Room

ME = ""  # the library of one person needs no names


def act(room: Room, shown: list[cards.Card], what: Mapping[str, Any], *, use: bool = False) -> list[cards.Card]:
    """Do what a card's button says.

    Raises:
        UsageError: an action that no card has, or a content that is not there.
    """
    id, action = str(what.get("id", "")), what.get("act")
    if action == "rate":
        room.library.rate(id, _number(what.get("value")), by=ME)
        return _renewed(room, shown, id, use)
    if action == "better":
        return _better(room, shown, id, use)
    if action == "remove":
        room.library.remove(id)
        return [card for card in shown if card["key"] != id]
    raise UsageError("a card cannot do '{action}'", action=action)


def _number(value: Any) -> int:
    return int(value) if str(value).isdecimal() else 0


def _renewed(room: Room, shown: list[cards.Card], id: str, use: bool) -> list[cards.Card]:
    """The cards with a new one for a content that has changed; what could be chosen stays to be chosen."""
    found = []
    for card in shown:
        fresh = card["key"] == id
        again = cards.card(room.library.get(id), better='data-act="better"' in card["html"], use=use) if fresh else card
        found.append(again)
    return found


def _better(room: Room, shown: list[cards.Card], id: str, use: bool) -> list[cards.Card]:
    """Choose one over all others that stand beside it to be chosen from."""
    others = [card["key"] for card in shown if 'data-act="better"' in card["html"] and card["key"] != id]
    for other in others:
        room.library.choose(id, other, by=ME)
    beside = {id, *others}
    return [
        cards.card(room.library.get(card["key"]), chosen=card["key"] == id, use=use) if card["key"] in beside else card for card in shown
    ]
