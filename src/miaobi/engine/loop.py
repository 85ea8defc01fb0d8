"""The loop that trains a `Learner`: every phase once a step, with evaluation, samples and checkpoints where the recipe says so.

The loop is a pure function of (weights, optimizer state, step): batches come from (seed, epoch), random numbers from (seed, step,
micro-batch). So a checkpoint needs no generator state, and a resumed run equals an unbroken one bit for bit, wherever it was cut.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from miaobi.core.artifact import ADAPTER, new_folder, seal
from miaobi.core.errors import ArtifactError, MiaobiError, UsageError, unknown
from miaobi.core.families import Family
from miaobi.core.protocols import Learner, Loss
from miaobi.core.recipe import Recipe
from miaobi.core.types import Record
from miaobi.engine import adapt, checkpoint
from miaobi.engine.adapt import Reward
from miaobi.engine.batches import Batches
from miaobi.engine.journal import Journal
from miaobi.engine.optim import Average, learning_rate, make_optimizer, tables_of
from miaobi.engine.peers import Peers, Sums
from miaobi.engine.precision import Precision, choose_precision
from miaobi.engine.preview import preview


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a training ended. `artifact` is None when it was interrupted."""

    run: Path
    artifact: Path | None
    steps: int
    seconds: float
    train_loss: float
    val_loss: float | None
    interrupted: bool = False


@runtime_checkable
class Critical(Protocol):
    """A learner that watches how it learns."""

    def concerns(self) -> Sequence[str]:
        """What a person should know before using the finished model, in sentences; nothing when all went well."""
        ...


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived before any weight of a step moved; the step's work is thrown away and done again on resume."""


class Run:
    """The state of one gradient training: what it learns, where it stands, and how it was set up."""

    def __init__(
        self,
        recipe: Recipe,
        kind: Family,
        splits: Mapping[str, Sequence[Record]],
        folder: Path,
        *,
        tokenizer: Path | None,
        base: Path | None,
        device: str,
        threads: int | None,
        reward: Reward | None,
        journal: Journal,
    ) -> None:
        self.recipe, self.section, self.kind, self.folder, self.journal = recipe, recipe.train, kind, folder, journal
        self.records, self.val = splits["train"], splits.get("val", ())
        self.device, self.threads = device, threads
        self.tokenizer, self.base, self.reward = tokenizer, base, reward
        self.peers = Peers()  # alone, until others join
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None
        self.best_step, self.stale = 0, 0
        self.val_loss: float | None = None
        self.train_loss = float("nan")
        self.stopping = threading.Event()
        self._window = (0, 0.0)  # units and seconds since the last row of the log

    # ------------------------------------------------------------------ beginning

    def begin(self, resume: bool) -> None:
        """Make or restore the model and everything that stands beside it."""
        saved = checkpoint.newest(self.folder)
        if saved is not None and not resume:
            raise UsageError(
                "{folder} holds a training that stopped at step {step}. Go on with --resume, or choose another name",
                folder=self.folder,
                step=saved.state["step"],
            )
        if saved is not None:
            self.threads = self.threads or saved.state["threads"]
        torch.set_num_threads(self.threads or torch.get_num_threads())
        torch.use_deterministic_algorithms(self.section.deterministic)
        self.learner = self._make_learner()
        self.network: nn.Module = self.learner.network.to(self.device)
        adapt.shape(self.learner, self.recipe, self.kind)
        self.aim = adapt.aim_of(self.learner, self.recipe, reward=self.reward)
        self.precision: Precision = saved.state["precision"] if saved else choose_precision(self.section.precision, self.device)
        tables = tables_of(self.network)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        for phase in self.section.phases:
            if phase not in self.aim.phases:
                raise unknown("phase", phase, self.aim.phases)
        self.optimizers = {
            phase: make_optimizer(self.aim.trainable(phase), self.section.optimizer_of(phase), tables=tables, dtype=dtype)
            for phase in self.aim.phases
        }
        self.average = Average(self.network, self.section.ema) if self.section.ema else None
        self.batches = self._make_batches()
        if saved is not None:
            self._restore(saved)
        self._buffers = list(self._saved_buffers().values())
        self.journal.begin(self.step)
        if self.section.compile:
            self.network.compile()
        count = min(len(self.val), self.section.evaluate_records)  # from all over the split, whose records may be in an order
        self._evaluation = [self.val[i * len(self.val) // count] for i in range(count)]

    def _make_learner(self) -> Learner:
        maker: Any = self.kind.model_class()
        config, seed = self.recipe.model.config, self.section.seed
        if self.base is None:
            learner: Learner = maker.create(config, self.records, seed=seed, tokenizer=self.tokenizer)
        elif (self.base / ADAPTER).is_file():
            learner = adapt.open_base(self.kind, self.base)
        else:  # with a configuration of its own it is another task with the base's weights
            other = config and hasattr(maker, "begin_from")
            learner = maker.begin_from(self.base, config, self.records, seed=seed) if other else maker.load(self.base)
        if not isinstance(learner, Learner):
            raise UsageError("family '{name}' cannot be trained", name=self.kind.name)
        return learner

    def _make_batches(self) -> Batches:
        codec = self.aim.codec
        lengths = np.array([codec.length(record) for record in self.records], dtype=np.int64)
        context = int(getattr(codec, "context", 0))
        return Batches(lengths, self.section.batch, batching=self.section.batching, seed=self.section.seed, context=context)

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        state = saved.state
        if state["family"] != self.kind.name or state["model_config"] != _plain(self.recipe.model.config):
            raise ArtifactError(
                "the checkpoints in {folder} belong to another model configuration; choose another name", folder=self.folder
            )
        self._load_weights(saved)
        checkpoint.restore_optimizers(self.optimizers, self.network, saved.optim)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.best, self.best_step, self.stale = state["best"], int(state["best_step"]), int(state["stale"])
        self.val_loss, self.train_loss = state["val_loss"], float(state["train_loss"])

    def _load_weights(self, saved: checkpoint.Checkpoint) -> None:
        """Put a checkpoint's weights and their average in place."""
        own = self._tensors()
        if own.keys() != saved.model.keys():
            raise ArtifactError(
                "the checkpoints in {folder} belong to another model configuration; choose another name", folder=self.folder
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved.model[name])
            if self.average is not None:
                for name, tensor in self.average.shadow.items():
                    tensor.copy_(saved.optim[f"ema/{name}/average"])

    # ------------------------------------------------------------------ the loop

    def loop(self) -> bool:
        """Run to the last step, to early stopping, or to an interruption; True when interrupted."""
        total = self.section.steps
        values = {
            "precision": self.precision,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "records": len(self.records),
        }
        self.journal.tell("start", self.step, values)
        with self._catch_signals():
            try:
                if self.step == 0 and (self.recipe.adapt or self.aim is not self.learner) and self._evaluation:
                    self._where_it_begins()
                while self.step < total and not self._patience_is_over():
                    self._one_step()
                    self._after_step()
            except Interrupted:
                self._save_checkpoint()
                return True
        return False

    def _where_it_begins(self) -> None:
        """Evaluate the model that is changed. With early stopping it is kept: nothing may be better than it."""
        self.best, self.stale = None, 0  # a run that was cut here begins again
        self._evaluate()
        if self.section.early_stopping is not None:
            self._save_checkpoint()

    def _one_step(self) -> None:
        """Every phase once: accumulate the summed loss over micro-batches, divide by the whole count, clip, move."""
        start = time.perf_counter()
        epoch, indices = self.batches.at(self.step)
        share = learning_rate(self.step, self.section.steps, self.section.schedule)
        logs: dict[str, float] = {}
        units = 0
        before = [buffer.clone() for buffer in self._buffers]  # passes move them: running means, codebooks
        self.network.train()
        for phase, optimizer in self.optimizers.items():
            found = self._accumulate(phase, indices, before)
            count = max(found.number, 1)
            norm = self._move(phase, optimizer, count, self.section.optimizer_of(phase).lr * share)
            prefix = "" if len(self.optimizers) == 1 else f"{phase}/"
            logs |= {f"{prefix}loss": found.total / count, f"{prefix}grad_norm": norm}
            logs |= {prefix + name: value / count for name, value in found.logs.items()}
            units += found.number
        self.peers.average(self._buffers, before)
        if self.average is not None:
            self.average.update(self.network, self.step)
        self.step += 1
        elapsed = time.perf_counter() - start
        self.seconds += elapsed
        self._window = (self._window[0] + units, self._window[1] + elapsed)
        losses = [value for name, value in logs.items() if name.rpartition("/")[2] == "loss"]
        self.train_loss = losses[0]
        if not np.isfinite(losses).all():
            raise MiaobiError(
                "the loss became {loss} at step {step}; lower train.optimizer.lr or raise train.schedule.warmup",
                loss=next(loss for loss in losses if not np.isfinite(loss)),
                step=self.step,
            )
        if self.peers.first and (self.step % self.section.log_every == 0 or self.step == self.section.steps):
            rounded = {name: float(f"{value:.7g}") for name, value in logs.items()}
            speed = {"units_per_second": round(self._window[0] / self._window[1], 1), "seconds": round(self.seconds, 2)}
            self._window = (0, 0.0)
            self.journal.log("step", self.step, {"epoch": epoch, **rounded, "lr": self.section.optimizer.lr * share, **speed})

    def _accumulate(self, phase: str, indices: np.ndarray[Any, np.dtype[np.int64]], before: Sequence[Tensor]) -> Sums:
        """Gradients of the summed loss over all micro-batches, this process's and the others'.

        Raises:
            Interrupted: with the buffers as they were `before` the step. Once a phase has moved its weights, the step goes on to its end.
        """
        for parameter in self.network.parameters():
            parameter.grad = None
        total, count = 0.0, 0
        sums: dict[str, float] = {}
        turn = self.aim.phases.index(phase)  # each phase draws noise of its own
        for number, part in self.peers.parts(indices, self.section.micro):
            if self.stopping.is_set() and turn == 0 and self.peers.alone:
                for buffer, kept in zip(self._buffers, before, strict=True):
                    buffer.copy_(kept)
                raise Interrupted
            key = (self.section.seed, self.step, number, *([turn] if turn else []))
            loss = self._loss([self.records[int(i)] for i in part], phase, key)
            loss.total.backward()  # type: ignore[no-untyped-call]
            total += loss.total.item()
            count += loss.count
            for name, value in loss.logs.items():
                sums[name] = sums.get(name, 0.0) + value
        return self.peers.add(Sums(total, count, sums), [p for group in self.optimizers[phase].param_groups for p in group["params"]])

    def _loss(self, records: Sequence[Record], phase: str, key: tuple[int, ...]) -> Loss:
        """The loss of one micro-batch, its randomness drawn from `key` alone."""
        rng = np.random.default_rng(key)
        torch.manual_seed(int(rng.integers(2**62)))
        batch = _to_device(self.aim.codec.collate(records, rng=rng), self.device)
        with self._autocast():
            return self.aim.loss(batch, phase)

    def _move(self, phase: str, optimizer: torch.optim.Optimizer, count: int, rate: float) -> float:
        """Scale the gradients from a sum to a mean, clip, and take the step; returns the gradient's norm before clipping."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_mul_(grads, 1.0 / max(count, 1))
        norm = float(nn.utils.clip_grad_norm_(parameters, self.section.clip or float("inf"), foreach=True))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        return norm

    def _after_step(self) -> None:
        """Evaluate, sample and save where the recipe says so."""
        last = self.step == self.section.steps
        if self._evaluation and (last or self.step % self.section.evaluate_every == 0):
            self._evaluate()
        if self.peers.first and self.section.sample_every and (last or self.step % self.section.sample_every == 0):
            self._sample()
        new_best = self.section.early_stopping is not None and self.best_step == self.step  # these weights may be the ones to keep
        if last or new_best or self.step % self.section.checkpoint_every == 0 or self._patience_is_over():
            self._save_checkpoint()
        if self.peers.agree(self.stopping.is_set()) and not last:
            raise Interrupted

    def _patience_is_over(self) -> bool:
        stopping = self.section.early_stopping
        return stopping is not None and self.stale >= stopping.patience

    def _evaluate(self) -> None:
        """Have the first process measure; all go on by what it found."""
        if self.peers.first:
            self._measure()
        self.val_loss, self.best, self.best_step, self.stale = self.peers.told((self.val_loss, self.best, self.best_step, self.stale))

    @torch.no_grad()
    def _measure(self) -> None:
        """The validation loss of the weights that will be kept (the average, where there is one)."""
        with self._kept_weights():
            totals: dict[str, float] = {}
            each: dict[str, list[float]] = {}
            count = 0
            size = self.section.micro or self.section.batch
            order = sorted(self._evaluation, key=self.aim.codec.length)
            for start in range(0, len(order), size):
                batch = _to_device(self.aim.codec.collate(order[start : start + size]), self.device)
                with self._autocast():
                    loss = self.aim.loss(batch, self.aim.phases[-1])
                for name, value in {"loss": loss.total.item(), **loss.logs}.items():
                    totals[name] = totals.get(name, 0.0) + value
                for name, values in loss.each.items():
                    each.setdefault(name, []).extend(values)
                count += loss.count
        found = {f"val_{name}": value / max(count, 1) for name, value in totals.items()}
        self.val_loss = found.pop("val_loss")
        delta = self.section.early_stopping.min_delta if self.section.early_stopping else 0.0
        if self.best is None or self.val_loss < self.best - delta:
            self.best, self.best_step, self.stale = self.val_loss, self.step, 0
        else:
            self.stale += 1
        rounded = {name: float(f"{value:.7g}") for name, value in {"val_loss": self.val_loss, **found}.items()}
        self.journal.log("evaluate", self.step, {**rounded, "best": self.best, "best_step": self.best_step})
        if each:
            self.journal.each(self.step, each)

    def _sample(self) -> None:
        """Generate the recipe's prompts with the weights of now, into `samples.jsonl` and `samples/`."""
        with self._kept_weights():
            preview(self.learner, self.recipe.generate, self._evaluation, self.journal, self.step, inputs=self.kind.inputs)

    # ------------------------------------------------------------------ keeping

    def _save_checkpoint(self) -> None:
        if not self.peers.first:
            return
        optim = checkpoint.optimizer_tensors(self.optimizers, self.network)
        if self.average is not None:
            optim |= {f"ema/{name}/average": tensor for name, tensor in self.average.shadow.items()}
        state = {
            "family": self.kind.name,
            "model_config": _plain(self.recipe.model.config),
            "precision": self.precision,
            "threads": torch.get_num_threads(),
            "seconds": round(self.seconds, 3),
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "best": self.best,
            "best_step": self.best_step,
            "stale": self.stale,
        }
        path = checkpoint.save(
            self.folder, step=self.step, model=self._tensors(), optim=optim, state=state, keep=self.section.keep_checkpoints
        )
        self.journal.tell("checkpoint", self.step, {"path": str(path)})

    def finish(self, target: Path, data: Sequence[str], interrupted: bool) -> TrainResult:
        """Seal the artifact with the kept weights (with early stopping: the best ones), unless the run was interrupted."""
        if not interrupted:
            if self.section.early_stopping is not None and self.best is not None and self.best_step != self.step:
                best = checkpoint.read(self.folder / "checkpoints" / f"step-{self.best_step:06d}")
                if best is not None:
                    self._load_weights(best)
            with self._kept_weights(), new_folder(target, replace=True) as new:
                adapt.save(self.learner, new, self.recipe, self.base)
                (new / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")
                base = self.recipe.model.base
                seal(new, family=self.kind.name, name=self.recipe.name, licence=self.recipe.trust.licence, base=base, data=tuple(data))
            self.journal.finish()
            if isinstance(self.learner, Critical):
                for text in self.learner.concerns():
                    self.journal.tell("warning", self.step, {"text": text})
            self.journal.tell("done", self.step, {"artifact": str(target), "seconds": round(self.seconds, 1)})
        return TrainResult(
            run=self.folder,
            artifact=None if interrupted else target,
            steps=self.step,
            seconds=self.seconds,
            train_loss=self.train_loss,
            val_loss=self.val_loss,
            interrupted=interrupted,
        )

    # ------------------------------------------------------------------ small things

    @contextlib.contextmanager
    def _kept_weights(self) -> Iterator[None]:
        """Evaluation mode, with the moving average in the weights' place."""
        self.network.eval()
        if self.average is not None:
            self.average.swap(self.network)
        try:
            yield
        finally:
            if self.average is not None:
                self.average.swap(self.network)

    @contextlib.contextmanager
    def _catch_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the run with a checkpoint; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.stopping.is_set():
                raise KeyboardInterrupt
            self.stopping.set()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tensors(self) -> dict[str, Tensor]:
        """Every parameter once (tied ones share a name) and every buffer that is saved; of an adaptation, what moves."""
        adapting = self.recipe.adapt is not None
        moving = (pair for pair in self.network.named_parameters() if pair[1].requires_grad or not adapting)
        return {name: parameter.data for name, parameter in moving} | self._saved_buffers()

    def _saved_buffers(self) -> dict[str, Tensor]:
        """The buffers that are saved; none of an adaptation, whose base holds them."""
        saved = {} if self.recipe.adapt is not None else self.network.state_dict()
        return {name: tensor for name, tensor in self.network.named_buffers() if name in saved}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16, enabled=self.precision == "bf16")


def _to_device(batch: Mapping[str, Any], device: str) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def _plain(values: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(values, sort_keys=True))
