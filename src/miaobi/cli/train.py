"""`miaobi train RECIPE`: prepares the data when it is not there, trains, and names the finished model; Ctrl-C and kill -9 lose no work."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.cli.recipes import machine_arguments, recipe_arguments, recipe_of, seed_argument
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output, Tick
    from miaobi.engine.journal import TrainEvent
    from miaobi.engine.train import TrainResult

RESUME = ("--resume",)


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The recipe, where to, and on what."""
    recipe_arguments(parser)
    parser.add_argument("--run", type=Path, metavar="FOLDER", help=tr("the run's folder (default: runs/NAME)"))
    parser.add_argument("--resume", action="store_true", help=tr("go on from the last checkpoint"))
    seed_argument(parser, tr("seed of the weights and the order of the data (sets train.seed)"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Train, with a bar of steps and the loss beside it."""
    from miaobi import api

    recipe = recipe_of(arguments, seed="train.seed")
    folder = arguments.run or api.run_folder(recipe)
    with output.progress() as tick:
        result = api.train(
            recipe,
            folder=folder,
            resume=arguments.resume,
            device=arguments.device,
            threads=arguments.threads,
            on_progress=tick,
            on_event=Teller(output, tick),
        )
    if result.interrupted:
        raise KeyboardInterrupt  # the loop has saved a checkpoint; main says how to go on
    value = dataclasses.asdict(result)
    if result.steps == 1 and math.isnan(result.train_loss):  # a family that counts descends no loss
        line = tr("trained {name}: one pass in {time}", name=recipe.name, time=time_of(result))
    else:
        line = tr("trained {name}: {steps} steps in {time}", name=recipe.name, steps=result.steps, time=time_of(result)) + _loss(result)
    output.result(value, f"{line}\n{tr('the model: {folder}', folder=result.artifact)}")
    return 0


def _loss(result: TrainResult) -> str:
    """The figure that counts: on held-out data, where there is some."""
    loss = result.train_loss if result.val_loss is None else result.val_loss
    return "" if math.isnan(loss) else tr(", loss {loss:.4f}", loss=loss)


def time_of(result: TrainResult) -> str:
    """How long a training took, as hours, minutes and seconds."""
    minutes, seconds = divmod(round(result.seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


class Teller:
    """Turns the events of the training loop into the bar and, now and then, a line."""

    def __init__(self, output: Output, tick: Tick) -> None:
        self.output = output
        self.tick = tick
        self.losses: dict[str, float] = {}

    def __call__(self, event: TrainEvent) -> None:
        values = event.values
        self.losses |= {name: float(value) for name, value in values.items() if name in ("loss", "val_loss") or name.endswith("/loss")}
        detail = "  ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        self.tick("training", event.step, event.total, detail)
        if event.kind == "evaluate":
            self.output.news("step {step}: {detail}", step=event.step, detail=detail)
        elif event.kind == "warning":
            self.output.news("attention: {text}", text=values["text"])
        elif event.kind == "sample":
            self.output.news("step {step}, sample of '{prompt}':\n{text}", step=event.step, prompt=values["prompt"], text=values["text"])
