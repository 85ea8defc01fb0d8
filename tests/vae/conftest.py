"""Small pictures of two classes, and small autoencoders of every kind that have learned them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miaobi.core.types import Media, Modality, Record
from miaobi.data.pictures import encode

torch = pytest.importorskip("torch")


def bars(number: int) -> np.ndarray:
    """Eight by eight: one white bar on black, lying in the even pictures and standing in the odd ones."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 3] = 255
    place = 1 + (number // 2) % 5
    pixels[place : place + 2] = 255
    return pixels if number % 2 == 0 else pixels.transpose(1, 0, 2).copy()


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return [
        Record(
            id=str(number),
            parts=(Media(modality=Modality.IMAGE, mime="image/png", data=encode(bars(number))),),
            meta={"class": ["lying", "standing"][number % 2]},
        )
        for number in range(20)
    ]


TINY = {
    "size": 8,
    "channels": 1,
    "patch": 2,
    "widths": [12, 24],
    "latent": 4,
    "refine": 0,
    "codes": 16,
    "prior_width": 16,
    "prior_layers": 1,
}


def learn(records: list[Record], steps: int, **config: Any) -> Any:
    """A model after so many steps on all records."""
    from miaobi.models.vae.model import VAE

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = VAE.create(TINY | config, records, seed=1)
    optimizers = {phase: torch.optim.Adam(model.trainable(phase), lr=8e-3) for phase in model.phases}
    batch = model.codec.collate(records)
    model.network.train()
    for step in range(steps):
        for phase, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = 8e-3 * (1 - step / steps)
            loss = model.loss(batch, phase)
            optimizer.zero_grad()
            (loss.total / loss.count).backward()
            optimizer.step()
    model.network.eval()
    return model


@pytest.fixture(scope="session")
def normal(records: list[Record]) -> Any:
    return learn(records, 150, vector=True, conditional=True, likelihood="bernoulli")


@pytest.fixture(scope="session")
def quantised(records: list[Record]) -> Any:
    return learn(records, 150, kind="vq", conditional=True, likelihood="bernoulli")


@pytest.fixture(scope="session")
def plain(records: list[Record]) -> Any:
    return learn(records, 120, kind="plain", likelihood="none", channels=4)
