"""Tokens per second of decoding, batch 1 and 8: our loop over exported graphs against CTranslate2, OpenVINO GenAI, ONNX Runtime GenAI.

    python benchmarks/decode.py [--rounds 3] [--threads 2] [--peers peers/bin/python]

Every contender decodes greedily from the same random weights and the same prompts of 16 tokens, 128 new ones, prompt reading included; ours
is the whole sampling loop that `miaobi generate` runs, not the bare graph. Each is a process of its own, run in turns (`measure`). In fp32
ours must write transformers' tokens, or the benchmark fails; a peer that writes others is told. A peer that does not run a shape is left
out, and the page says so. The result is a section of docs/benchmarks.md. `benchmarks/peers` says what peers need.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapes
from measure import PeakMemory, Worker, machine, ratio, rounds, serve, write_section

PROMPT, NEW, BATCHES = 16, 128, (1, 8)
TRANSFORMERS = "transformers generate, fp32"
OURS = {precision: f"miaobi, {precision}" for precision in ("fp32", "int8", "int4")}
PEERS = {"CTranslate2": "ctranslate2", "OpenVINO GenAI": "openvino", "ONNX Runtime GenAI": "onnxruntime"}
NEAR = 0.95  # of the fastest peer's speed counts as reached
GPT2, POET, SMOL = "GPT-2 small, 124 M", "poet's shape, 13.8 M", "SmolLM2-135M's shape, 135 M"
SHAPES = (GPT2, POET, SMOL)
LLAMAS = {POET: shapes.POET, SMOL: shapes.SMOL}
# Measured on another machine (two AVX2 cores), so these stand for themselves: see docs.
LLAMA_CPP = {GPT2: {1: (54, 114, 175), 8: (162, 240, 289)}, POET: {1: (450, 1010, 1349), 8: (1207, 1484, 1225)}}


@dataclass
class Found:
    """What was measured of one shape: tokens per second of each round by batch and contender, what each said when it was ready."""

    speeds: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # the last line of a peer that did not come up


def create(shape: str, folder: Path) -> None:
    """Random weights of a shape, our graphs of them, and a tokenizer that calls token 7 `t7`, for peers that read words only."""
    import torch
    import transformers

    from miaobi.models.common import decoder_graph

    torch.manual_seed(0)
    if shape == GPT2:
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMAS[shape]))
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    write_tokenizer(folder, model.config.vocab_size)
    transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=64, n_embd=64, n_layer=1, n_head=1)).save_pretrained(tiny(folder))
    for place in (folder, tiny(folder)):
        decoder_graph.write(place, precisions=list(OURS))


def tiny(folder: Path) -> Path:
    """Where a model of next to nothing lies, beside the one that is measured."""
    return folder.with_name("tiny")


def write_tokenizer(folder: Path, size: int) -> None:
    """Words `t0`, `t1` and so on."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({f"t{number}": number for number in range(size)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "t0", "bos_token": "t0", "eos_token": "t1"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def serve_transformers(folder: Path, threads: int) -> None:
    """The worker of transformers."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    with PeakMemory() as memory:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        tokens = torch.tensor(prompts)
        begin = time.perf_counter()
        with torch.inference_mode():
            found = model.generate(
                tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        return {"seconds": time.perf_counter() - begin, "tokens": found[:, tokens.shape[1] :].tolist()}

    serve({"ready": f"transformers {transformers.__version__}", **memory.figures}, answer)


def serve_miaobi(folder: Path, precision: Any, threads: int) -> None:
    """Our worker."""
    from miaobi.engine.sampling.options import Sampling
    from miaobi.engine.sampling.tokens import Token, decode
    from miaobi.models.common.decoder_runtime import FILES, OnnxStepper

    runtime = importlib.import_module("onnxruntime")
    OnnxStepper(tiny(folder), precision=precision, threads=threads).start([[1]])  # its code comes into memory as it first runs
    with PeakMemory() as memory:
        stepper = OnnxStepper(folder, precision=precision, threads=threads)

    def answer(prompts: list[list[int]], new: int) -> dict[str, Any]:
        found: list[list[int]] = [[] for _ in prompts]
        begin = time.perf_counter()
        options = Sampling(temperature=0, max_tokens=new)
        for event in decode(stepper, prompts, options, end_tokens=(), seeds=[0] * len(prompts)):
            if isinstance(event, Token):
                found[event.row].append(event.token)
        return {"seconds": time.perf_counter() - begin, "tokens": found}

    weights = sum(path.stat().st_size for path in (folder / "onnx").glob(Path(FILES[precision]).name + "*"))
    serve({"ready": f"onnxruntime {runtime.__version__}", "weight_bytes": weights, **memory.figures}, answer)


def prompts_of(batch: int) -> list[list[int]]:
    """The same for everyone."""
    import numpy as np

    tokens: list[list[int]] = np.random.default_rng(0).integers(0, 5999, (batch, PROMPT)).tolist()
    return tokens


def workers_of(folder: Path, arguments: argparse.Namespace, found: Found) -> dict[str, Worker]:
    """Every contender that comes up, started."""
    threads = str(arguments.threads)
    own = [sys.executable, __file__, "--threads", threads, "--folder", str(folder), "--worker"]
    commands = {TRANSFORMERS: [*own, "transformers"]} | {name: [*own, precision] for precision, name in OURS.items()}
    workers = {name: Worker(command, threads=arguments.threads) for name, command in commands.items()}
    peers = Path(__file__).parent / "peers"
    for peer, file in PEERS.items() if arguments.peers else ():
        for precision in ("fp32", "int8"):
            name = f"{peer}, {precision}"
            try:
                command = [arguments.peers, str(peers / f"decode_{file}.py"), str(folder), precision, threads]
                workers[name] = Worker(command, threads=arguments.threads)
            except RuntimeError as error:
                found.absent[name] = reason(error, folder)
                print(f"{name}: {found.absent[name]}", flush=True)
    found.about = {name: worker.about for name, worker in workers.items()}
    return workers


def reason(error: RuntimeError, folder: Path) -> str:
    """The last line of what a peer said, without the paths of this machine: it is published."""
    line = str(error).strip().splitlines()[-1]
    return re.sub(r"^\[.*\] ended with -?\d+: ", "", line).replace(str(folder), folder.name)


def compare(shape: str, arguments: argparse.Namespace) -> Found:
    """Measure one shape."""
    found = Found()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        subprocess.run([sys.executable, __file__, "--create", shape, "--folder", str(folder)], check=True)
        workers = workers_of(folder, arguments, found)
        for batch in BATCHES:
            written: dict[str, Any] = {}

            def run(name: str, batch: int = batch, written: dict[str, Any] = written) -> float:
                answer = workers[name].ask(prompts=prompts_of(batch), new=NEW)
                written[name] = answer["tokens"]
                return batch * NEW / float(answer["seconds"])

            found.speeds[batch] = rounds(list(workers), run, number=arguments.rounds)
            check(written)
        for worker in workers.values():
            worker.close()
    return found


def check(written: Mapping[str, Sequence[Sequence[int]]]) -> None:
    """Everybody wrote as much, and those who compute in fp32 the same."""
    for name, rows in written.items():
        assert all(len(row) == NEW for row in rows), f"{name} writes as much as the others"
        if name.endswith("fp32") and rows != written[TRANSFORMERS]:
            assert not name.startswith("miaobi"), "fp32 greedy decoding gives transformers' tokens"
            print(f"{name} writes other tokens than transformers in fp32", flush=True)


def rows_of(shape: str, found: Found) -> list[str]:
    """Markdown rows: tokens per second and the ratio to transformers for each batch, seconds and memory of loading."""
    lines = []
    for name in found.speeds[1]:
        cells = [shape, name]
        for batch in BATCHES:
            times = ratio(found.speeds[batch], name, TRANSFORMERS)
            cells += [f"{statistics.median(found.speeds[batch][name]):,.0f}", f"{times:.2f}×{_verdict(found.speeds[batch], name)}"]
        about = found.about[name]
        cells.append(f"{about['load_seconds']:.2f}")
        cells.append(f"{about['load_peak_bytes'] / about['weight_bytes']:.2f}×" if "weight_bytes" in about else "")
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines + [f"| {shape} | {name} | – | | – | | | |" for name in found.absent]


def _verdict(speeds: Mapping[str, Sequence[float]], name: str) -> str:
    """Of ours, how it stands to the fastest peer of the same precision."""
    precision = name.rpartition(", ")[2]
    peers = [peer for peer in speeds if peer.startswith(tuple(PEERS)) and peer.endswith(precision)]
    if name not in OURS.values() or not peers:
        return ""
    share, fastest = min((ratio(speeds, name, peer), peer) for peer in peers)
    return f", {share:.2f}× {fastest.partition(',')[0]}{' ✓' if share >= NEAR else ''}"


def report(found: Mapping[str, Found], arguments: argparse.Namespace) -> str:
    """The section of the page."""
    versions = ", ".join(dict.fromkeys(about["ready"] for one in found.values() for about in one.about.values()))
    head = "| model | decoder | batch 1, tokens/s | | batch 8, tokens/s | | load, s | peak memory of loading, × the file |"
    absent = [f"{name} does not run {shape}: `{why}`" for shape, one in found.items() for name, why in one.absent.items()]
    return "\n".join(
        [
            "## Decoding",
            "",
            f"{machine()}; {arguments.threads} threads; {versions}. Random weights; greedy, {PROMPT} tokens in, {NEW} out, prompt reading "
            f"included; medians of {arguments.rounds} interleaved rounds, × is the median of the rounds' ratios: to transformers, and "
            f"for ours to the fastest peer of the same precision (✓ where it is at least {NEAR:g}).",
            "",
            f"{head}\n|---|---|--:|--:|--:|--:|--:|--:|",
            *(row for shape, one in found.items() for row in rows_of(shape, one)),
            "",
            *(f"{line}.\n" for line in absent),
            "llama.cpp on another machine (two AVX2 cores), whose transformers wrote 23 / 67 and 129 / 500 tokens/s at batch 1 / 8:",
            "",
            "| model | batch | F32 | Q8_0 | Q4_0 |\n|---|--:|--:|--:|--:|",
            *(
                f"| {shape} | {batch} | {' | '.join(f'{value:,}' for value in values)} |"
                for shape, batches in LLAMA_CPP.items()
                for batch, values in batches.items()
            ),
        ]
    )


def main() -> None:
    """Compare; or, for its own child processes, be a worker or make a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default="", metavar="PYTHON", help="an interpreter with the peers, see benchmarks/peers")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPES, help="which shapes (default: all)")
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
        text = report({shape: compare(shape, arguments) for shape in arguments.shapes}, arguments)
        print(text)
        if not arguments.dry:
            write_section("decode", text)


if __name__ == "__main__":
    main()
