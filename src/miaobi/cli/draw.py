"""The half of `miaobi generate` that makes files: a bar while pictures, sounds, films or scores are made, and their paths printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.targets import Files
from miaobi.core.artifact import write_bytes
from miaobi.core.types import Content, Media, Modality, Progress

if TYPE_CHECKING:
    from miaobi.api import Loaded
    from miaobi.cli.keeping import Keeping
    from miaobi.cli.terminal import Output, Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is made: `n` contents for each prompt, `batched` when the model makes those of a prompt together."""

    prompts: Sequence[str]
    n: int
    batched: bool
    seed: int
    options: Mapping[str, Any]  # the arguments of `Loaded.stream`, `n` and the seed aside

    @property
    def count(self) -> int:
        """All contents."""
        return len(self.prompts) * self.n


def draw(loaded: Loaded, order: Order, targets: Files, output: Output, keeping: Keeping) -> int:
    """Write everything as soon as it is finished, so that Ctrl-C keeps it, then the contact sheet; print the paths."""
    made: list[tuple[Content, Path]] = []
    try:
        with output.progress() as tick:
            for number in range(len(order.prompts)):
                _draw_prompt(loaded, order, number, targets, made, tick, keeping)
    except KeyboardInterrupt:
        for _, path in made:
            output.news("written: {path}", path=path)
        raise
    contents = [content for content, _ in made]
    if targets.contact and contents:
        from miaobi.engine.contact import contact_sheet

        write_bytes(targets.contact, contact_sheet(contents).data)
    _report(made, targets.contact if contents else None, output)
    if made:
        output.news("model {model}, seed {seed}", model=loaded.card.name, seed=order.seed)
    return 0


def _draw_prompt(
    loaded: Loaded, order: Order, number: int, targets: Files, made: list[tuple[Content, Path]], tick: Tick, keeping: Keeping
) -> None:
    """The contents of prompt `number`. The bar counts the steps of all prompts together, so its time left is that of the whole order."""
    from miaobi import api

    phase = "drawing" if Modality.IMAGE in loaded.card.outputs else "making"
    calls = 1 if order.batched else order.n
    for chunk in keeping.each(loaded.stream(order.prompts[number], n=order.n, seed=order.seed, **order.options)):
        if isinstance(chunk, Progress):
            before = number * calls + (0 if order.batched else chunk.index)
            tick(phase, before * chunk.total + chunk.step, len(order.prompts) * calls * chunk.total)
        elif isinstance(chunk, Content):
            mime = next((part.mime for part in chunk.parts if isinstance(part, Media)), "")
            path = targets.path(number * order.n + chunk.label.index, mime)
            api.write(chunk, path)
            made.append((chunk, path))


def _report(made: Sequence[tuple[Content, Path]], contact: Path | None, output: Output) -> None:
    from miaobi.trust import label

    rows = [{"file": str(path), "label": label.to_dict(content.label), "aigc": label.implicit(content.label)} for content, path in made]
    paths = [path for _, path in made] + ([contact] if contact else [])
    value = {"contents": rows} | ({"contact": str(contact)} if contact else {})
    output.result(value, "\n".join(map(str, paths)))
