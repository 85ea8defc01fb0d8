"""A language model in eight or four bits a weight, and what that costs in bits per character, by the very graph that will write.

Weights are rounded in groups, activations as the graph rounds them; so the loss is measured by stepping through the graph, token after
token, and not on a model that only resembles it. The unrounded graph goes the same way, and the two are compared in pairs.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

import numpy as np

from miaobi.core.artifact import MANIFEST, Artifact, new_folder, seal, write_text
from miaobi.core.errors import UsageError
from miaobi.core.protocols import Model
from miaobi.core.types import Record
from miaobi.engine.metrics import Figure
from miaobi.engine.metrics.confidence import difference, ratio
from miaobi.engine.sampling.stepper import Stepper

REPORT, SCHEMA = "quantise.json", "miaobi.quantise/1"
FORMS: Mapping[int, str] = {8: "int8", 4: "int4"}
ROWS = 32  # sequences that step side by side
Sequences = Sequence[tuple[Sequence[int], Sequence[bool]]]
OnProgress = Callable[[str, int, int | None], None]


@runtime_checkable
class Steppable(Model, Protocol):
    """A model of tokens that becomes a graph, and can say what it reads of a record."""

    codec: Any

    def graph(self, folder: Path, form: str, *, group: int | None = None) -> Stepper:
        """Write the graph of that form beside the saved weights in `folder`, and step through it."""
        ...

    def sequences(self, records: Sequence[Record], /) -> Sequences:
        """The ids of each record, and which of them count."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One form of the model: the bytes of its graph and what it needs for a character."""

    form: str
    bytes: int
    figure: Figure


def quantise(
    model: Model,
    artifact: Artifact,
    records: Sequence[Record],
    out: Path,
    *,
    bits: int = 4,
    group: int | None = None,
    weights: bool = False,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Write the rounded model into the new folder `out`, and return what `quantise.json` there says of it.

    Args:
        records: held-out text to measure on.
        group: weights that share a scale (16, 32 or 64); by default 32 in four bits, and what divides the matrices in eight.
        weights: also keep the unrounded weights, for learning on and for other formats.

    Raises:
        UsageError: a family without such a graph, or no text to measure on.
        ArtifactError: `out` exists.
    """
    if not isinstance(model, Steppable):
        raise UsageError("family '{name}' cannot be quantised", name=model.card.family)
    sequences = [(ids, counted) for ids, counted in model.sequences(records) if any(counted[1:])]
    if not sequences:
        raise UsageError("there is no held-out text to measure on; name some with --data")
    with new_folder(out) as folder:
        shutil.copytree(artifact.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST, "onnx", "onnx_*"))
        with TemporaryDirectory() as place:
            model.save(Path(place))
            found = _measured(model, Path(place), folder, sequences, bits=bits, group=group, seed=seed, on_progress=on_progress)
        if not weights:
            for path in folder.glob("*.safetensors"):
                path.unlink()
        report = _report(found, artifact, bits=bits, group=group, seed=seed)
        write_text(folder / REPORT, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
        (folder / "eval.json").unlink(missing_ok=True)  # it is of the unrounded model, as its card is
        write_text(folder / "README.md", _card(report, out.name, artifact))
        seal(
            folder,
            family=artifact.family,
            name=out.name,
            licence=artifact.licence,
            base=f"{artifact.name}@{artifact.sha256}",
            data=artifact.data,
            describe=("README.md", REPORT),
        )
    return report


def _measured(
    model: Steppable,
    place: Path,
    folder: Path,
    sequences: Sequences,
    *,
    bits: int,
    group: int | None,
    seed: int,
    on_progress: OnProgress | None,
) -> list[Measured]:
    """The unrounded graph and the rounded one; the latter's file goes into `folder`."""
    found = []
    for form in ("fp32", FORMS[bits]):
        stepper = model.graph(place, form, group=group if form != "fp32" else None)
        costs = list(stepped_bits(stepper, sequences, on_progress=partial(_tell, on_progress, form, len(sequences))))
        lengths = [_characters(model.codec, ids, counted) for ids, counted in sequences]
        files = sorted((place / "onnx").iterdir())
        figure = ratio(costs, lengths, seed=seed, unit="bits/character", better="lower")
        found.append(Measured(form=form, bytes=sum(path.stat().st_size for path in files), figure=figure))
        if form != "fp32":
            shutil.copytree(place / "onnx", folder / "onnx")
        shutil.rmtree(place / "onnx")
    return found


def _tell(on_progress: OnProgress | None, form: str, total: int, done: int) -> None:
    if on_progress is not None:
        on_progress(form, done, total)


def _characters(codec: Any, ids: Sequence[int], counted: Sequence[bool]) -> int:
    """How many characters the counted ids spell; of what is no text, how many there are."""
    chosen = [number for number, is_counted in zip(ids[1:], counted[1:]) if is_counted]
    return max(1, len(codec.text(chosen))) if hasattr(codec, "text") else len(chosen)


def stepped_bits(stepper: Stepper, sequences: Sequences, *, on_progress: Callable[[int], None] | None = None) -> Iterator[float]:
    """-log2 p of the counted ids of each sequence, in order, by feeding them one after the other."""
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place][0]))  # rows that step together are about as long
    found: dict[int, float] = {}
    for start in range(0, len(order), ROWS):
        places = order[start : start + ROWS]
        found |= dict(zip(places, _rows_bits(stepper, [sequences[place] for place in places]), strict=True))
        if on_progress is not None:
            on_progress(len(found))
    yield from (found[place] for place in range(len(sequences)))


def _rows_bits(stepper: Stepper, rows: Sequences) -> list[float]:
    """The bits of rows that step side by side, the longest first; those that are over leave."""
    totals = [0.0] * len(rows)
    logits = stepper.start([[ids[0]] for ids, _ in rows])
    alive = len(rows)
    for place in range(1, len(rows[0][0])):
        staying = next((row for row, (ids, _) in enumerate(rows) if len(ids) <= place), len(rows))
        if staying < alive:
            stepper.reorder(range(staying))
            logits, alive = logits[:staying], staying
        scores = np.asarray(logits, dtype=np.float64)
        scores = scores - scores.max(axis=-1, keepdims=True)
        normed = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))  # (alive, V)
        tokens = [int(rows[row][0][place]) for row in range(alive)]
        for row, token in enumerate(tokens):
            if rows[row][1][place]:
                totals[row] -= float(normed[row, token]) / math.log(2)
        if place + 1 < len(rows[0][0]):
            logits = stepper.step(tokens)
    return totals


def _report(found: Sequence[Measured], artifact: Artifact, *, bits: int, group: int | None, seed: int) -> dict[str, Any]:
    """What was measured, as plain values."""
    before, after = found
    return {
        "schema": SCHEMA,
        "base": {"name": artifact.name, "source": artifact.sha256},
        "bits": bits,
        "group": group,
        "forms": {one.form: {"bytes": one.bytes, "bits_per_character": one.figure.to_dict()} for one in found},
        "difference": difference(after.figure, before.figure, seed=seed).to_dict(),
        "smaller": round(before.bytes / after.bytes, 2),
    }


def _card(report: Mapping[str, Any], name: str, artifact: Artifact) -> str:
    """The model card: what it was made of, and what the rounding cost."""
    rows = [
        f"| {form} | {one['bytes']:,} | {one['bits_per_character']['value']:.4f} |".replace(",", "\u202f")
        for form, one in report["forms"].items()
    ]
    gap = report["difference"]
    front = f"---\nlicense: {artifact.licence.lower()}\nbase_model: {artifact.name}\n---\n\n" if artifact.licence else ""
    group = f", in groups of {report['group']}" if report["group"] else ""
    return (
        f"{front}# {name}\n\nThe model `{artifact.name}` (SHA-256 {artifact.sha256[:12]}) with weights of {report['bits']} bits{group}. "
        f"Its own card says what it was trained on and what it is for.\n\n| graph | bytes | bits per character |\n|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nThe difference is {gap['value']:+.4f} bits per character ({gap['low']:+.4f} to {gap['high']:+.4f}, 95 %), "
        f"over {gap['count']} held-out records.\n"
    )
