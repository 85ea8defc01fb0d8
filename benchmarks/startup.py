"""How long a command line takes to say hello: `miaobi --help` beside the help of its peers, medians of interleaved runs.

    python benchmarks/startup.py [--runs 11] [--json]

Peers that are not installed are left out. Every command runs once before it is timed, so that files are cached and bytecode is written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import machine, write_section

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "miaobi --help": ["miaobi", "--help"],
    "miaobi models": ["miaobi", "models"],
    "miaobi generate --help": ["miaobi", "generate", "--help"],
    "transformers --help": ["transformers", "--help"],
    "hf --help": ["hf", "--help"],
    "datasets-cli --help": ["datasets-cli", "--help"],
    "accelerate --help": ["accelerate", "--help"],
    "gradio --help": ["gradio", "--help"],
}
TARGET_SECONDS = 0.15  # for `miaobi --help`


def installed() -> dict[str, list[str]]:
    """The commands whose programs are here; those beside this Python come first."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = {name: shutil.which(words[0], path=beside) for name, words in COMMANDS.items()}
    return {name: [program, *COMMANDS[name][1:]] for name, program in found.items() if program}


def seconds(command: list[str]) -> float:
    """One run, from start to end."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def measure(runs: int) -> dict[str, list[float]]:
    """The seconds of every command, round by round, so that a busy moment hits all of them."""
    commands = installed()
    for command in commands.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(seconds(command))
    return times


def main() -> None:
    """Print a Markdown table and put it into docs/benchmarks.md; or print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    times = measure(arguments.runs)
    medians = {name: statistics.median(values) for name, values in times.items()}
    if arguments.json:
        print(json.dumps({"runs": arguments.runs, "median_seconds": medians}, indent=2))
        return
    lines = [f"| `{name}` | {medians[name]:.3f} | {max(times[name]):.3f} |" for name in sorted(medians, key=lambda name: medians[name])]
    text = f"""## Start-up

{machine()}; seconds from the shell and back, medians of {arguments.runs} interleaved runs with warm caches.
The target of `miaobi --help` is {TARGET_SECONDS}.

| command | median | slowest |
|---|--:|--:|
{chr(10).join(lines)}"""
    print(text)
    write_section("startup", text)


if __name__ == "__main__":
    main()
