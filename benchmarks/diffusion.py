"""Seconds a picture and training pictures a second of a 23 M UNet at 64 px: diffusers against our torch, our fp32 graph, our int8 graph.

    python benchmarks/diffusion.py [--rounds 5] [--steps 50] [--threads 2] [--quick]

Drawing: DDIM from the same noise with the same weights; ours is the sampling loop of `miaobi generate`, diffusers' is that of its
DDIMPipeline. Pictures in fp32 must be equal, or the benchmark fails. Training: the loop of diffusers' unconditional example (accelerate,
AdamW, clipping, pictures decoded from PNG) against `miaobi train`, on the same network, pictures and batch. Each contender is a process of
its own, run in turns (`measure`). The result is a section of docs/benchmarks.md; `--quick` is a look, and writes nothing.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from measure import Worker, machine, ratio, rounds, serve, write_section

SIZE, BATCHES, WIDTHS, ATTENTION, HEAD_WIDTH = 64, (1, 4), (64, 128, 192, 256), (2, 3), 32
DIFFUSERS, TORCH, FP32, INT8 = "diffusers, torch fp32", "miaobi, torch fp32", "miaobi, ONNX fp32", "miaobi, ONNX int8"
DRAWING = (DIFFUSERS, TORCH, FP32, INT8)
TARGETS = {FP32: 1.2, INT8: 1.6}  # times diffusers
EXAMPLE, TRAIN = "diffusers' unconditional example", "miaobi train"
NUM_PICTURES = 64
SAME = 1e-3  # of the pictures' size: by how much two in fp32 may differ after all steps


# ---------------------------------------------------------------------- what all share


def reference() -> Any:
    """The network as diffusers builds it."""
    import diffusers

    attended = [level in ATTENTION for level in range(len(WIDTHS))]
    return diffusers.UNet2DModel(
        sample_size=SIZE,
        layers_per_block=2,
        block_out_channels=WIDTHS,
        attention_head_dim=HEAD_WIDTH,
        attn_norm_num_groups=32,
        resnet_time_scale_shift="scale_shift",
        down_block_types=["AttnDownBlock2D" if there else "DownBlock2D" for there in attended],
        up_block_types=["AttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attended)],
    )


def own(folder: Path) -> Any:
    """The same network of ours, with the same weights."""
    from safetensors.torch import load_file

    from miaobi.models.common.picture_config import UNetConfig
    from miaobi.models.common.unet import UNet, from_diffusers

    network = UNet(UNetConfig(channels=3, widths=WIDTHS, blocks=2, attention=ATTENTION, head_width=HEAD_WIDTH)).eval()
    network.load_state_dict(from_diffusers(load_file(folder / "diffusion_pytorch_model.safetensors")))
    return network


def create(folder: Path) -> None:
    """Random weights as diffusers keeps them, and our graphs of them."""
    import numpy as np
    import torch

    from miaobi.models.common import picture_graph

    torch.manual_seed(0)
    reference().save_pretrained(folder)
    samples = [{"x": noise_of(1), "time": np.full(1, time, dtype=np.float32)} for time in (0.1, 0.5, 0.9)]
    picture_graph.export(own(folder), folder, samples=samples)


def noise_of(batch: int) -> Any:
    """The same for everyone."""
    import numpy as np

    return np.random.default_rng(0).standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)


# ---------------------------------------------------------------------- drawing


def serve_diffusers(folder: Path, threads: int) -> None:
    """The worker of diffusers: the loop of its DDIMPipeline."""
    import diffusers
    import torch

    torch.set_num_threads(threads)
    network = diffusers.UNet2DModel.from_pretrained(folder).eval()
    scheduler = diffusers.DDIMScheduler(clip_sample=False)

    def answer(batch: int, steps: int) -> dict[str, Any]:
        x = torch.from_numpy(noise_of(batch))
        begin = perf_counter()
        scheduler.set_timesteps(steps)
        with torch.no_grad():
            for time in scheduler.timesteps:
                x = scheduler.step(network(x, time).sample, time, x, eta=0.0).prev_sample
        return {"seconds": perf_counter() - begin, "picture": x[0, 0, ::8, ::8].flatten().tolist()}

    serve({"ready": DIFFUSERS}, answer)


def serve_own(folder: Path, name: str, threads: int) -> None:
    """Our worker, with the network in torch or as a graph."""
    from miaobi.engine.sampling.denoise import ddim, denoiser, sample
    from miaobi.engine.sampling.noise import Process

    predict = predictor(folder, name, threads)

    def answer(batch: int, steps: int) -> dict[str, Any]:
        x = noise_of(batch)
        begin = perf_counter()
        x = sample(ddim(denoiser(predict, "noise"), x, Process("linear").levels(steps, spacing="leading")))
        return {"seconds": perf_counter() - begin, "picture": x[0, 0, ::8, ::8].flatten().tolist()}

    serve({"ready": name}, answer)


def predictor(folder: Path, name: str, threads: int) -> Any:
    """The network as a function of numpy arrays."""
    from miaobi.models.common.picture_runtime import PictureRuntime, file_of

    if name != TORCH:
        return PictureRuntime(folder / file_of("network", "int8" if name == INT8 else "fp32"), threads=threads)
    import torch

    torch.set_num_threads(threads)
    network = own(folder)

    @torch.inference_mode()
    def predict(x: Any, time: float) -> Any:
        return network(torch.from_numpy(x), torch.full((len(x),), time)).numpy()

    return predict


def draw(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """The table's rows."""
    import numpy as np

    command = [sys.executable, __file__, "--threads", str(arguments.threads), "--folder", str(folder), "--worker"]
    workers = {name: Worker([*command, name], threads=arguments.threads) for name in DRAWING}
    seconds: dict[int, dict[str, list[float]]] = {}
    for batch in BATCHES[: 1 if arguments.quick else None]:
        pictures: dict[str, Any] = {}

        def run(name: str, batch: int = batch, pictures: dict[str, Any] = pictures) -> float:
            answer = workers[name].ask(batch=batch, steps=arguments.steps)
            pictures[name] = np.array(answer["picture"])
            return float(answer["seconds"]) / batch

        seconds[batch] = rounds(DRAWING, run, number=arguments.rounds)
        for name in (TORCH, FP32):
            error = np.abs(pictures[name] - pictures[DIFFUSERS]).max() / np.abs(pictures[DIFFUSERS]).max()
            assert error < SAME, f"{name} draws what diffusers draws, but for {error:.2%}"
    for worker in workers.values():
        worker.close()
    return drawing_rows(seconds)


def drawing_rows(seconds: Mapping[int, Mapping[str, Sequence[float]]]) -> list[str]:
    """Markdown rows: seconds a picture, and how many times as quick as diffusers, for each batch."""
    lines = []
    for name in DRAWING:
        cells = [name]
        for values in seconds.values():
            times = 1 / ratio(values, name, DIFFUSERS)
            mark = "" if name not in TARGETS else " ✓" if times >= TARGETS[name] else f" (target {TARGETS[name]:g})"
            cells += [f"{statistics.median(values[name]):.2f}", f"{times:.2f}×{mark}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


# ---------------------------------------------------------------------- training


def picture_files() -> list[bytes]:
    """Discs of one colour on another, as PNG."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    files = []
    for _ in range(NUM_PICTURES):
        middle, radius = rng.uniform(16, 48, 2), rng.uniform(6, 24)
        inside = (np.hypot(x - middle[0], y - middle[1]) < radius)[..., None]
        pixels = np.where(inside, *rng.integers(0, 256, (2, 3))).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def serve_training(threads: int) -> None:
    """Our worker: a training a request. The log's second row covers the steps after the warm ones."""
    from miaobi.core.recipe import Recipe
    from miaobi.core.types import Media, Modality, Record
    from miaobi.engine.train import train

    config = {
        "size": SIZE,
        "channels": 3,
        "flip": True,
        "backbone": "unet",
        "widths": list(WIDTHS),
        "attention": list(ATTENTION),
        "predict": "noise",
        "schedule": "linear",
    }
    media = [Media(modality=Modality.IMAGE, mime="image/png", data=data) for data in picture_files()]
    records = [Record(id=str(number), parts=(part,)) for number, part in enumerate(media)]

    def answer(batch: int, steps: int) -> dict[str, Any]:
        optimizer = {"name": "adamw", "lr": 1e-4, "betas": [0.95, 0.999], "weight_decay": 1e-6}
        section = {"steps": 2 * steps, "batch": batch, "precision": "fp32", "log_every": steps, "clip": 1.0, "optimizer": optimizer}
        recipe = Recipe.of({"name": "bench", "model": {"family": "diffusion", "config": config}, "train": section})
        figures: list[Any] = []
        with tempfile.TemporaryDirectory() as folder:
            train(
                recipe,
                {"train": records},
                Path(folder) / "run",
                threads=threads,
                on_event=lambda event: figures.append(event.values) if event.kind == "step" else None,
            )
        return {"pictures_per_second": figures[1]["units_per_second"]}

    serve({"ready": TRAIN}, answer)


def serve_example(threads: int) -> None:
    """The worker of diffusers' examples/unconditional_image_generation/train_unconditional.py, without its logging and saving."""
    import accelerate
    import diffusers
    import torch
    from diffusers.optimization import get_scheduler

    torch.set_num_threads(threads)
    files = picture_files()

    def answer(batch: int, steps: int) -> dict[str, Any]:
        torch.manual_seed(0)
        accelerator = accelerate.Accelerator(cpu=True)
        network, noising = reference(), diffusers.DDPMScheduler()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        loader: Any = torch.utils.data.DataLoader(files, batch_size=batch, shuffle=True, drop_last=True, collate_fn=decoded)
        scheduler = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=500, num_training_steps=10_000)
        network, optimizer, loader, scheduler = accelerator.prepare(network, optimizer, loader, scheduler)
        ends: list[float] = []
        epochs = itertools.chain.from_iterable(itertools.repeat(loader))
        for clean in itertools.islice(epochs, 2 * steps):
            noise = torch.randn_like(clean)
            times = torch.randint(0, noising.config.num_train_timesteps, (len(clean),))
            loss = torch.nn.functional.mse_loss(network(noising.add_noise(clean, noise, times), times).sample, noise)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            loss.detach().item()  # the example logs it
            ends.append(perf_counter())
        return {"pictures_per_second": steps * batch / (ends[2 * steps - 1] - ends[steps - 1])}

    serve({"ready": EXAMPLE}, answer)


def decoded(files: Sequence[bytes]) -> Any:
    """Pictures in [-1, 1], half of them mirrored: what the example does with torchvision."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files])
    pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    flipped = torch.rand(len(pictures)) < 0.5
    pictures[flipped] = pictures[flipped].flip(-1)
    return pictures


def learn(arguments: argparse.Namespace) -> list[str]:
    """The table's rows."""
    command = [sys.executable, __file__, "--threads", str(arguments.threads), "--worker"]
    workers = {name: Worker([*command, name], threads=arguments.threads) for name in (TRAIN, EXAMPLE)}
    request = {"batch": arguments.batch, "steps": 2 if arguments.quick else 4}
    speeds = rounds(list(workers), lambda name: float(workers[name].ask(**request)["pictures_per_second"]), number=arguments.rounds)
    for worker in workers.values():
        worker.close()
    rows = [f"| {name} | {statistics.median(values):.2f} | {ratio(speeds, name, EXAMPLE):.2f}× |" for name, values in speeds.items()]
    print("\n".join(rows), flush=True)
    return rows


# ---------------------------------------------------------------------- the page


def report(drawing: Sequence[str], training: Sequence[str], arguments: argparse.Namespace) -> str:
    """The section of the page."""
    import diffusers
    import onnxruntime
    import torch

    versions = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, diffusers {diffusers.__version__}"
    return "\n".join(
        [
            "## Diffusion",
            "",
            f"{machine()}; {arguments.threads} threads; {versions}. A UNet of 23 M (`UNet2DModel` with adaptive norms, {WIDTHS} "
            f"channels) at {SIZE} px; medians of {arguments.rounds} interleaved rounds, × is the median of the ratios to diffusers.",
            "",
            f"Drawing, {arguments.steps} steps of DDIM without guidance, the same weights and noise; pictures in fp32 are equal:",
            "",
            "| network | batch 1, s a picture | | batch 4, s a picture | |\n|---|--:|--:|--:|--:|",
            *drawing,
            "",
            f"Training, fp32, AdamW, clipping, batch {arguments.batch}, pictures decoded from PNG:",
            "",
            "| loop | pictures/s | |\n|---|--:|--:|",
            *training,
        ]
    )


def main() -> None:
    """Compare; or, for its own child processes, be a worker or make a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="3 steps, batch 1 (2 in training), 2 rounds: a look")
    parser.add_argument("--only", default="", choices=("drawing", "training"), help="one half, which is printed only")
    parser.add_argument("--dry", action="store_true", help="print, do not write the page")
    for hidden in ("--worker", "--folder"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    parser.add_argument("--create", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.steps, arguments.batch, arguments.dry = 2, 3, 2, True
    folder = Path(arguments.folder)
    if arguments.create:
        create(folder)
    elif arguments.worker in (TRAIN, EXAMPLE):
        {TRAIN: serve_training, EXAMPLE: serve_example}[arguments.worker](arguments.threads)
    elif arguments.worker == DIFFUSERS:
        serve_diffusers(folder, arguments.threads)
    elif arguments.worker:
        serve_own(folder, arguments.worker, arguments.threads)
    else:
        drawing = training = [""]
        if arguments.only != "training":
            with tempfile.TemporaryDirectory() as temporary:
                subprocess.run([sys.executable, __file__, "--create", "--folder", temporary], check=True)
                drawing = draw(arguments, Path(temporary))
        if arguments.only != "drawing":
            training = learn(arguments)
        text = report(drawing, training, arguments)
        print(text)
        if not (arguments.dry or arguments.only):
            write_section("diffusion", text)


if __name__ == "__main__":
    main()
