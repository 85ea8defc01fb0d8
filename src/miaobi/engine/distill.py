"""A smaller model learns what a larger one says: from its distribution over the next token, and from texts that it wrote.

Hinton et al. (2015): both distributions are softened by a temperature T, and the divergence is multiplied by T² so that its gradients keep
their size. Kim and Rush (2016): texts of the teacher are learned like records. Teacher and student have to spell alike.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.core.adapting import Distill
from miaobi.core.artifact import explain_os_errors, write_text
from miaobi.core.errors import UsageError
from miaobi.core.protocols import Answerer, Batch, Loss, Model
from miaobi.core.recipe import Recipe
from miaobi.core.types import Content, Done, Record, Request
from miaobi.data.conversations import CUT
from miaobi.data.records import line_of
from miaobi.engine.ask import asked_in, requests_for, spoken_before
from miaobi.engine.generate import run
from miaobi.engine.journal import Journal
from miaobi.trust.safety import compile_words

TEXTS = "teacher.jsonl"  # in the run's folder
MOST_ASKED = 10_000  # records are asked for in turn


class Distilling:
    """The aim of the section `distill`."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, learner: Answerer, section: Distill) -> None:
        self.learner, self.section = learner, section
        self.codec = learner.codec
        self.teacher = teacher_of(section) if section.logits else None
        if self.teacher is not None:
            self.teacher.network.requires_grad_(False).eval()
            check_same_tokens(self.teacher, learner)

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What the learner lets move."""
        return self.learner.trainable(phase)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Summed over tokens. `imitation` is the divergence from the teacher, in nats, without the temperature's factor."""
        share, T = self.section.logits, self.section.temperature
        targets = batch["tokens"][:, 1:][batch["weights"]]
        logits = self.learner.logits(batch).float()  # (N, V)
        plain = F.cross_entropy(logits, targets, reduction="sum")
        if self.teacher is None:
            return Loss(total=plain, count=len(targets))
        divergence = soft_divergence(_taught(self.teacher, batch), logits, temperature=T)
        logs = {"plain": float(plain.detach()), "imitation": float(divergence.detach())}
        return Loss(total=(1 - share) * plain + share * T * T * divergence, count=len(targets), logs=logs)


@torch.no_grad()
def _taught(teacher: Answerer, batch: Batch) -> Tensor:
    """The teacher's logits (N, V), where the batch is."""
    teacher.network.to(batch["tokens"].device)
    return teacher.logits(batch).float()


def soft_divergence(teacher: Tensor, student: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher ‖ student) of logits (N, V), both softened, summed over the rows."""
    return F.kl_div(
        F.log_softmax(student / temperature, dim=-1), F.log_softmax(teacher / temperature, dim=-1), reduction="sum", log_target=True
    )


def teacher_of(section: Distill) -> Answerer:
    """The teacher, in a runtime that gives its distribution.

    Raises:
        UsageError: a model of a family that does not.
    """
    from miaobi.engine.load import load

    model = load(section.teacher, runtime="torch").model
    if not isinstance(model, Answerer):
        raise UsageError("the model {name} gives no distribution over tokens, so it cannot teach", name=section.teacher)
    return model


def check_same_tokens(teacher: Answerer, student: Answerer) -> None:
    """Refuse two models that spell otherwise: the same number would mean another token.

    Raises:
        UsageError: their vocabularies differ.
    """
    sizes = [_vocabulary(model) for model in (teacher, student)]
    sample = "The quick brown fox, 1234; 床前明月光，疑是地上霜。"
    spelled = [model.answered(Request.of("春"), sample)[0] for model in (teacher, student)]
    shortest = min(map(len, spelled))
    if sizes[0] != sizes[1] or spelled[0][:shortest] != spelled[1][:shortest]:
        raise UsageError(
            "{teacher} and {student} have other vocabularies, so one cannot learn the other's distribution; set distill.logits to 0 and "
            "distill.texts to learn from its texts",
            teacher=teacher.card.name,
            student=student.card.name,
        )


def _vocabulary(model: Answerer) -> int:
    """How many tokens the model chooses among."""
    ids, prompt = model.answered(Request.of("春"), "a")
    weights = torch.zeros((1, len(ids) - 1), dtype=torch.bool)
    weights[0, prompt - 1] = True
    device = next(model.network.parameters()).device
    with torch.no_grad():
        return model.logits({"tokens": torch.tensor([ids], device=device), "weights": weights.to(device)}).shape[-1]


# ---------------------------------------------------------------- texts of the teacher


def with_texts(records: Sequence[Record], recipe: Recipe, folder: Path, journal: Journal) -> Sequence[Record]:
    """The records and, behind them, the texts that the teacher writes; those of a broken-off run are not written again."""
    section = recipe.distill
    if section is None or not section.texts:
        return records
    path = folder / TEXTS
    found = _kept(path)
    if len(found) < section.texts:
        from miaobi.engine.load import load

        with explain_os_errors(path), path.open("a", encoding="utf-8") as file:
            for made in _write(load(section.teacher).model, records, recipe, first=_next(found)):
                found += made
                file.write("".join(line_of({"id": one.id, "text": one.text, "meta": dict(one.meta)}).decode() for one in made))
                file.flush()
                journal.tell("texts", 0, {"done": min(len(found), section.texts), "total": section.texts})
                if len(found) >= section.texts:
                    break
    return Both(records, found[: section.texts])


def _write(teacher: Model, records: Sequence[Record], recipe: Recipe, *, first: int) -> Iterator[list[Record]]:
    """The texts of request number `first` and those after it, without end: after all records it is their turn again, with other seeds."""
    nothing = compile_words([])  # a listed word is no reason to stop a training
    asked = _asked(teacher, records[:MOST_ASKED], recipe)
    answers = getattr(getattr(teacher, "codec", None), "chat", None) is not None  # by its template, which the student has to learn
    for number in itertools.count(first):
        request, record = asked[number % len(asked)]
        request = replace(request, seed=request.seed + 1_000_003 * (number // len(asked)))
        found: list[Record] = []
        cut = False
        for chunk in run(teacher, request, words=nothing):
            if isinstance(chunk, Done):
                cut = chunk.reason == "length"  # its content comes next
            elif isinstance(chunk, Content):
                made = _record(request, record, chunk.text, f"teacher-{number}-{len(found)}", answers=answers)
                found.append(replace(made, meta={**made.meta, CUT: True}) if cut else made)
        yield found


def _asked(teacher: Model, records: Sequence[Record], recipe: Recipe) -> list[tuple[Request, Record | None]]:
    """What the teacher is asked: of conversations, what comes before the last answer; else what an evaluation would ask."""
    seed = recipe.train.seed
    found: list[tuple[Request, Record | None]] = []
    for number, record in enumerate(records):
        asked = asked_in(record) if record.meta.get("messages") else None
        if asked is not None:
            found.append((replace(asked, options=dict(recipe.generate.options), seed=seed + number), record))
    return found or requests_for(teacher, records, recipe.generate, count=MOST_ASKED, seed=seed)


def _record(request: Request, record: Record | None, text: str, name: str, *, answers: bool) -> Record:
    """A text as the student learns it: in the place of the record that it was asked for, else as an answer, or behind its prompt."""
    before = spoken_before(record) if record is not None else [{"role": "user", "content": request.prompt}] if answers else []
    if before:
        messages = [*before, {"role": "assistant", "content": text}]
        return Record(id=name, parts=("\n".join(message["content"] for message in messages),), meta={"messages": messages})
    if record is not None:
        return replace(record, id=name, parts=(text,))
    return Record(id=name, parts=(request.prompt + text,), meta={})


def _kept(path: Path) -> list[Record]:
    """The texts that are there; those of the last request go, for a kill may have cut them."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line.endswith("}")]
    last = lines[-1]["id"].rpartition("-")[0] if lines else ""
    kept = [values for values in lines if values["id"].rpartition("-")[0] != last]
    write_text(path, "".join(line_of(values).decode() for values in kept))
    return [Record(id=values["id"], parts=(values["text"],), meta=values["meta"]) for values in kept]


def _next(found: Sequence[Record]) -> int:
    """The number of the request that comes next."""
    return int(found[-1].id.split("-")[1]) + 1 if found else 0


class Both(Sequence[Record]):
    """One sequence behind another, without a copy of either."""

    def __init__(self, first: Sequence[Record], second: Sequence[Record]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{len(self)} records")
        index %= len(self)
        return self.first[index] if index < len(self.first) else self.second[index - len(self.first)]
