"""The shapes of the two denoising networks, apart from them so that families, the exporter and the runtime read them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """A convolutional network over several resolutions, each half as fine as the one before it."""

    channels: int  # of the result; of the input too, unless `in_channels` says otherwise
    in_channels: int = 0  # 0: as many as `channels`. An upscaler or inpainter takes its known picture as further channels
    widths: tuple[int, ...] = (128, 256, 384)  # channels at each resolution, finest first
    blocks: int = 2  # residual blocks at each resolution on the way down; one more on the way up
    attention: tuple[int, ...] = (2,)  # resolutions with attention, 0 is the finest; the middle always has it
    head_width: int = 32
    groups: int = 32  # of GroupNorm; every width is a multiple
    time_width: int = 0  # 0: four times the first width
    vector_width: int = 0  # length of `vector`; 0: the network takes none
    token_width: int = 0  # length of each of `tokens`; 0: the network takes none
    dropout: float = 0.0

    @property
    def inputs(self) -> int:
        """Channels of the input."""
        return self.in_channels or self.channels

    @property
    def condition_width(self) -> int:
        """Length of what time and `vector` become."""
        return self.time_width or 4 * self.widths[0]

    @property
    def multiple(self) -> int:
        """Height and width of the input are multiples of this."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """A Transformer over patches."""

    channels: int  # of the result; of the input too, unless `in_channels` says otherwise
    in_channels: int = 0  # 0: as many as `channels`
    patch: int = 2
    width: int = 384
    layers: int = 8
    heads: int = 6
    hidden: int = 0  # inner width of the feed-forward part; 0: 8/3 widths rounded up to 32
    rope_theta: float = 100.0  # positions are few, so the slowest pair of a rotation turns by a visible angle
    vector_width: int = 0  # length of `vector`; 0: the network takes none
    token_width: int = 0  # length of each of `tokens`; 0: the network takes none
    tokens: Literal["cross", "prefix"] = "cross"  # looked at by an attention of their own, or part of the sequence
    dropout: float = 0.0

    @property
    def inputs(self) -> int:
        """Channels of the input."""
        return self.in_channels or self.channels

    @property
    def inner(self) -> int:
        """Inner width of the feed-forward part."""
        return self.hidden or 32 * -(-8 * self.width // (3 * 32))

    @property
    def multiple(self) -> int:
        """Height and width of the input are multiples of this."""
        return self.patch
