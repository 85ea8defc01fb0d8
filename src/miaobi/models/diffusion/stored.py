"""What a diffusion model's folder says of itself, read without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.text_units import Vocabulary
from miaobi.models.diffusion.codec import DiffusionCodec, style_number
from miaobi.models.diffusion.schema import Config

UPSCALER = "upscaler"  # the folder of an upscaler inside the artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`config.json`, read and checked."""

    config: Config
    styles: tuple[str, ...]
    classes: tuple[str, ...]
    autoencoder: Mapping[str, Any] | None  # the shape of a latent model's codec
    shape: tuple[int, int, int]  # (C, H, W) of what is denoised

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """The configuration in `folder`.

        Raises:
            ArtifactError: there is none, or it is of another family.
        """
        values = read_config(folder)
        try:
            C, H, W = values["shape"]
            return cls(
                config=validate(Config, values["config"], "config.json"),
                styles=tuple(map(str, values["styles"])),
                classes=tuple(map(str, values["classes"])),
                autoencoder=values["autoencoder"],
                shape=(int(C), int(H), int(W)),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ArtifactError("the configuration of the model in {folder} cannot be read: {error}", folder=folder, error=error) from None

    def values(self) -> dict[str, Any]:
        """What `config.json` holds. Where the codec and the teacher were is this machine's affair and left out."""
        config = self.config.model_dump(mode="json") | {"codec": "inside" if self.autoencoder else ""}
        config["distill"] = "done" if self.config.distill else ""
        own = {"styles": list(self.styles), "classes": list(self.classes), "shape": list(self.shape)}
        return {"config": config, "autoencoder": dict(self.autoencoder) if self.autoencoder else None, **own}


def check(folder: Path, options: Mapping[str, Any], /) -> None:
    """Tell an unknown style; see `core.families.Check`."""
    if options.get("style"):
        style_number(options["style"], Stored.read(folder).styles)


def make_codec(
    config: Config, *, words: NDArray[Any] | None, styles: Sequence[str], classes: Sequence[str], pairs: int = 0
) -> DiffusionCodec:
    """The codec that a configuration describes."""
    return DiffusionCodec(
        config.size,
        config.channels,
        vocabulary=None if words is None else Vocabulary(words),
        styles=styles,
        classes=classes,
        dropout=config.condition_dropout,
        augmentation=config,
        views=config.views if config.codec else 0,
        pairs=pairs,
    )
