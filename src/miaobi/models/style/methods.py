"""What is learned: one network for any style (AdaIN), one for a few (fast), or one there and one back between two sets (cycle).

Huang and Belongie (2017), Johnson et al. (2016) with the norms of Dumoulin et al. (2017), Zhu et al. (2017). Unusual: AdaIN happens at four
resolutions, since the eye's maps are too narrow to draw a picture from one; a style that has a name is the mean of its pictures' moments or
correlations, so it needs no picture later; and CycleGAN keeps no pool of old pictures, so that a resumed run equals an unbroken one.
B pictures, S styles, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from miaobi.core.protocols import Loss
from miaobi.engine import features
from miaobi.engine.efficientnet import STAGE_CHANNELS
from miaobi.models.style.losses import STYLE_STAGES, Moments, content_loss, gram, gram_loss, moments, moments_loss, restyle, roughness
from miaobi.models.style.networks import Critic, Decoder, Transformer
from miaobi.models.style.schema import Config

MAPS = STAGE_CHANNELS[:STYLE_STAGES]


class AdaIN(nn.Module):
    """Any style: the content's maps take the style's moments, and a decoder draws them."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, config: Config, num_styles: int) -> None:
        super().__init__()
        self.config = config
        self.decoder = Decoder(config.width)
        for stage, channels in enumerate(MAPS):
            self.register_buffer(f"means{stage}", torch.zeros(num_styles, channels))
            self.register_buffer(f"deviations{stage}", torch.ones(num_styles, channels))

    @torch.no_grad()
    def remember(self, number: int, pixels: Tensor) -> None:
        """Take the mean moments of pictures (B, 3, S, S) as the named style of that number."""
        for stage, x in enumerate(features.stages(pixels)[:STYLE_STAGES]):
            for name, value in zip(("means", "deviations"), moments(x)):
                getattr(self, f"{name}{stage}")[number] = value.mean(dim=0)

    def named(self, number: int) -> Moments:
        """The moments (1, C) of each stage of a named style."""
        return [(getattr(self, f"means{stage}")[[number]], getattr(self, f"deviations{stage}")[[number]]) for stage in range(STYLE_STAGES)]

    def of(self, pixels: Tensor) -> Moments:
        """The moments of a style picture (1, 3, H, W)."""
        return [moments(x) for x in features.stages(pixels)[:STYLE_STAGES]]

    def forward(self, pixels: Tensor, style: Moments, strength: float = 1.0) -> Tensor:
        """Pictures (B, 3, H, W) in a style (B or 1, C); sides are multiples of 16."""
        maps = features.stages(pixels)[:STYLE_STAGES]
        return self.decoder([restyle(x, own, strength) for x, own in zip(maps, style)])  # type: ignore[no-any-return]

    def loss(self, pixels: Tensor, styles: Tensor, phase: str) -> Loss:
        """Each picture in the style of the next one, a quarter of them in their own, where the picture itself should come back."""
        config, B = self.config, len(pixels)
        with torch.no_grad():
            maps = features.stages(pixels)[:STYLE_STAGES]
            partner = torch.arange(1, B + 1, device=pixels.device) % B
            own = torch.arange(B, device=pixels.device) < -(-B // 4)
            partner = torch.where(own, partner - 1, partner) % B
            style = [moments(x[partner]) for x in maps]
            wanted = [restyle(x, moment) for x, moment in zip(maps, style)]
        made = self.decoder(wanted)
        seen = features.stages(made)
        content, manner = content_loss(seen, wanted), moments_loss(seen, style)
        same = (made - pixels).abs().mean((1, 2, 3)) * own
        each = config.content_weight * content + config.style_weight * manner + config.same_weight * same
        each = each + config.smooth_weight * roughness(made)
        logs = {"content": content.sum().item(), "style": manner.sum().item(), "same": same.sum().item() * B / max(1, int(own.sum()))}
        return Loss(total=each.sum(), count=B, logs=logs)

    def trainable(self, phase: str) -> Iterable[nn.Parameter]:
        """The decoder."""
        return self.parameters()


class Fast(nn.Module):
    """A few styles, each a gain and an offset of the norms of one network."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, config: Config, num_styles: int) -> None:
        super().__init__()
        self.config, self.num_styles = config, num_styles
        self.transformer = Transformer(config.width, config.blocks, num_styles)
        for stage, channels in enumerate(MAPS):
            self.register_buffer(f"grams{stage}", torch.zeros(num_styles, channels, channels))

    @torch.no_grad()
    def remember(self, number: int, pixels: Tensor) -> None:
        """Take the mean correlations of pictures (B, 3, S, S) as the style of that number."""
        for stage, x in enumerate(features.stages(pixels)[:STYLE_STAGES]):
            getattr(self, f"grams{stage}")[number] = gram(x).mean(dim=0)

    def grams(self, styles: Tensor) -> Sequence[Tensor]:
        """The correlations (B, C, C) of each stage of the styles (B,)."""
        return [getattr(self, f"grams{stage}")[styles] for stage in range(STYLE_STAGES)]

    def forward(self, pixels: Tensor, styles: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in the styles (B,)."""
        return self.transformer(pixels, styles)  # type: ignore[no-any-return]

    def loss(self, pixels: Tensor, styles: Tensor, phase: str) -> Loss:
        """Every picture in one of the styles, drawn by chance while learning, in turn while measuring."""
        config, B = self.config, len(pixels)
        wanted = torch.randint(self.num_styles, (B,)) if self.training else torch.arange(B) % self.num_styles
        wanted = wanted.to(pixels.device)
        with torch.no_grad():
            maps = features.stages(pixels)
        made = self.transformer(pixels, wanted)
        seen = features.stages(made)
        content, manner = content_loss(seen, maps), gram_loss(seen, self.grams(wanted))
        each = config.content_weight * content + config.style_weight * manner + config.smooth_weight * roughness(made)
        return Loss(total=each.sum(), count=B, logs={"content": content.sum().item(), "style": manner.sum().item()})

    def trainable(self, phase: str) -> Iterable[nn.Parameter]:
        """The transformer."""
        return self.parameters()


class Cycle(nn.Module):
    """Between style 0 and style 1 without pairs: what is translated there and back should be what it was."""

    phases: tuple[str, ...] = ("critic", "generator")

    def __init__(self, config: Config, num_styles: int) -> None:
        super().__init__()
        assert num_styles == 2
        self.config = config
        self.translators = nn.ModuleList(Transformer(config.width, config.blocks, 1) for _ in range(2))  # number n makes style n
        self.critics = nn.ModuleList(Critic(2 * config.width) for _ in range(2))  # number n knows style n

    def forward(self, pixels: Tensor, style: int) -> Tensor:
        """Pictures (B, 3, H, W) of the other style in this one."""
        return self.translators[style](pixels, torch.zeros(len(pixels), dtype=torch.long, device=pixels.device))  # type: ignore[no-any-return]

    def loss(self, pixels: Tensor, styles: Tensor, phase: str) -> Loss:
        """Least squares for the critics (Mao et al., 2017); the generators also go back again, and leave their own style alone."""
        sides = [pixels[styles == number] for number in range(2)]
        parts = [part for number in range(2) for part in self._side(sides, number, phase)]
        logs = {name: sum(value.sum().item() for other, value in parts if other == name) for name, _ in parts}
        weights = {"cycle": self.config.cycle_weight, "same": self.config.same_weight}
        total = torch.cat([weights.get(name, 1.0) * value for name, value in parts]).sum()
        return Loss(total=total, count=len(pixels), logs=logs)

    def _side(self, sides: Sequence[Tensor], number: int, phase: str) -> list[tuple[str, Tensor]]:
        """The losses, one number a picture, of making style `number` from the other one."""
        own, other, critic = sides[number], sides[1 - number], self.critics[number]
        if phase == "critic":
            with torch.no_grad():
                made = self(other, number)
            return [("real", _mean((critic(own) - 1).square())), ("made", _mean(critic(made).square()))]
        made = self(other, number)
        losses = [("fooled", _mean((critic(made) - 1).square())), ("cycle", _mean((self(made, 1 - number) - other).abs()))]
        return [*losses, ("same", _mean((self(own, number) - own).abs()))]

    def trainable(self, phase: str) -> Iterable[nn.Parameter]:
        """The critics or the translators."""
        return (self.critics if phase == "critic" else self.translators).parameters()


def _mean(x: Tensor) -> Tensor:
    """(B, ...) to (B,); B may be 0."""
    return x.flatten(1).mean(dim=1)


METHODS: dict[str, type[AdaIN | Fast | Cycle]] = {"adain": AdaIN, "fast": Fast, "cycle": Cycle}
