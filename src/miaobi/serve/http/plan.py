"""Which path belongs to which area: the routing table as the house sees it, before any route is reached.

The house decides by this and not by what FastAPI matched, so that a path is guarded although no route may ever run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import compile_path

OPEN = "/health"  # needs no key and counts for no limit


@dataclass(frozen=True, slots=True)
class Place:
    """A route: its path with names for what varies, its scope (empty: any key), its methods."""

    template: str
    scope: str
    methods: frozenset[str] = frozenset()


class Plan:
    """All places of a server."""

    def __init__(
        self, routers: Iterable[tuple[APIRouter, str]], *, pages: Iterable[str] = (), mounts: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.places: list[Place] = [Place(path, "", frozenset({"GET"})) for path in pages]
        self.mounts = [Place(prefix, scope) for prefix, scope in mounts]
        for router, scope in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute), f"an area has plain routes only, not {route}"
                self.places.append(Place(route.path, scope, frozenset(route.methods or ())))
        self._found = [(compile_path(place.template)[0], place) for place in self.places]

    def place(self, path: str) -> Place | None:
        """The place of a path; None where there is nothing."""
        for pattern, place in self._found:
            if pattern.match(path):
                return place
        return self._mount(path)

    def is_mounted(self, path: str) -> bool:
        """Whether a path belongs to another app."""
        return self._mount(path) is not None

    def _mount(self, path: str) -> Place | None:
        return next((place for place in self.mounts if path == place.template or path.startswith(place.template + "/")), None)
