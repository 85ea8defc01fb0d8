"""Seconds of `miaobi generate painter` from the shell and back, four labelled pictures and their sheet: as it is, larger, and in few steps.

    python benchmarks/painter.py [--runs 5] [--model painter] [--few MODEL]

Every run is a process of its own, so start-up, loading, labels and writing are counted. The few-step row has the passes of the network that
`recipes/painter-fast.yaml` is trained for, one a step and no guidance; without a model of that kind (`--few`) it is the painter itself that
is asked so: as quick, but not as good. What few steps do to the pictures: docs/picture-families.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import run

from measure import machine, ratio, rounds, write_section

PROMPT, PICTURES, FEW = "一只戴红帽子的猫", 4, 4
LONGEST = 20.0  # seconds, of the plain row
PLAIN, LARGE, FAST = "24 steps with guidance, 64 px", "the same, then 128 px (`--size 128`)", f"{FEW} steps without guidance, 64 px"


def seconds(model: str, options: Sequence[str]) -> float:
    """One drawing of all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        words = f"generate {model} {PROMPT} --style fluent-3d --n {PICTURES} --seed 1 --out".split()
        begin = time.perf_counter()
        run([sys.executable, "-m", "miaobi", *words, f"{folder}/cats/", *options], check=True, capture_output=True)
        found = time.perf_counter() - begin
        assert len(list(Path(folder, "cats").glob("0*.png"))) == PICTURES, "all pictures were written"
    return found


def main() -> None:
    """Measure, print, and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="painter")
    parser.add_argument("--few", default="", help="a few-step student of it")
    arguments = parser.parse_args()
    model, few = arguments.model, arguments.few or arguments.model
    asked = {
        PLAIN: lambda: seconds(model, []),
        LARGE: lambda: seconds(model, ["--size", "128"]),
        FAST: lambda: seconds(few, ["--steps", str(FEW), "--guidance", "1"]),
    }
    times = rounds(list(asked), lambda name: asked[name](), number=arguments.runs)
    rows = []
    for name, values in times.items():
        middle = statistics.median(values)
        mark = "" if name != PLAIN else " ✓" if middle <= LONGEST else f" (target {LONGEST:g})"
        rows.append(f"| {name} | {middle:.2f}{mark} | {ratio(times, name, PLAIN):.2f}× |")
    text = f"""## The painter, from a cold shell

{machine()}; seconds from the shell and back for {PICTURES} labelled pictures and a contact sheet; medians of {arguments.runs} interleaved
runs.

| | seconds | |
|---|--:|--:|
{chr(10).join(rows)}"""
    print(text)
    write_section("painter", text)


if __name__ == "__main__":
    main()
