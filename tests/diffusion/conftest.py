"""Eight drawings of 8 pixels, and a model that has learned them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miaobi.core.artifact import new_folder, seal
from miaobi.core.types import Media, Modality, Record
from miaobi.data.pictures import encode

COLOURS = {"red": ("红色", (220, 40, 40)), "blue": ("蓝色", (40, 60, 220))}
SHAPES = {"square": "方块", "bar": "横条"}
TINY = {"size": 8, "channels": 4, "width": 32, "layers": 2, "heads": 2, "text_width": 32, "text_layers": 1, "words": 200}


def drawing(shape: str, colour: tuple[int, int, int], filled: bool, size: int = 8) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A square or a bar on nothing, full or half transparent."""
    pixels = np.zeros((size, size, 4), np.uint8)
    quarter = size // 4
    rows = slice(quarter, -quarter) if shape == "square" else slice(3 * size // 8, 5 * size // 8)
    pixels[rows, quarter:-quarter] = (*colour, 255 if filled else 128)
    return pixels


def media(pixels: Any, name: str = "") -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels), name=name)


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return [
        Record(
            id=f"{colour}-{shape}-{style}",
            parts=(media(drawing(shape, rgb, style == "full")),),
            meta={
                "caption": {"zh": [f"{chinese}{SHAPES[shape]}", f"一个{chinese}{SHAPES[shape]}"], "en": [f"{colour} {shape}"]},
                "concept": f"{colour} {shape}",
                "class": shape,
                "style": style,
            },
        )
        for colour, (chinese, rgb) in COLOURS.items()
        for shape in SHAPES
        for style in ("full", "pale")
    ]


def learn(model: Any, records: list[Record], steps: int, *, lr: float = 3e-3) -> list[float]:
    """Steps of Adam on all records at once, their conditions hidden as in training; the losses."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.trainable("main"), lr=lr)
    losses = []
    model.network.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps))
        loss = model.loss(model.codec.collate(records * 2, rng=rng), "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        losses.append(loss.total.item() / loss.count)
    model.network.eval()
    return losses


def sealed(model: Any, folder: Path) -> Path:
    with new_folder(folder) as making:
        model.save(making)
        seal(making, family="diffusion", name=folder.name)
    return folder


@pytest.fixture(scope="session")
def learned(records: list[Record]) -> Any:
    """A model of text and style that has learned the drawings."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from miaobi.models.diffusion.model import Diffusion

    model = Diffusion.create(TINY | {"conditions": ["text", "style"]}, records, seed=1)
    learn(model, records, 500, lr=6e-3)
    return model
