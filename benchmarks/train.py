"""Training tokens per second of a 10 M model on a CPU: our engine against transformers' Trainer, on the same texts.

    python benchmarks/train.py [--rounds 3] [--steps 5] [--threads 2]

Two kinds of texts: `full rows`, where every text fills the context and nobody pads, so that only the loops and the networks differ; and
`poems`, 20 to 130 tokens long, which Trainer pads to the longest of its batch and our engine packs. Only real targets count as tokens. Same
architecture, fp32, AdamW, clipping, rows to a batch; no evaluation or checkpoint inside the time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import Worker, machine, ratio, rounds, serve, write_section

OURS, TRAINER = "miaobi train", "transformers Trainer"
KINDS = {"full rows": (255, 255), "poems": (20, 130)}  # shortest and longest text; two marks are added
CONTEXT, ROWS, VOCABULARY, WIDTH, LAYERS, HEADS, HIDDEN = 256, 8, 6000, 320, 6, 5, 960
TARGET = 1.3


def texts(kind: str, seed: int = 0) -> list[str]:
    """Random texts of common characters; rare ones make the vocabulary complete."""
    import numpy as np

    shortest, longest = KINDS[kind]
    rng = np.random.default_rng(seed)
    letters = [chr(0x4E00 + number) for number in range(VOCABULARY - 16)]
    odds = 1 / np.arange(1, len(letters) + 1)
    return ["".join(rng.choice(letters, size=int(rng.integers(shortest, longest + 1)), p=odds / odds.sum())) for _ in range(512)]


def serve_ours(threads: int) -> None:
    """Our worker: a training a request. The log's second row covers the steps after the warm ones."""
    from miaobi.core.recipe import Recipe
    from miaobi.core.types import Record
    from miaobi.engine.train import train

    config = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "hidden": HIDDEN, "context": CONTEXT}

    def answer(kind: str, steps: int) -> dict[str, Any]:
        records = [Record(id=str(number), parts=(text,)) for number, text in enumerate(texts(kind))]
        batching = "shuffled" if kind == "full rows" else "packed"
        section = {"steps": 2 * steps, "batch": ROWS, "batching": batching, "precision": "fp32", "log_every": steps}
        recipe = Recipe.of({"name": "bench", "model": {"family": "gpt", "config": config}, "train": section})
        figures: list[Any] = []
        with tempfile.TemporaryDirectory() as folder:
            train(
                recipe,
                {"train": records},
                Path(folder) / "run",
                threads=threads,
                on_event=lambda event: figures.append(event.values) if event.kind == "step" else None,
            )
        return {"tokens_per_second": figures[1]["units_per_second"], "loss": figures[1]["loss"]}

    serve({"ready": OURS}, answer)


def serve_trainer(threads: int) -> None:
    """The worker of transformers' Trainer: the same documents as lists of token ids, padded by its collator."""
    import torch
    import transformers

    torch.set_num_threads(threads)

    class Clock(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            self.ends.append(time.perf_counter())

    def answer(kind: str, steps: int) -> dict[str, Any]:
        transformers.set_seed(0)
        documents = [{"input_ids": [1, *(ord(letter) - 0x4E00 + 16 for letter in text), 2]} for text in texts(kind)]
        targets: list[int] = []

        def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
            longest = max(len(feature["input_ids"]) for feature in features)
            tokens = torch.zeros((len(features), longest), dtype=torch.long)
            labels = torch.full((len(features), longest), -100)
            for row, feature in enumerate(features):
                tokens[row, : len(feature["input_ids"])] = labels[row, : len(feature["input_ids"])] = torch.tensor(feature["input_ids"])
            targets.append(sum(len(feature["input_ids"]) - 1 for feature in features))
            return {"input_ids": tokens, "attention_mask": (labels != -100).long(), "labels": labels}

        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            settings = transformers.TrainingArguments(
                output_dir=folder,
                max_steps=2 * steps,
                per_device_train_batch_size=ROWS,
                learning_rate=3e-4,
                weight_decay=0.1,
                adam_beta2=0.95,
                lr_scheduler_type="cosine",
                warmup_steps=100,
                logging_steps=steps,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                remove_unused_columns=False,
            )
            trainer = transformers.Trainer(_network(), settings, data_collator=collate, train_dataset=documents, callbacks=[clock])
            trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        seconds = clock.ends[-1] - clock.ends[steps - 1]
        return {"tokens_per_second": sum(targets[steps : 2 * steps]) / seconds, "loss": losses[1]}

    serve({"ready": TRAINER}, answer)


def _network() -> Any:
    """The same Llama as transformers builds it."""
    import transformers

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT + 1,
            tie_word_embeddings=True,
        )
    )


def compare(arguments: argparse.Namespace) -> list[str]:
    """The table's rows."""
    commands = {name: [sys.executable, __file__, "--threads", str(arguments.threads), "--worker", name] for name in (OURS, TRAINER)}
    workers = {name: Worker(command, threads=arguments.threads) for name, command in commands.items()}
    rows = []
    for kind in KINDS:
        losses: dict[str, float] = {}

        def run(name: str, kind: str = kind, losses: dict[str, float] = losses) -> float:
            answer = workers[name].ask(kind=kind, steps=arguments.steps)
            losses[name] = answer["loss"]
            return float(answer["tokens_per_second"])

        speeds = rounds(list(workers), run, number=arguments.rounds)
        times = ratio(speeds, OURS, TRAINER)
        mark = "✓" if times >= TARGET else f"(target {TARGET})"
        for name in workers:
            cell = f"{times:.2f}× {mark}" if name == OURS else "1"
            rows.append(f"| {kind} | {name} | {statistics.median(speeds[name]):,.0f} | {cell} | {losses[name]:.2f} |")
            print(rows[-1], flush=True)
    for worker in workers.values():
        worker.close()
    return rows


def report(rows: list[str], arguments: argparse.Namespace) -> str:
    """The section of the page."""
    import torch
    import transformers

    return "\n".join(
        [
            "## Training",
            "",
            f"{machine()}; {arguments.threads} threads; torch {torch.__version__}, transformers {transformers.__version__}. "
            f"A Llama of 9.9 M, fp32, AdamW, clipping, {ROWS} rows of at most {CONTEXT} tokens a step; targets per second, padding not "
            f"counted; medians of {arguments.rounds} interleaved rounds of {arguments.steps} steps after as many warm ones. On full rows "
            "nobody pads; poems of 20 to 130 tokens are padded by Trainer and packed by our engine.",
            "",
            "| texts | loop | tokens/s | | loss |\n|---|---|--:|--:|--:|",
            *rows,
        ]
    )


def main() -> None:
    """Compare; or, for its own child processes, be a worker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dry", action="store_true", help="print, do not write the page")
    parser.add_argument("--worker", default="", choices=("", OURS, TRAINER), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker == OURS:
        serve_ours(arguments.threads)
    elif arguments.worker == TRAINER:
        serve_trainer(arguments.threads)
    else:
        text = report(compare(arguments), arguments)
        print(text)
        if not arguments.dry:
            write_section("train", text)


if __name__ == "__main__":
    main()
