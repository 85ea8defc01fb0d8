"""Learning from rewards: the model answers, the answers are judged, and those better than their siblings become likelier.

REINFORCE (Williams, 1992) with the mean of the other answers to the same prompt as baseline (Kool et al., 2019; Ahmadian et al., 2024),
and a leash to the model as it was: the KL divergence of the two distributions at every place of an answer, summed over the whole vocabulary
(Amini et al., 2025). The estimate from the one token that was drawn (Shao et al., 2024) has tails so heavy that one unlikely token undoes
ten steps. What an answer's places diverge is also taken off its reward, for the model chooses where it goes as well. Unusual: answers are
made by `generate`, the way a person gets them, with their rules and options, and each batch is used for one step only, so there is no ratio
to clip. Seeds come from the loop's generator, so a resumed run writes the very same answers.
Shapes: G answers to each of P prompts, R = P G rows, N answer tokens of all rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.core.adapting import Reinforce
from miaobi.core.errors import DataError, UsageError, unknown
from miaobi.core.families import family
from miaobi.core.protocols import Answerer, Batch, Loss, Scorer
from miaobi.core.schema import validate
from miaobi.core.types import NOTHING, Done, Options, Piece, Record, Request
from miaobi.engine import lora
from miaobi.engine.adapt import Reference, Reward
from miaobi.engine.ask import Prompter, asked_in
from miaobi.engine.prefer import padded, row_sums

if TYPE_CHECKING:
    from numpy.random import Generator

Judge = Callable[[Request, str, Mapping[str, Any]], float]  # what was asked, the answer, the record's meta
PYTHON = "python"  # the name under which a function's weight stands in the recipe
UNSHAPED = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0}  # answers are the model's own distribution


@runtime_checkable
class Rewarder(Protocol):
    """A model that knows what its answers are worth."""

    def rewards(self) -> Mapping[str, Callable[[Request, str], float]]:
        """Functions of a request and an answer, by name; more is better, and from 0 to 1 makes weights easy to choose."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """A model that tells classes of texts apart."""

    @property
    def classes(self) -> Sequence[str]:
        """Their names; none of a model that was made for another task."""
        ...

    def chances(self, text: str, /) -> Mapping[str, float]:
        """The probability of each class of a text."""
        ...


@dataclass(slots=True)
class _Answer:
    """What the model said, and whether it came to an end."""

    text: str = ""
    ended: bool = True


class Prompts:
    """Records to what is asked: their own prompt or conversation, what the model would have been asked for them, or their text."""

    def __init__(self, learner: Answerer, options: Options) -> None:
        self._request_for = learner.request_for if isinstance(learner, Prompter) else lambda record: None
        self._options = options

    def request(self, record: Record) -> Request:
        """The request, complete but for the seed."""
        asked = asked_in(record) or self._request_for(record) or Request.of(str(record.meta.get("title") or record.text))
        return replace(asked, options={**self._options, **asked.options})

    def length(self, record: Record, /) -> int:
        """One: how long an answer becomes is not known before."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`requests`, and the `meta` of the records."""
        return {"requests": [self.request(record) for record in records], "meta": [record.meta for record in records]}


class Reinforcing:
    """The aim of the section `reinforce`."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, learner: Answerer, section: Reinforce, *, options: Options = NOTHING, reward: Reward | None = None) -> None:
        self.learner, self.section = learner, section
        self.codec = Prompts(learner, options)
        self.judges = judges(learner, section, reward)
        self.reference = Reference(learner) if section.kl else None

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """What the learner lets move."""
        return self.learner.trainable(phase)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Summed over answers, what `surrogate` says. Without a gradient, minus reward plus the leash."""
        learning = torch.is_grad_enabled()
        seed = int(torch.randint(2**31, ()).item()) if learning else 0  # held-out prompts are answered with the same dice every time
        with torch.no_grad(), lora.whole(self.learner.network):  # plain matrices write twice as fast
            asked = [
                (request, answer, meta)
                for number, (request, meta) in enumerate(zip(batch["requests"], batch["meta"], strict=True))
                for answer in self._answers(request, seed + number)
            ]
        earned = [{name: judge(request, answer.text, meta) for name, judge in self.judges.items()} for request, answer, meta in asked]
        totals = torch.tensor([sum(self._weight(name) * value for name, value in each.items()) for each in earned])  # (R,)
        rows = padded([self._ids(request, answer) for request, answer, _ in asked])
        device = next(self.learner.network.parameters()).device
        rows = {name: tensor.to(device) for name, tensor in rows.items()}
        log_p = self._policy(self.learner, rows)  # (N, V)
        leash = self._leash(log_p, rows)  # (R,)
        worth = totals.to(device)
        if learning:
            losses = surrogate(worth, self._said(log_p, rows), leash, kl=self.section.kl, samples=self.section.samples)
        else:
            losses = self.section.kl * leash - worth
        told = {"reward": totals, "kl": leash.detach(), "length": rows["weights"].sum(dim=1)}  # (R,) each
        if len(self.judges) > 1:
            told |= {f"reward/{name}": torch.tensor([each[name] for each in earned]) for name in self.judges}
        return Loss(
            total=losses.sum(),
            count=len(asked),
            logs={name: float(values.sum()) for name, values in told.items()},
            each={name: values.float().view(-1, self.section.samples).mean(dim=1).tolist() for name, values in told.items()},
        )

    def _weight(self, name: str) -> float:
        return self.section.reward.get(name, 1.0)

    def _answers(self, request: Request, seed: int) -> list[_Answer]:
        """`samples` answers, in order. The network's mode and the loop's dice are as before."""
        schema = family(self.learner.card.family).schemas()[1]
        wanted = {"n": self.section.samples, "max_tokens": self.section.max_tokens, "temperature": self.section.temperature, **UNSHAPED}
        options = {**request.options, **{name: value for name, value in wanted.items() if name in schema.model_fields}}
        complete = validate(schema, options, "options").model_dump(mode="json")
        answers = [_Answer() for _ in range(self.section.samples)]
        training, dice = self.learner.network.training, torch.get_rng_state()
        for chunk in self.learner.generate(replace(request, options=complete, seed=seed)):
            if isinstance(chunk, Piece) and isinstance(chunk.part, str):
                answers[chunk.index].text += chunk.part
            elif isinstance(chunk, Done):
                answers[chunk.index].ended = chunk.reason != "length"
        self.learner.network.train(training)
        torch.set_rng_state(dice)
        return answers

    def _ids(self, request: Request, answer: _Answer) -> tuple[list[int], int]:
        """The ids behind which the log-likelihood is taken; an answer that was cut off did not choose its end."""
        ids, prompt = self.learner.answered(request, answer.text)
        return (ids, prompt) if answer.ended or len(ids) <= prompt + 1 else (ids[:-1], prompt)

    def _said(self, log_p: Tensor, rows: Batch) -> Tensor:
        """The log-likelihood (R,) of each answer."""
        targets = rows["tokens"][:, 1:][rows["weights"]]  # (N,)
        return row_sums(log_p.gather(1, targets[:, None])[:, 0], rows["weights"])

    def _policy(self, answerer: Answerer | Reference, rows: Batch) -> Tensor:
        """log p (N, V) of what answers: the model at the temperature of its answers."""
        return F.log_softmax(answerer.logits(rows).float() / self.section.temperature, dim=-1)

    def _leash(self, log_p: Tensor, rows: Batch) -> Tensor:
        """KL (R,) from the model as it was, over the whole vocabulary at each place of an answer, summed over its places."""
        if self.reference is None:
            return torch.zeros(len(rows["tokens"]), device=log_p.device)
        apart = F.kl_div(self._policy(self.reference, rows), log_p, reduction="none", log_target=True).sum(dim=1)  # (N,)
        return row_sums(apart, rows["weights"])


def surrogate(rewards: Tensor, said: Tensor, leash: Tensor, *, kl: float, samples: int) -> Tensor:
    """Losses (R,) whose mean gradient is that of kl times the expected divergence minus the expected reward.

    Args:
        rewards: (R,) of the answers, those to one prompt beside each other.
        said: (R,) log-likelihoods of the answers.
        leash: (R,) divergences at an answer's places, summed; the gradient is that of the places, and advantages are that of reaching them.
    """
    return kl * leash - advantages(rewards - kl * leash.detach(), samples) * said


def advantages(worth: Tensor, samples: int) -> Tensor:
    """How much better (R,) each answer is than the mean of the others to its prompt."""
    grouped = worth.view(-1, samples)  # (P, G)
    others = (grouped.sum(dim=1, keepdim=True) - grouped) / (samples - 1)
    return (grouped - others).flatten()


def judges(learner: Answerer, section: Reinforce, reward: Reward | None) -> dict[str, Judge]:
    """The rewards that the section names, and the function that was given.

    Raises:
        UsageError: no reward at all, or one that nobody knows.
    """
    offered = learner.rewards() if isinstance(learner, Rewarder) else {}
    found: dict[str, Judge] = {}
    for name in section.reward:
        if name in offered:
            found[name] = _of_family(offered[name])
        elif name == "length":
            found[name] = lambda request, text, meta: float(len(text))
        elif name.startswith("model:"):
            found[name] = _of_model(name.removeprefix("model:"))
        elif name != PYTHON:
            raise unknown("reward", name, [*offered, "length", "model:NAME"])
    if reward is not None:
        found[PYTHON] = _of_function(reward)
    elif PYTHON in section.reward:
        raise UsageError("the recipe rewards by a Python function; give it with --reward FILE.py:FUNCTION")
    if not found:
        raise UsageError("the section reinforce names no reward. Known: {known}", known=", ".join([*offered, "length", "model:NAME"]))
    return found


def _of_family(function: Callable[[Request, str], float]) -> Judge:
    return lambda request, text, meta: float(function(request, text))


def _of_function(function: Reward) -> Judge:
    """A person's function, whose answer is checked."""

    def judge(request: Request, text: str, meta: Mapping[str, Any]) -> float:
        value = function(request.prompt, text, meta)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError("the reward function should return a finite number, not {value}", value=repr(value)[:60])
        return float(value)

    return judge


def _of_model(place: str) -> Judge:
    """How probable another model finds that the answer is of a class; without one, how likely the answer: minus bits per character.

    Raises:
        UsageError: the model cannot judge so.
    """
    from miaobi.engine.load import load

    name, _, chosen = place.partition("#")
    model = load(name, runtime="torch").model
    classes = model.classes if isinstance(model, Classifier) else ()
    if isinstance(model, Classifier) and chosen in classes:
        return lambda request, text, meta: model.chances(text)[chosen]
    if classes or chosen:
        raise UsageError(
            "the reward model:{place} names no class of that model; write model:NAME#CLASS. Known: {known}",
            place=place,
            known=", ".join(classes) or "–",
        )
    if not isinstance(model, Scorer):
        raise UsageError("the model {name} gives no likelihoods, so it cannot reward", name=name)

    def judge(request: Request, text: str, meta: Mapping[str, Any]) -> float:
        if not text.strip():
            return -10.0  # as bad as knowing nothing of a thousand characters
        score = next(iter(model.score([Record(id="answer", parts=(text,), meta={**meta, "messages": None})])))
        return -score.bits / max(1, score.characters)

    return judge


def load_reward(place: str) -> Reward:
    """The function `FILE.py:NAME`. It is the person's own code: it comes from the command line, never from a recipe.

    Raises:
        UsageError: no such file or function.
        DataError: the file cannot be executed.
    """
    import importlib.util
    from pathlib import Path

    file, _, name = place.rpartition(":")
    path = Path(file)
    if not file or not path.is_file() or path.suffix != ".py":
        raise UsageError("a reward is FILE.py:FUNCTION; there is no such file: '{place}'", place=place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError("{path} cannot be executed: {kind}: {problem}", path=path, kind=type(error).__name__, problem=error) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError("{path} has no function '{name}'", path=path, name=name)
    return function  # type: ignore[no-any-return]
