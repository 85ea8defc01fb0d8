"""The losses of the two players, the gradient penalties, and a watch over collapse.

R3GAN (Huang et al., 2024): the relativistic pairing loss (Jolicoeur-Martineau, 2019) compares a real picture with a made one, and
zero-centred penalties on the gradient at real (R1, Mescheder et al., 2018) and made pictures (R2) make the game converge, with no tricks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Literal["relativistic", "logistic", "hinge"]
NEIGHBOURS = 3
THUMBNAIL = 8  # pictures are compared at this size: it shows what they are of and hides the grain


def discriminator_loss(rule: Rule, real: Tensor, made: Tensor) -> Tensor:
    """What the discriminator pays for its scores (B,) of real and made pictures."""
    if rule == "relativistic":
        return F.softplus(made - real)
    if rule == "logistic":
        return F.softplus(-real) + F.softplus(made)
    return F.relu(1 - real) + F.relu(1 + made)


def generator_loss(rule: Rule, real: Tensor, made: Tensor) -> Tensor:
    """What the generator pays (B,)."""
    if rule == "relativistic":
        return F.softplus(real - made)
    return F.softplus(-made) if rule == "logistic" else -made


def gradient_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """The squared length (B,) of the gradient of each score at its picture, with a graph: its own gradient is wanted."""
    (slopes,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return slopes.square().sum(dim=(1, 2, 3))


class Watch(nn.Module):
    """How much of the real pictures the made ones reach, averaged over the last few hundred batches.

    `recall` is the share of real pictures that lie as near to some made one as that one's third neighbour among the made (Kynkäänniemi et
    al., 2019); `diversity` is the mean distance between made pictures, divided by that between real ones. Both are 0 where every made
    picture is the same. They are taken on thumbnails, so they need no trained features, and cost nothing beside a step.
    """

    recall: Tensor
    diversity: Tensor
    seen: Tensor

    def __init__(self, momentum: float = 0.005) -> None:
        super().__init__()
        self.momentum = momentum
        for name in ("recall", "diversity", "seen"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def look(self, real: Tensor, made: Tensor) -> dict[str, float]:
        """Take a batch of real and made pictures (B, C, S, S) into the averages; its own two figures."""
        if len(real) <= NEIGHBOURS:
            return {}
        a, b = thumbnails(real), thumbnails(made)
        found = {"recall": recall(a, b), "diversity": float(torch.pdist(b).mean() / torch.pdist(a).mean().clamp(min=1e-6))}
        self.seen += 1
        share = max(self.momentum, 1 / float(self.seen))
        self.recall.lerp_(torch.tensor(found["recall"], device=self.recall.device), share)
        self.diversity.lerp_(torch.tensor(found["diversity"], device=self.diversity.device), share)
        return found


def recall(real: Tensor, made: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """The share of rows of `real` (N, D) that lie within the `neighbours`-nearest distance of some row of `made` (M, D)."""
    radii = torch.cdist(made, made).kthvalue(neighbours + 1, dim=1).values  # the nearest of all is the row itself
    return float((torch.cdist(real, made) <= radii).any(dim=1).float().mean())


def thumbnails(pictures: Tensor) -> Tensor:
    """(B, C, S, S) as rows (B, D) of at most THUMBNAIL by THUMBNAIL pixels."""
    side = min(THUMBNAIL, pictures.shape[-1])
    return F.adaptive_avg_pool2d(pictures.float(), side).flatten(1)
