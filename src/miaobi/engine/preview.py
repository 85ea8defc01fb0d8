"""What a model makes while it still learns: the recipe's prompts with the weights of now; pictures as one sheet, sounds as files."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from miaobi.core.protocols import Model
from miaobi.core.types import Media, Modality, Piece, Record, Request
from miaobi.engine.ask import Abstainer, Prompter

if TYPE_CHECKING:
    from miaobi.core.recipe import Generate
    from miaobi.engine.journal import Journal

MOST_RECORDS = 8  # held-out ones that are asked for where the recipe has no prompts


def preview(
    model: Model, section: Generate, records: Sequence[Record], journal: Journal, step: int, *, inputs: Container[str] = frozenset()
) -> None:
    """Generate and keep it in the journal. Media go through the door like all others, so that what is kept is labelled.

    `inputs` are what the model's family takes beside a prompt.
    """
    asked = requests(model, section, records, inputs=inputs)
    if not asked:
        return
    if Modality.IMAGE in model.card.outputs:
        _pictures(model, asked, journal, step)
        return
    if Modality.TEXT not in model.card.outputs:
        _media(model, asked, journal, step)
        return
    for request in asked:
        text = "".join(chunk.part for chunk in model.generate(request) if isinstance(chunk, Piece) and isinstance(chunk.part, str))
        journal.sample(step, request.prompt, text)


def requests(model: Model, section: Generate, records: Sequence[Record], *, inputs: Container[str] = frozenset()) -> list[Request]:
    """What is asked: the prompts; without any, what the first held-out records would have answered, or their pictures to look at.

    A model that draws nothing of its own is shown pictures, whatever the prompts are, or asked nothing.
    """
    abstains = isinstance(model, Abstainer) and bool(model.abstains())
    asked = [] if abstains else [Request.of(prompt) for prompt in section.prompts]
    shown = records[:MOST_RECORDS]
    if not asked and not abstains and isinstance(model, Prompter):
        asked = [request for request in map(model.request_for, shown) if request is not None]
    elif not asked and "image" in inputs:
        asked = [Request.of(("", replace(part, name="image"))) for record in shown for part in record.parts if isinstance(part, Media)]
    return [
        replace(request, seed=section.seed + number, options=MappingProxyType({**request.options, **section.options}))
        for number, request in enumerate(asked or ([] if abstains else [Request.of("")]))
    ]


def _media(model: Model, asked: Sequence[Request], journal: Journal, step: int) -> None:
    """Sounds, scores and films, one file each."""
    from miaobi.engine.generate import collect
    from miaobi.trust.safety import compile_words

    for request in asked:
        for content in collect(model, request, words=compile_words([])):
            journal.media(step, request.prompt, [part for part in content.parts if isinstance(part, Media)])


def _pictures(model: Model, asked: Sequence[Request], journal: Journal, step: int) -> None:
    from miaobi.engine.contact import contact_sheet
    from miaobi.engine.generate import collect
    from miaobi.trust.safety import compile_words

    nothing = compile_words([])  # a listed word among the prompts is no reason to stop a training
    rows = [collect(model, request, words=nothing) for request in asked]
    sheet = contact_sheet([content for row in rows for content in row], columns=len(rows[0]) if len(rows) > 1 and len(rows[0]) > 1 else 0)
    journal.pictures(step, [request.prompt for request in asked], sheet.data)
