"""`miaobi adapt RECIPE`: changes an existing model (LoRA, preferences, rewards) and prints what was gained and what was lost."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from miaobi.cli import train
from miaobi.cli.parser import Parser
from miaobi.cli.recipes import recipe_of
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.adapting import Adapted
    from miaobi.cli.terminal import Output

RESUME = ("--resume",)


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """Those of `train`, and a reward of one's own."""
    train.arguments(parser, words)
    parser.add_argument("--reward", metavar="FILE.py:FUNCTION", help=tr("a function of prompt, answer and meta, for recipes with rewards"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Adapt, with a bar of steps, and print the figures before and after."""
    from miaobi import adapting, api

    recipe = recipe_of(arguments, seed="train.seed")
    reward = None
    if arguments.reward:
        from miaobi.engine.reinforce import load_reward

        reward = load_reward(arguments.reward)
    with output.progress() as tick:
        done = adapting.adapt(
            recipe,
            folder=arguments.run or api.run_folder(recipe),
            resume=arguments.resume,
            reward=reward,
            device=arguments.device,
            threads=arguments.threads,
            on_progress=tick,
            on_event=train.Teller(output, tick),
        )
    return show(done, recipe.name, output)


def show(done: Adapted, name: str, output: Output) -> int:
    """Print how it ended; a training that was interrupted ends the command so."""
    result = done.training
    if result.interrupted:
        raise KeyboardInterrupt  # the loop has saved a checkpoint; main says how to go on
    lines = [tr("trained {name}: {steps} steps in {time}", name=name, steps=result.steps, time=train.time_of(result))]
    lines += [tr("the model: {folder}", folder=result.artifact), *figures(done.report)]
    output.result({**dataclasses.asdict(result), "report": done.report}, "\n".join(lines))
    return 0


def figures(report: Mapping[str, Any]) -> list[str]:
    """The report as lines: bits per character with their differences, what was watched on held-out prompts, and what is missing."""
    titles = {"own": tr("its own held-out data"), "general": tr("what the base could do before")}
    lines = []
    for side, found in report.get("bits_per_character", {}).items():
        gap = found["difference"]
        lines.append(
            tr(
                "{title}: {before:.4f} -> {after:.4f} bits/character ({gap:+.4f}, p = {p:.3f}, {count} records)",
                title=titles[side],
                before=found["before"]["value"],
                after=found["after"]["value"],
                gap=gap["value"],
                p=gap["p_value"],
                count=found["records"],
            )
        )
    for name, seen in report.get("held_out", {}).items():
        line = tr("{name} on held-out records: {first:.4f} -> {last:.4f}", name=name, first=seen["first"], last=seen["last"])
        if gap := seen.get("difference"):
            told = {"low": gap["low"], "high": gap["high"], "p": gap["p_value"], "count": gap["count"]}
            line += tr(" (95 % interval {low:+.3f} to {high:+.3f}, p = {p:.3f}, {count} in pairs)", **told)
        lines.append(line)
    lines += [tr("{title}: not measured ({reason})", title=titles[side], reason=reason) for side, reason in report.get("notes", {}).items()]
    return lines
