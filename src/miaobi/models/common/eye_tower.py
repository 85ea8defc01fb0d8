"""The eye with what has learned to read it, as one network from pixels: what an exported graph of the scorer or the captioner holds."""

from __future__ import annotations

from torch import Tensor, nn

from miaobi.engine import features
from miaobi.models.common.picture_features import grid_of


class EyeTower(nn.Module):
    """Pictures (B, 3, S, S) in [-1, 1] to what `tower` makes of their places (B, G * G, F)."""

    def __init__(self, tower: nn.Module, grid: int) -> None:
        super().__init__()
        self.tower, self.grid = tower, grid
        self.eye = features.network()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.tower(grid_of(self.eye, pixels, self.grid))  # type: ignore[no-any-return]
