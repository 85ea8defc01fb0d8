"""Which metrics can be computed of a model and its data, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

from miaobi.core.errors import UsageError
from miaobi.core.families import families
from miaobi.core.language import tr
from miaobi.core.protocols import Model, Scorer
from miaobi.core.recipe import Evaluate
from miaobi.core.types import Card, Verb
from miaobi.engine.ask import Abstainer, PseudoScorer, Reconstructor
from miaobi.engine.extraction import can_recite
from miaobi.engine.metrics import ON_REQUEST, Metric, Need, find_metric, fitting_metrics, known_metrics


@dataclass(frozen=True, kw_only=True)
class Have:
    """What metrics can be computed from."""

    card: Card
    training: bool
    judge: bool
    model: Model | None = None
    scorer: Model | None = None

    def obstacle(self, metric: Metric) -> str:
        """Why the metric cannot be computed; nothing when it can."""
        family = self.card.family
        if Need.SAMPLES in metric.needs and (reason := _abstains(self.model)):
            return reason
        if Need.SCORES in metric.needs and not scores_records(self.scorer):
            if isinstance(self.scorer, Scorer):
                return tr("the model {name} was trained without a likelihood", name=self.card.name)
            return (
                tr("the family {family} gives no likelihoods", family=family) if family else tr("a folder of pictures has no likelihoods")
            )
        if Need.PSEUDO in metric.needs and not (scores_records(self.scorer) and isinstance(self.scorer, PseudoScorer)):
            return tr("the model {name} does not fill gaps", name=self.card.name)
        if Need.EXTRACTS in metric.needs and not (continues(self.model) or can_recite(self.scorer)):
            return tr("the family {family} does not continue texts", family=family)
        if Need.COPIES in metric.needs and not isinstance(self.model, Reconstructor):
            return tr("the family {family} reconstructs nothing", family=family) if family else tr("a folder of pictures has no copies")
        if Need.TRAINING in metric.needs and not self.training:
            return tr("the training records are not there")
        if Need.JUDGE in metric.needs and not self.judge:
            return tr("the recipe names no judge of pictures and captions (evaluate.scorer)")
        return ""


def _abstains(model: Model | None) -> str:
    """Why the model makes nothing of its own; empty where it does."""
    return model.abstains() if isinstance(model, Abstainer) else ""


def continues(model: Model | None) -> bool:
    """Whether a prompt is for it the beginning of a text; families say so by an attribute of that name."""
    return bool(getattr(model, "continues", False))


def scores_records(model: Model | None) -> bool:
    """Whether it gives likelihoods; a model's card may say that it does not although its family does."""
    return isinstance(model, Scorer) and Verb.SCORE in model.card.verbs


def choose_metrics(have: Have, section: Evaluate, *, strict: bool) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that the section names, or all that fit what the model makes, and the reasons why some of them are left out.

    Raises:
        UsageError: (strict) a metric is unknown or cannot be computed.
    """
    family = families().get(have.card.family)
    chosen, skipped = [], {}
    fitting = fitting_metrics(have.card.outputs, family)
    for name in section.metrics or (name for name in fitting if name not in ON_REQUEST):
        if not strict and name not in known_metrics(family):
            skipped[name] = tr("the family {family} has no such metric", family=have.card.family)
            continue
        metric = find_metric(name, family)
        obstacle = have.obstacle(metric) if name in fitting else tr("it says nothing of what this model makes")
        if obstacle and strict:
            raise UsageError("the metric {name} cannot be computed: {reason}", name=name, reason=obstacle)
        if obstacle:
            skipped[name] = obstacle
        else:
            chosen.append(metric)
    return chosen, skipped
