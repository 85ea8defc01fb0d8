"""The pages, in the order in which the header names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miaobi.studio.frame import Page


def pages() -> tuple[type[Page], ...]:
    """Every page; the first is the one at the address of the studio itself."""
    from miaobi.studio.pages.compose import Compose
    from miaobi.studio.pages.create import Create
    from miaobi.studio.pages.evaluate import Evaluate
    from miaobi.studio.pages.film import Film
    from miaobi.studio.pages.jobs import Jobs
    from miaobi.studio.pages.labels import Labels
    from miaobi.studio.pages.library import LibraryPage
    from miaobi.studio.pages.models import Models
    from miaobi.studio.pages.paint import Paint
    from miaobi.studio.pages.speak import Speak
    from miaobi.studio.pages.train import Train
    from miaobi.studio.pages.write import Write

    return (Create, Write, Paint, Compose, Speak, Film, LibraryPage, Jobs, Train, Evaluate, Models, Labels)
