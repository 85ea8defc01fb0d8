"""Tokens per second of decoding, batch 1 and 8: our loop over exported graphs against transformers' generate, and OpenVINO GenAI if given.

    python benchmarks/decode.py [--rounds 7] [--threads 2] [--openvino peers/bin/python]

Every contender decodes greedily from the same random weights and the same prompts of 16 tokens, 128 new ones, prompt reading included; ours
is the whole sampling loop that `miaobi generate` runs, not the bare graph. Each is a process of its own, run in turns (`measure`). All fp32
contenders must write the same tokens, or the benchmark fails. The result is a section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import Worker, machine, ratio, rounds, serve, write_section

PROMPT, NEW, BATCHES = 16, 128, (1, 8)
TRANSFORMERS, FP32, INT8, OPENVINO = "transformers generate, fp32", "miaobi, fp32", "miaobi, int8", "OpenVINO GenAI, int8"
TARGETS = {FP32: 2.0, INT8: 4.0}  # times transformers
SHAPES = ("GPT-2 small, 124 M", "poet's shape, 13.8 M")
# Measured on another machine (two AVX2 cores), so the column stands for itself: see docs.
LLAMA_CPP = {SHAPES[0]: {1: (54, 114, 175), 8: (162, 240, 289)}, SHAPES[1]: {1: (450, 1010, 1349), 8: (1207, 1484, 1225)}}


def create(shape: str, folder: Path) -> None:
    """Random weights of a shape, and our graphs of them."""
    import torch
    import transformers

    from miaobi.models.common import decoder_graph

    torch.manual_seed(0)
    if shape == SHAPES[0]:
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    else:
        values = {"vocab_size": 6000, "hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 6, "num_attention_heads": 6}
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values, max_position_embeddings=512, tie_word_embeddings=True))
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    decoder_graph.write(folder)


def serve_transformers(folder: Path, threads: int) -> None:
    """The worker of transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    loaded = time.perf_counter() - started

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        tokens = torch.tensor(prompts)
        begin = time.perf_counter()
        with torch.inference_mode():
            found = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        return {"seconds": time.perf_counter() - begin, "tokens": found[:, tokens.shape[1] :].tolist()}

    serve({"ready": "transformers", "load_seconds": loaded}, answer)


def serve_miaobi(folder: Path, precision: Any, threads: int) -> None:
    """Our worker."""
    from miaobi.engine.sampling.options import Sampling
    from miaobi.engine.sampling.tokens import Token, decode
    from miaobi.models.common.decoder_runtime import OnnxStepper

    started = time.perf_counter()
    stepper = OnnxStepper(folder, precision=precision, threads=threads)
    loaded = time.perf_counter() - started

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        found: list[list[int]] = [[] for _ in prompts]
        begin = time.perf_counter()
        options = Sampling(temperature=0, max_tokens=new)
        for event in decode(stepper, prompts, options, end_tokens=(), seeds=[0] * len(prompts)):
            if isinstance(event, Token):
                found[event.row].append(event.token)
        return {"seconds": time.perf_counter() - begin, "tokens": found}

    serve({"ready": "miaobi", "load_seconds": loaded}, answer)


def prompts_of(batch: int) -> list[list[int]]:
    """The same for everyone."""
    import numpy as np

    tokens: list[list[int]] = np.random.default_rng(0).integers(0, 5999, (batch, PROMPT)).tolist()
    return tokens


def workers_of(folder: Path, threads: int, openvino: str) -> dict[str, Worker]:
    """Every contender, started."""
    own = [sys.executable, __file__, "--threads", str(threads), "--folder", str(folder), "--worker"]
    commands = {TRANSFORMERS: [*own, "transformers"], FP32: [*own, "fp32"], INT8: [*own, "int8"]}
    if openvino:
        commands[OPENVINO] = [openvino, str(Path(__file__).parent / "peers" / "decode_openvino.py"), str(folder), "int8", str(threads)]
    return {name: Worker(command, threads=threads) for name, command in commands.items()}


def compare(shape: str, arguments: argparse.Namespace) -> list[str]:
    """The table's rows of one shape."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        subprocess.run([sys.executable, __file__, "--create", shape, "--folder", str(folder)], check=True)
        workers = workers_of(folder, arguments.threads, arguments.openvino)
        speeds: dict[int, dict[str, list[float]]] = {}
        for batch in BATCHES:
            written: dict[str, Any] = {}

            def run(name: str, batch: int = batch, written: dict[str, Any] = written) -> float:
                answer = workers[name].ask(prompts=prompts_of(batch), new=NEW)
                written[name] = answer["tokens"]
                return batch * NEW / float(answer["seconds"])

            speeds[batch] = rounds(list(workers), run, number=arguments.rounds)
            assert all(len(row) == NEW for rows in written.values() for row in rows), "everyone writes as much"
            assert written[FP32] == written[TRANSFORMERS], "fp32 greedy decoding gives transformers' tokens"
        loads = {name: worker.about["load_seconds"] for name, worker in workers.items()}
        for worker in workers.values():
            worker.close()
    return rows_of(shape, speeds, loads)


def rows_of(shape: str, speeds: Mapping[int, Mapping[str, Sequence[float]]], loads: Mapping[str, float]) -> list[str]:
    """Markdown rows: tokens per second and the ratio to transformers for each batch."""
    lines = []
    for name in speeds[1]:
        cells = [shape, name]
        for batch in BATCHES:
            times = ratio(speeds[batch], name, TRANSFORMERS)
            mark = "" if name not in TARGETS else " ✓" if times >= TARGETS[name] else f" (target {TARGETS[name]:g})"
            cells += [f"{statistics.median(speeds[batch][name]):,.0f}", f"{times:.2f}×{mark}"]
        lines.append(f"| {' | '.join(cells)} | {loads[name]:.2f} |")
        print(lines[-1], flush=True)
    if OPENVINO in speeds[1]:
        ratios = ", ".join(f"{ratio(speeds[batch], INT8, OPENVINO):.2f}× at batch {batch}" for batch in BATCHES)
        lines.append(f"| {shape} | *miaobi int8 against OpenVINO GenAI int8* | | {ratios} | | | |")
    return lines


def report(rows: Sequence[str], arguments: argparse.Namespace) -> str:
    """The section of the page."""
    import onnxruntime
    import torch
    import transformers

    versions = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    head = "| model | decoder | batch 1, tokens/s | | batch 8, tokens/s | | load, s |\n|---|---|--:|--:|--:|--:|--:|"
    peers = [
        f"| {shape} | {batch} | {' | '.join(f'{value:,}' for value in values)} |"
        for shape, batches in LLAMA_CPP.items()
        for batch, values in batches.items()
    ]
    return "\n".join(
        [
            "## Decoding",
            "",
            f"{machine()}; {arguments.threads} threads; {versions}. Greedy, {PROMPT} tokens in, {NEW} out, prompt reading included; "
            f"medians of {arguments.rounds} interleaved rounds, × is the median of the rounds' ratios to transformers.",
            "",
            head,
            *rows,
            "",
            "llama.cpp on another machine (two AVX2 cores), whose transformers wrote 23 / 67 and 129 / 500 tokens/s at batch 1 / 8:",
            "",
            "| model | batch | F32 | Q8_0 | Q4_0 |\n|---|--:|--:|--:|--:|",
            *peers,
        ]
    )


def main() -> None:
    """Compare; or, for its own child processes, be a worker or make a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--openvino", default="", metavar="PYTHON", help="an interpreter with openvino-genai, see benchmarks/peers")
    parser.add_argument("--dry", action="store_true", help="print, do not write the page")
    for hidden in ("--worker", "--folder", "--create"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = Path(arguments.folder)
    if arguments.create:
        create(arguments.create, folder)
    elif arguments.worker == "transformers":
        serve_transformers(folder, arguments.threads)
    elif arguments.worker:
        serve_miaobi(folder, arguments.worker, arguments.threads)
    else:
        rows = [row for shape in SHAPES for row in compare(shape, arguments)]
        text = report(rows, arguments)
        print(text)
        if not arguments.dry:
            write_section("decode", text)


if __name__ == "__main__":
    main()
