"""What learning to take noise away needs in every family that does: the noise of a step of training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from miaobi.core.protocols import Batch
from miaobi.engine.sampling.noise import Level, Process, Times, draw_noise


def noise_for(batch: Batch, clean: Tensor, process: Process, *, distribution: Times) -> tuple[Level, Tensor]:
    """Times and noise for clean pictures or clips (B, …): drawn while training, the same every time for a record that is evaluated.

    A batch that is evaluated has `seeds` (B,).
    """
    if "seeds" not in batch:
        rng = np.random.default_rng(int(torch.randint(2**62, ())))  # torch's generator was seeded for this micro-batch
        return process.draw(len(clean), rng, distribution=distribution), torch.randn_like(clean)
    generators = [np.random.default_rng(int(seed)) for seed in batch["seeds"].tolist()]
    return process.at(np.array([generator.uniform(0.001, 0.999) for generator in generators])), draw_noise(generators, clean)
