"""What a run writes about itself: `log.jsonl` row by row, TensorBoard by choice, samples, and a plot of the loss at the end.

Texts that were sampled are rows of `samples.jsonl`; pictures are sheets in `samples/`, sounds and the like files of their own there, and
the rows name them.

A row is one `write` of one line, so kill -9 can cut at most the last one; a resumed run drops the rows of steps that it will do again.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miaobi.core.artifact import explain_os_errors, write_bytes, write_text
from miaobi.core.errors import MissingExtra
from miaobi.core.types import Media
from miaobi.trust.media import suffix_of

LOG, SAMPLES, HELD_OUT, PLOT = "log.jsonl", "samples.jsonl", "held-out.jsonl", "loss.svg"
SHEETS = "samples"  # the folder of sampled pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEvent:
    """What a training tells its watcher. `kind`: start, step, evaluate, sample, checkpoint, warning, done."""

    kind: str
    step: int
    total: int
    values: Mapping[str, Any] = field(default_factory=dict)


OnEvent = Callable[[TrainEvent], None]


class Journal:
    """The log of one run of `total` steps, told to `on_event` as well."""

    def __init__(self, folder: Path, total: int, *, on_event: OnEvent | None = None, tensorboard: bool = False) -> None:
        self.folder, self.total = folder, total
        self._on_event = on_event or (lambda event: None)
        self._board = _board(folder) if tensorboard else None

    def begin(self, step: int) -> None:
        """Forget rows behind `step`: a new run has none, a resumed one writes them again."""
        for name in (LOG, SAMPLES, HELD_OUT):
            path = self.folder / name
            if path.is_file():
                rows = [line for line in path.read_text(encoding="utf-8").split("\n") if line.endswith("}")]
                kept = [line for line in rows if step and json.loads(line)["step"] <= step]
                write_text(path, "".join(line + "\n" for line in kept))
        for sheet in (self.folder / SHEETS).glob("step-*"):
            if sheet.name > _sheet(step):
                sheet.unlink()

    def tell(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Tell the watcher only."""
        self._on_event(TrainEvent(kind=kind, step=step, total=self.total, values=values))

    def log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write a row of figures and tell the watcher."""
        self._append(LOG, {"kind": kind, "step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        self.tell(kind, step, values)

    def each(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """Keep what was measured of every held-out record, so that two steps can be tested in pairs."""
        self._append(HELD_OUT, {"step": step, **{name: [float(f"{value:.6g}") for value in found] for name, found in values.items()}})

    def sample(self, step: int, prompt: str, text: str) -> None:
        """Keep what the model writes at this step."""
        self._append(SAMPLES, {"step": step, "prompt": prompt, "text": text})
        if self._board is not None:
            self._board.add_text(prompt or "sample", text, step)
        self.tell("sample", step, {"prompt": prompt, "text": text})

    def pictures(self, step: int, prompts: Sequence[str], sheet: bytes) -> None:
        """Keep what the model draws at this step: one labelled PNG of all prompts' pictures."""
        path = self.folder / SHEETS / _sheet(step)
        write_bytes(path, sheet)
        self._append(SAMPLES, {"step": step, "prompts": list(prompts), "file": path.relative_to(self.folder).as_posix()})
        if self._board is not None:
            from miaobi.data import pictures

            self._board.add_image("samples", pictures.over(pictures.decode(sheet)), step, dataformats="HWC")
        self.tell("sample", step, {"prompt": ", ".join(filter(None, prompts)), "text": str(path)})

    def media(self, step: int, prompt: str, parts: Sequence[Media]) -> None:
        """Keep what the model says, plays or films at this step: a labelled file for each part."""
        made = len(list((self.folder / SHEETS).glob(f"{_sheet(step)[:-4]}-*")))
        for number, part in enumerate(parts, made + 1):
            path = self.folder / SHEETS / f"{_sheet(step)[:-4]}-{number}{suffix_of(part.mime)}"
            write_bytes(path, part.data)
            self._append(SAMPLES, {"step": step, "prompt": prompt, "file": path.relative_to(self.folder).as_posix()})
            self.tell("sample", step, {"prompt": prompt, "text": str(path)})

    def finish(self) -> None:
        """Draw `loss.svg` and close TensorBoard's file."""
        from miaobi.engine.report.log import loss_plot

        if (self.folder / LOG).is_file():
            loss_plot(self.folder / LOG, self.folder / PLOT)
        if self._board is not None:
            self._board.close()

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.folder / name
        with explain_os_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The whole rows of a run's evaluations, in order; none where there is no log."""
    return [row for row in rows_of(run / LOG) if row["kind"] == "evaluate"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a log; none where there is no log."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _sheet(step: int) -> str:
    return f"step-{step:06d}.png"


def _board(folder: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtra("train.tensorboard", "train", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
